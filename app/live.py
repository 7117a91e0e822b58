"""Reads growing studies for the dashboard: each study is opened once for all sessions and read incrementally.

Results computed from a study are shared by all sessions, too (`Snapshot.shared`): twenty pages of 10,000 trials are
little more work than one.
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
from nas.study.records import TrialRecord, TrialState, front_of, trainings_ended, trainings_spent
from nas.study.search_state import SearchState
from nas.study.study import Study

SECONDS_BETWEEN_LOOKS = 2.0
RUNS_BETWEEN_LOOKS = 5
"""A page is rerun for news of trials after at least this multiple of its own run time, so that slow pages, as with many
sessions, take only a bounded share of the CPU from the search."""
LONGEST_BETWEEN_LOOKS = 10.0
"""What becomes of the search itself, as its end, is seen that soon on slow pages, too."""
MOST_OPENED = 8
MOST_KEPT = 6
MOST_SHARED = 100
"""Limits on the number of open studies, kept snapshots and shared results per snapshot, which bound memory usage."""
Ts = TypeVarTuple("Ts")
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where the studies are stored: a folder, and the URL of a database if they are kept in one."""

    runs: str
    storage: str | None = None

    @property
    def options(self) -> list[str]:
        """The options by which a command in a terminal finds the same studies."""
        runs = ["--runs", self.runs] if self.runs != "runs" else []
        return [*runs, *(["--storage", self.storage] if self.storage else [])]


class _Made:
    """The shared results of a snapshot, kept only while it is among the latest, as sessions may hold older ones."""

    def __init__(self) -> None:
        self.values: dict[Hashable, Any] = {}
        self.lock = threading.RLock()
        self.kept = True

    def drop(self) -> None:
        """Frees the results; from now on nothing is shared."""
        self.kept = False
        self.values = {}  # a new dict, as another thread may be reading the old one


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment, identified by `version`.

    Attributes:
        live: whether a search was running. It is looked up once: to a page that takes a second, the search must not run
            where its buttons are drawn and have ended where it decides whether it is watched.
    """

    study: Study
    records: Sequence[TrialRecord]
    search: SearchState | None
    live: bool
    version: Hashable
    place: Place
    made: _Made = field(default_factory=_Made, repr=False, compare=False)

    def shared(self, make: Callable[["Snapshot", *Ts], T], *given: *Ts) -> T:
        """Returns `make(self, *given)`, computed only once for all sessions; the result must not be modified.

        Args:
            make: a module-level function, which is the same object in all sessions.
            given: hashable arguments.
        """
        key = (make, given)
        with self.made.lock:  # others wait: computing it in parallel would only be slower
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
        """The Pareto front of accuracy and the study's cost, by increasing cost."""
        return front_of(self.records)

    @cached_property
    def confirmed(self) -> ConfirmationReport | None:
        """The results of `nas confirm`; None if there are none."""
        return confirmed(self.study)

    @cached_property
    def axes(self) -> dict[str, CostMetric]:
        """The cost metrics that accuracy can be weighed against, by key."""
        return cost_metrics_of(self.records)

    @cached_property
    def spent(self) -> float:
        """The epochs of the finished trials, in units of one full-length training."""
        return trainings_spent(self.records, self.study.config.space.recipe.epochs)

    @cached_property
    def finished(self) -> int:
        """The number of trainings that have ended and not failed."""
        return trainings_ended(self.records)

    @cached_property
    def seconds_left(self) -> float | None:
        """The estimated remaining time of the search; None if unknown."""
        return seconds_left(self.records, self.search, self.study.config.space.recipe.epochs)

    @property
    def images(self) -> int | None:
        """The number of validation images that an accuracy is as precise as; None if unknown."""
        return self.study.config.effective_images

    @cached_property
    def running(self) -> list[TrialRecord]:
        """The running trials."""
        return [record for record in self.records if record.state == TrialState.RUNNING]

    def find(self, trial: int | None) -> TrialRecord | None:
        """Returns the trial with a number, or None if there is none."""
        at = bisect_left(self.records, trial, key=attrgetter("trial")) if trial is not None else len(self.records)
        return self.records[at] if at < len(self.records) and self.records[at].trial == trial else None

    def of(self, trial: int) -> TrialRecord:
        """Returns the trial with a number, which must exist."""
        record = self.find(trial)
        assert record is not None
        return record


class _Opened(NamedTuple):
    """An open study: its last snapshot, and when that was read on the monotonic clock."""

    seen: Snapshot
    read: float


_opened: dict[tuple[str, Place], _Opened] = {}
_latest: deque[Snapshot] = deque()
_opening = threading.Lock()


def place_from(argv: Sequence[str]) -> Place:
    """Parses the place from the server's command line: `[RUNS [STORAGE]]`."""
    return Place(argv[1] if len(argv) > 1 else "runs", argv[2] if len(argv) > 2 else None)


def names(place: Place) -> list[str]:
    """Returns the names of the studies in a place."""
    return list_studies(place.runs, storage=place.storage)


def snapshot(name: str, place: Place) -> Snapshot:
    """Returns the current snapshot of a study.

    Raises:
        NasError: the study does not exist, or its storage cannot be read.
    """
    with _opening:  # several sessions may request an unread study at once
        try:
            return _read(name, place)
        except NasError:  # perhaps another study has taken its place: reopens it
            _opened.pop((name, place), None)
            return _read(name, place)


def read_ahead(place: Place) -> Snapshot | None:
    """Reads the study that is shown first; errors are ignored here, as its page will report them.

    The surrogate is imported as well, which may take a second beside a search: a page that waited for it would be rerun
    as seldom as if it were always as slow.
    """
    import nas.surrogate.gaussian_process  # noqa: F401

    try:
        first = next(iter(names(place)), None)
        return snapshot(first, place) if first is not None else None
    except NasError:
        return None


def watch(seen: Snapshot | None, asked: str | None, place: Place, *, began: float) -> None:
    """Reruns the page when the study changes, or, if none could be read, when one becomes readable.

    A study whose search has ended is not watched.

    Args:
        seen: the snapshot that the page shows. None: none could be read.
        asked: the requested study.
        place: where the studies are stored.
        began: when this run of the page started, on the monotonic clock.
    """
    if seen is not None and not seen.live:
        return
    first, ended = True, time.monotonic()
    pause = max(SECONDS_BETWEEN_LOOKS, RUNS_BETWEEN_LOOKS * (ended - began))

    @st.fragment(run_every=min(pause, LONGEST_BETWEEN_LOOKS))
    def look() -> None:
        nonlocal first
        if first:  # part of the page's own run: rerunning on frequent changes would never end
            first = False
        elif _news(seen, asked, place, of_trials=time.monotonic() - ended >= pause):
            st.rerun()

    look()


def _news(seen: Snapshot | None, asked: str | None, place: Place, *, of_trials: bool) -> bool:
    """Returns whether there is more to show than a page does: of the search itself, and where asked of its trials."""
    try:
        if seen is None:
            known = names(place)
            return (asked or next(iter(known), None)) in known and bool(snapshot(asked or known[0], place))
        state = seen.study.attributes.search
        if state is None or not state.live or state != seen.search:
            return True
        return of_trials and _version(seen.study) != seen.version
    except NasError:
        return seen is not None


def _read(name: str, place: Place) -> Snapshot:
    last = _opened.get((name, place))
    study = last.seen.study if last else Study.open(name, place.runs, storage=place.storage)
    version, now = _version(study), time.monotonic()  # before the records, so that later changes are seen next time
    unchanged = (
        last and version == last.seen.version and _is_live(last.seen.search) == last.seen.live and last.seen.made.kept
    )
    if last and unchanged and now - last.read < SECONDS_BETWEEN_LOOKS:
        return last.seen
    search, is_live = _search_of(study)  # before the records, too: what ends while they are read is seen next time
    seen = Snapshot(study, study.estimated_records(), search, is_live, version, place)
    if last and unchanged and seen == last.seen and study.storage is None:
        seen = last.seen  # unchanged, so its shared results are still valid
    else:
        _latest.append(seen)
        while len(_latest) > MOST_KEPT:
            _latest.popleft().made.drop()
    _opened[name, place] = _Opened(seen, now)
    if last is None:
        _keep_from_collector()
    while len(_opened) > MOST_OPENED:
        del _opened[next(iter(_opened))]
    return seen


def _search_of(study: Study) -> tuple[SearchState | None, bool]:
    """Returns the state of a study's last search, and whether it runs.

    The state of a process that is gone is read once more: it may have written its end after the first look.
    """
    search = study.attributes.search
    if not _is_live(search):
        search = study.attributes.search
    return search, _is_live(search)


def _is_live(search: SearchState | None) -> bool:
    return search is not None and search.live


def _keep_from_collector() -> None:
    """Exempts loaded studies from the garbage collection after each page run, as it would take longer than most pages.

    Garbage left by earlier studies is collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _version(study: Study) -> Hashable:
    """Returns the version of a study, including, in a folder, the sizes of the journals that `nas confirm` writes."""
    found = []
    for journal in [] if study.storage else sorted(study.folder.glob(f"*/{JOURNAL_FILE}")):
        with suppress(FileNotFoundError):  # deleted in the meantime
            found.append((journal.parent.name, journal.stat().st_size))
    return study.version(), tuple(found)
