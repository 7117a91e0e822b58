"""supervise(): starts a search's workers, replaces those that die, and ends them with the search."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from nas.errors import StudyError
from nas.strategy.stopping import stop_reason
from nas.study.plan import SearchPlan
from nas.study.records import RUNNING, TrialRecord
from nas.study.storage.recovery import MOST_DEATHS
from nas.study.study import Study
from nas.workers.listeners import Listener

__all__ = ["Overdue", "Watcher", "WorkerExit", "WorkerHandle", "WorkerPool", "supervise"]

SECONDS_BETWEEN_LOOKS = 0.5
TIMEOUT = "timeout"


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


class WorkerExit(NamedTuple):
    """How a worker ended: by itself for a `reason`, on an `error` that is the user's to mend, or it `died` of this."""

    reason: str | None = None
    error: str | None = None
    died: str | None = None


class WorkerHandle(Protocol):
    """One worker."""

    @property
    def worker(self) -> str:
        """Who it is, as its trials name it."""

    def end(self) -> WorkerExit | None:
        """How it ended; None while it works."""

    def kill(self) -> None:
        """Ends it at once, whatever it does."""


class WorkerPool(Protocol):
    """The workers of one search: processes of this machine, or actors of a cluster."""

    def start(self, number: int) -> WorkerHandle:
        """One more worker, on the place of that number, from 0."""

    def wait(self, members: Sequence[WorkerHandle], seconds: float) -> None:
        """Until one of them has ended, or for so long."""

    def dismiss(self, members: Sequence[WorkerHandle]) -> None:
        """Ends them, at once if they do not within seconds."""


def supervise(
    study: Study, pool: WorkerPool, plan: SearchPlan, *, workers: int, deadline: float, listener: Listener | None
) -> str:
    """Starts so many workers, replaces one that dies, and tells the listener what all of the study's workers do.

    A training that takes longer than the plan allows is ended as failed, and with it the worker that hangs in it. With
    no workers of its own it waits for what those of others do. Returns why the search ended, as `nas.workers.loop.run`.

    Raises:
        StudyError: a worker cannot work, or one after the other died before any training had ended.
        KeyboardInterrupt: passed on, once the workers are ended and what they trained is put back.
    """
    if listener:
        listener.search_started(study, plan.trials)
    watcher = Watcher(study, listener)
    overdue = Overdue(plan.trial_timeout) if plan.trial_timeout is not None else None
    ended_here: set[str] = set()
    reasons: list[str] = []
    with _crew_of(study, pool, workers) as members:
        deaths, ended_before = 0, 0
        while members or (not workers and not reasons):
            pool.wait(list(members.values()), SECONDS_BETWEEN_LOOKS)
            watcher.look()
            if overdue:
                ended_here |= _end_hanging(study, overdue, list(members.values()))
            if not workers and (reason := _ended_by_others(study, plan, deadline)):
                reasons.append(reason)
            for place, member in list(members.items()):
                if (end := member.end()) is None:
                    continue
                del members[place]
                if end.error:
                    raise StudyError(end.error)
                if end.reason:
                    reasons.append(end.reason)
                    continue
                if member.worker in ended_here:
                    members[place] = pool.start(place)
                    continue
                with study.ask_lock(died={member.worker: end.died or ""}):
                    ended_by_now = sum(record.ended is not None and record.finished for record in study.records())
                deaths = deaths + 1 if ended_by_now == ended_before else 1
                ended_before = ended_by_now
                if deaths > MOST_DEATHS * workers:  # by then what kills the workers would have been given up
                    raise StudyError(
                        f"study '{study.name}': {deaths} workers died one after the other with no training ended "
                        f"between, the last of {end.died}"
                    )
                members[place] = pool.start(place)
    watcher.look()
    reason = next((reason for reason in reasons if reason != "complete"), "complete")
    if listener:
        listener.search_ended(reason)
    return reason


@contextmanager
def _crew_of(study: Study, pool: WorkerPool, workers: int) -> Iterator[dict[int, WorkerHandle]]:
    """The members by place; however it is left, all are ended, and what they trained is put back."""
    members: dict[int, WorkerHandle] = {}
    try:
        for place in range(workers):
            members[place] = pool.start(place)
        yield members
    finally:
        left = list(members.values())
        pool.dismiss(left)
        if left:
            with study.ask_lock():
                study.requeue_stale(ended=[member.worker for member in left])


def _end_hanging(study: Study, overdue: Overdue, members: Sequence[WorkerHandle]) -> set[str]:
    """Records trainings that take too long as failed, and ends their workers, whatever these hang in: which ones."""
    ended: set[str] = set()
    for record in overdue.among(study.records()):
        detail = f"it had not ended after {overdue.seconds:g} s, and was ended together with its worker"
        if study.fail_trial(record.trial, TIMEOUT, detail):
            for member in members:
                if member.worker == record.worker:
                    member.kill()
                    ended.add(member.worker)
    return ended


def _ended_by_others(study: Study, plan: SearchPlan, deadline: float) -> str | None:
    records = study.records()
    if any(record.state == RUNNING for record in records):
        return None
    return stop_reason(records, study.config.space, plan=plan, deadline=deadline)
