"""Reading studies while they grow: each is opened once for all who watch, and read on from where it was.

What is computed of a study is computed once for all who watch, too (`Snapshot.shared`): twenty pages of 10,000 trials
are little more work than one.
"""

import gc
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

import streamlit as st

from nas.analysis.confirmation import ConfirmationReport, confirmed
from nas.analysis.convergence import seconds_left
from nas.analysis.cost_metrics import CostMetric, cost_metrics_of
from nas.errors import NasError
from nas.study.catalog import JOURNAL_FILE, list_studies
from nas.study.records import RUNNING, SearchState, TrialRecord, front_of, trainings_spent
from nas.study.study import Study

SECONDS_BETWEEN_LOOKS = 2.0
RUNS_BETWEEN_LOOKS = 5
"""A page that takes long, as where many are watched at once, is run again after so many times that: what watching
takes of the processor stays bounded, and the rest is the search's."""
MOST_OPENED = 8
MOST_KEPT = 6
MOST_SHARED = 100
"""So much is shared of so many moments of studies: that bounds the memory, however often a study changes."""
Ts = TypeVarTuple("Ts")
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where the studies are: a folder, and the URL of a database where they are kept in one."""

    runs: str
    storage: str | None = None


class _Made:
    """What was made of a snapshot, by what made it, as long as it is one of the latest: sessions hold older ones."""

    def __init__(self) -> None:
        self.values: dict[Hashable, Any] = {}
        self.lock = threading.RLock()
        self.kept = True

    def drop(self) -> None:
        """Frees it; what is made from now on is made for one session alone."""
        self.kept = False
        self.values = {}  # a new one, as somebody may be about to look into the old one


@dataclass(frozen=True)
class Snapshot:
    """A study as it was at one moment; `version` tells another moment."""

    study: Study
    records: Sequence[TrialRecord]
    search: SearchState | None
    version: Hashable
    place: Place
    made: _Made = field(default_factory=_Made, repr=False, compare=False)

    def shared(self, make: Callable[["Snapshot", *Ts], T], *given: *Ts) -> T:
        """What `make(self, …)` gives, computed once for all who look at this moment of the study; not to be changed.

        `make` is a function of a module, which are the same for all; what is given to it can be hashed.
        """
        key = (make, given)
        with self.made.lock:  # those who come meanwhile wait, as all of them together would only be slower
            values = self.made.values
            if key in values:
                found: T = values[key]
                return found
            value = make(self, *given)
            if self.made.kept:
                while len(values) >= MOST_SHARED:
                    del values[next(iter(values))]
                values[key] = value
            return value

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The trials that no other one beats on both accuracy and the study's cost, from the least cost to the most."""
        return front_of(self.records)

    @cached_property
    def confirmed(self) -> ConfirmationReport | None:
        """What `nas confirm` found."""
        return confirmed(self.study)

    @cached_property
    def axes(self) -> dict[str, CostMetric]:
        """What accuracy can be weighed against."""
        return cost_metrics_of(self.records)

    @cached_property
    def spent(self) -> float:
        """How many full trainings the finished trials count for."""
        return trainings_spent(self.records, self.study.config.space.recipe.epochs)

    @cached_property
    def seconds_left(self) -> float | None:
        """How long the search will go on; None where that is not known."""
        return seconds_left(self.records, self.search, self.study.config.space.recipe.epochs)

    @property
    def images(self) -> int | None:
        """How many validation images an accuracy is measured on."""
        return self.study.config.validation_images

    @property
    def live(self) -> bool:
        """Whether more is to come: a search goes on."""
        return self.search is not None and self.search.live

    @cached_property
    def running(self) -> list[TrialRecord]:
        """The trials that are being trained."""
        return [record for record in self.records if record.state == RUNNING]

    def find(self, trial: int | None) -> TrialRecord | None:
        """The trial of that number, if there is one."""
        at = bisect_left(self.records, trial, key=attrgetter("trial")) if trial is not None else len(self.records)
        return self.records[at] if at < len(self.records) and self.records[at].trial == trial else None

    def of(self, trial: int) -> TrialRecord:
        """The trial of a number that there is."""
        record = self.find(trial)
        assert record is not None
        return record


class _Opened(NamedTuple):
    """A study that is open as it was last read; when, on the monotonic clock, and whether it was live then."""

    seen: Snapshot
    read: float
    live: bool


_opened: dict[tuple[str, Place], _Opened] = {}
_latest: deque[Snapshot] = deque()
_opening = threading.Lock()


def place_from(argv: Sequence[str]) -> Place:
    """From the server's command line: `[RUNS [STORAGE]]`."""
    return Place(argv[1] if len(argv) > 1 else "runs", argv[2] if len(argv) > 2 else None)


def names(place: Place) -> list[str]:
    """The studies there."""
    return list_studies(place.runs, storage=place.storage)


def snapshot(name: str, place: Place) -> Snapshot:
    """The study as it is now.

    Raises:
        NasError: it is not there, or its storage cannot be read.
    """
    with _opening:  # several people may ask for a study that nobody has read yet
        try:
            return _read(name, place)
        except NasError:  # another study of that name, perhaps, in its place
            _opened.pop((name, place), None)
            return _read(name, place)


def read_ahead(place: Place) -> None:
    """Reads the study that is shown first; what is wrong with it, its page will say."""
    try:
        for name in names(place)[:1]:
            snapshot(name, place)
    except NasError:
        pass


def watch(seen: Snapshot | None, asked: str | None, place: Place, *, began: float) -> None:
    """Runs the page again once there is news, or, where nothing could be read, once something can.

    A study whose search has ended is left in peace. `began` is when this run of the page began, on the monotonic clock.
    """
    if seen is not None and not seen.live:
        return
    taken, first = time.monotonic() - began, True

    @st.fragment(run_every=max(SECONDS_BETWEEN_LOOKS, RUNS_BETWEEN_LOOKS * taken))
    def look() -> None:
        nonlocal first
        if first:  # within the page's own run: where news come quickly, it would never end
            first = False
        elif _news(seen, asked, place):
            st.rerun()

    look()


def _news(seen: Snapshot | None, asked: str | None, place: Place) -> bool:
    try:
        if seen is None:
            known = names(place)
            return (asked or next(iter(known), None)) in known and bool(snapshot(asked or known[0], place))
        state = seen.study.search_state()
        return _version(seen.study) != seen.version or state is None or not state.live
    except NasError:
        return seen is not None


def _read(name: str, place: Place) -> Snapshot:
    last = _opened.get((name, place))
    study = last.seen.study if last else Study.open(name, place.runs, storage=place.storage)
    version, now = _version(study), time.monotonic()  # before the records: what comes between is new next time
    unchanged = last and version == last.seen.version and last.seen.live == last.live and last.seen.made.kept
    if last and unchanged and now - last.read < SECONDS_BETWEEN_LOOKS:
        return last.seen
    seen = Snapshot(study, study.records(), study.search_state(), version, place)
    if last and unchanged and seen == last.seen and study.storage is None:
        seen = last.seen  # nothing has happened; what was made of it is still right
    else:
        _latest.append(seen)
        while len(_latest) > MOST_KEPT:
            _latest.popleft().made.drop()
    _opened[name, place] = _Opened(seen, now, seen.live)
    if last is None:
        _keep_from_collector()
    while len(_opened) > MOST_OPENED:
        del _opened[next(iter(_opened))]
    return seen


def _keep_from_collector() -> None:
    """Has Python's garbage collector, which Streamlit runs after every run of a page, leave alone what was read.

    Of 10,000 trials it would take longer than most pages. What earlier studies have left is collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _version(study: Study) -> Hashable:
    """That of the study and, in a folder, of the journals in it that `nas confirm` writes."""
    found = []
    for journal in [] if study.storage else sorted(study.folder.glob(f"*/{JOURNAL_FILE}")):
        with suppress(FileNotFoundError):  # deleted in between
            found.append((journal.parent.name, journal.stat().st_size))
    return study.version(), tuple(found)
