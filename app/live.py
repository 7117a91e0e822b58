"""Reading studies while they grow: each is opened once for all who watch, and read on from where it was."""

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import streamlit as st

from nas.confirmed import Confirmed, confirmed
from nas.errors import NasError
from nas.records import RUNNING, SearchState, TrialRecord, front_of
from nas.studies import list_studies
from nas.study import Study

SECONDS_BETWEEN_LOOKS = 2
MOST_OPENED = 8


@dataclass(frozen=True)
class Place:
    """Where the studies are: a folder, and the URL of a database where they are kept in one."""

    runs: str
    storage: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A study as it was at one moment; `version` tells another moment."""

    study: Study
    records: Sequence[TrialRecord]
    search: SearchState | None
    version: Hashable
    place: Place

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The trials that no other one beats on both accuracy and the study's cost, from the least cost to the most."""
        return front_of(self.records)

    @cached_property
    def confirmed(self) -> Confirmed | None:
        """What `nas confirm` found."""
        return confirmed(self.study)

    @property
    def images(self) -> int | None:
        """How many validation images an accuracy is measured on."""
        return self.study.config.validation_images

    @property
    def live(self) -> bool:
        """Whether more is to come: a search goes on."""
        return self.search is not None and self.search.live

    @property
    def running(self) -> list[TrialRecord]:
        """The trials that are being trained."""
        return [record for record in self.records if record.state == RUNNING]

    def find(self, trial: int | None) -> TrialRecord | None:
        """The trial of that number, if there is one."""
        return next((record for record in self.records if record.trial == trial), None)


_opened: dict[tuple[str, Place], Study] = {}
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


def watch(seen: Snapshot | None, asked: str | None, place: Place) -> None:
    """Runs the page again once there is news, or, where nothing could be read, once something can.

    A study whose search has ended is left in peace.
    """
    if seen is not None and not seen.live:
        return

    @st.fragment(run_every=SECONDS_BETWEEN_LOOKS)
    def look() -> None:
        if _news(seen, asked, place):
            st.rerun()

    look()


def _news(seen: Snapshot | None, asked: str | None, place: Place) -> bool:
    try:
        if seen is None:
            known = names(place)
            return (asked or next(iter(known), None)) in known and bool(snapshot(asked or known[0], place))
        state = seen.study.search_state()
        return seen.study.version() != seen.version or state is None or not state.live
    except NasError:
        return seen is not None


def _read(name: str, place: Place) -> Snapshot:
    study = _opened.get((name, place)) or Study.open(name, place.runs, storage=place.storage)
    version = study.version()  # before the records: what comes between is seen as new next time
    seen = Snapshot(study, study.records(), study.search_state(), version, place)
    _opened[name, place] = study
    while len(_opened) > MOST_OPENED:
        del _opened[next(iter(_opened))]
    return seen
