"""What is seen of other processes on a study, from what they write there: news for a listener, trials that hang."""

import time
from collections.abc import Sequence

from nas.study.records import RUNNING, TrialRecord
from nas.study.study import Study
from nas.workers.listeners import Listener

__all__ = ["Overdue", "Watcher"]


class Overdue:
    """Finds the trials that run for more than so many seconds, by this machine's clock, since they were first seen."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._seen: dict[int, float] = {}

    def among(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Those of the running ones that have taken too long."""
        now = time.monotonic()
        running = [record for record in records if record.state == RUNNING]
        self._seen = {record.trial: self._seen.get(record.trial, now) for record in running}
        return [record for record in running if now - self._seen[record.trial] > self.seconds]


class Watcher:
    """Compares the trials with those of its last look. What there is at its making is no news."""

    def __init__(self, study: Study, listener: Listener | None) -> None:
        self._study, self._listener = study, listener
        self._version = study.version()
        self._known = {record.trial: record for record in study.records()}

    def look(self) -> None:
        """Tells of the trials that have begun, come on or ended since."""
        version = self._study.version()
        if self._listener is None or version == self._version:
            return
        self._version = version
        for record in self._study.records():
            before = self._known.get(record.trial)
            self._known[record.trial] = record
            if before is None or before.state not in (record.state, RUNNING):
                if record.state == RUNNING or record.ended is not None:
                    self._listener.trial_started(record)
            elif before == record:
                continue
            self._tell_of(record, before)

    def _tell_of(self, record: TrialRecord, before: TrialRecord | None) -> None:
        assert self._listener is not None
        if record.state == RUNNING:
            if len(record.curve) > (len(before.curve) if before else 0):
                self._listener.epoch_ended(record.trial, record.curve)
        elif record.ended is not None and (before is None or before.ended is None):
            self._listener.trial_ended(record)
