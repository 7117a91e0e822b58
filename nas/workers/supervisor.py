"""The supervisor of a search: starts its workers, replaces those that die, and ends them with the search."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from nas.errors import StudyError
from nas.strategy.stopping import stop_reason
from nas.study.plan import SearchPlan
from nas.study.records import TrialRecord, TrialState
from nas.study.search_state import SearchStatus
from nas.study.storage.backend import QUEUED
from nas.study.storage.recovery import MOST_DEATHS
from nas.study.study import Study
from nas.system.logs import logger
from nas.workers.listeners import Listener

__all__ = ["Overdue", "Watcher", "WorkerExit", "WorkerHandle", "WorkerPool", "supervise"]

SECONDS_BETWEEN_LOOKS = 0.5
TIMEOUT = "timeout"


class Overdue:
    """Finds trials that have been running for more than `seconds` since first seen, by this machine's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._seen: dict[int, float] = {}

    def among(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Returns the running trials that have exceeded the limit."""
        now = time.monotonic()
        running = [record for record in records if record.state == TrialState.RUNNING]
        self._seen = {record.trial: self._seen.get(record.trial, now) for record in running}
        return [record for record in running if now - self._seen[record.trial] > self.seconds]


class Watcher:
    """Notifies a listener of changes to the study's trials since the previous look, or since it was created."""

    def __init__(self, study: Study, listener: Listener | None) -> None:
        self._study, self._listener = study, listener
        self._version, self._search = study.version(), study.attributes.search
        self._known = {record.trial: record for record in study.records()}

    def look(self) -> None:
        """Reports the trials that have started, progressed or ended since the previous look."""
        version = self._study.version()
        if self._listener is None or version == self._version:
            return
        self._version = version
        if (search := self._study.attributes.search) and search != self._search:
            self._listener.search_steered(search)
        self._search = search
        for record in self._study.records():
            before = self._known.get(record.trial)
            self._known[record.trial] = record
            if before is None or before.state not in (record.state, TrialState.RUNNING):
                if record.state == TrialState.RUNNING or record.ended is not None:
                    self._listener.trial_started(record)
            elif before == record:
                continue
            self._tell_of(record, before)

    def _tell_of(self, record: TrialRecord, before: TrialRecord | None) -> None:
        assert self._listener is not None
        if record.state == TrialState.RUNNING:
            if len(record.curve) > (len(before.curve) if before else 0):
                self._listener.epoch_ended(record.trial, record.curve)
        elif record.ended is not None and (before is None or before.ended is None):
            self._listener.trial_ended(record)


class WorkerExit(NamedTuple):
    """How a worker ended: normally for a `reason`, on a user `error`, or it `died` of the given cause."""

    reason: SearchStatus | None = None
    error: str | None = None
    died: str | None = None


class WorkerHandle(Protocol):
    """A running or ended worker."""

    @property
    def worker(self) -> str:
        """The worker's name as recorded in its trials."""

    def end(self) -> WorkerExit | None:
        """Returns how the worker ended, or None while it works."""

    def kill(self) -> None:
        """Kills the worker immediately, whatever it is doing."""


Handle = TypeVar("Handle", bound=WorkerHandle)


class WorkerPool(Protocol[Handle]):
    """The workers of one search: processes on this machine, or actors on a cluster."""

    def start(self, number: int) -> Handle:
        """Starts a worker in slot `number`, counted from 0."""

    def wait(self, handles: Sequence[Handle], seconds: float) -> None:
        """Blocks until one of the workers has ended, or for `seconds`."""

    def dismiss(self, handles: Sequence[Handle]) -> None:
        """Ends these workers, killing those that do not exit within a few seconds; others go on."""

    def close(self) -> None:
        """Gives back what the pool holds, after all its workers have ended."""


def supervise(
    study: Study,
    pool: WorkerPool[Handle],
    plan: SearchPlan,
    *,
    workers: int,
    deadline: float,
    listener: Listener | None,
) -> SearchStatus:
    """Runs a search's workers, replaces those that die, and notifies the listener of all workers' trials.

    A training that exceeds the plan's `trial_timeout` is recorded as failed, and its hanging worker is replaced.

    Args:
        study: the open study, locked for this search.
        pool: starts and ends the workers.
        plan: the search's budget and strategy.
        workers: number of workers to start; 0 waits for workers that join from elsewhere.
        deadline: no training starts after this time, in seconds since 1970.
        listener: notified of every trial of the study, including those of other workers.

    Returns:
        Why the search ended, as `nas.workers.loop.run` does.

    Raises:
        StudyError: a worker reported an error, or workers kept dying with no training ended in between.
        KeyboardInterrupt: re-raised after the workers have ended and their trials have been requeued.
    """
    if listener:
        listener.search_started(study, plan.trials)
    with study.ask_lock():
        if search := study.attributes.search:
            study.attributes.search = search._replace(workers=workers)
    with _workers_of(study, pool, workers) as handles:
        supervision = _Supervision(
            study,
            pool,
            plan,
            workers=workers,
            deadline=deadline,
            watcher=Watcher(study, listener),
            handles=handles,
        )
        reason = supervision.run()
    if listener:
        listener.search_ended(reason)
    return reason


class _Supervision(Generic[Handle]):
    """The workers of a running search by slot, and what becomes of each."""

    def __init__(
        self,
        study: Study,
        pool: WorkerPool[Handle],
        plan: SearchPlan,
        *,
        workers: int,
        deadline: float,
        watcher: Watcher,
        handles: dict[int, Handle],
    ) -> None:
        self._study, self._pool, self._plan, self._workers, self._deadline = study, pool, plan, workers, deadline
        self._watcher, self._handles = watcher, handles
        self._overdue = Overdue(plan.trial_timeout) if plan.trial_timeout is not None else None
        self._ended_here: set[str] = set()
        self._reasons: list[SearchStatus] = []
        self._deaths = self._finished_before = 0

    def run(self) -> SearchStatus:
        """Until all workers have ended; with no workers here, until the search has."""
        while self._handles or (not self._workers and not self._reasons):
            self._pool.wait(list(self._handles.values()), SECONDS_BETWEEN_LOOKS)
            self._watcher.look()
            self._resize()
            if self._overdue:
                self._ended_here |= _end_hanging(self._study, self._overdue, list(self._handles.values()))
            if not self._workers and (reason := _ended_by_others(self._study, self._plan, self._deadline)):
                self._reasons.append(reason)
            for slot, handle in list(self._handles.items()):
                if (end := handle.end()) is not None:
                    del self._handles[slot]
                    self._worker_ended(slot, handle, end)
        self._watcher.look()
        return next((reason for reason in self._reasons if reason != SearchStatus.COMPLETE), SearchStatus.COMPLETE)

    def _resize(self) -> None:
        """Starts or ends workers where a person has asked for more or fewer."""
        search = self._study.attributes.search
        wanted = search.workers if search is not None and search.workers else self._workers
        if wanted > self._workers and not self._reasons:
            for slot in sorted(set(range(wanted)) - set(self._handles)):
                self._handles[slot] = self._pool.start(slot)
        elif wanted < self._workers:
            leaving = [self._handles.pop(slot) for slot in sorted(self._handles)[wanted:]]
            _dismiss(self._study, self._pool, leaving)
        self._workers = wanted

    def _worker_ended(self, slot: int, handle: Handle, end: WorkerExit) -> None:
        if end.error:
            raise StudyError(end.error)
        if end.reason:
            self._reasons.append(end.reason)
            return
        if handle.worker not in self._ended_here:
            self._worker_died(handle, end.died or "")
        self._handles[slot] = self._pool.start(slot)
        logger.info("worker %s ended (%s); replaced", handle.worker, end.died)

    def _worker_died(self, handle: Handle, died: str) -> None:
        with self._study.ask_lock(died={handle.worker: died}):  # which requeues its trial
            finished = sum(record.ended is not None and record.finished for record in self._study.records())
        self._deaths = self._deaths + 1 if finished == self._finished_before else 1
        self._finished_before = finished
        if self._deaths > MOST_DEATHS * self._workers:  # a trial that kills its workers would have failed by now
            raise StudyError(
                f"study '{self._study.name}': {self._deaths} workers died one after the other with no training ended "
                f"between, the last of {died}"
            )


@contextmanager
def _workers_of(study: Study, pool: WorkerPool[Handle], workers: int) -> Iterator[dict[int, Handle]]:
    """Yields the workers by slot; on any exit, ends them all and requeues their trials."""
    members: dict[int, Handle] = {}
    try:
        for place in range(workers):
            members[place] = pool.start(place)
        yield members
    finally:
        _dismiss(study, pool, list(members.values()))
        pool.close()


def _dismiss(study: Study, pool: WorkerPool[Handle], leaving: Sequence[Handle]) -> None:
    """Ends workers and requeues their trials."""
    pool.dismiss(leaving)
    if leaving:
        with study.ask_lock():
            study.requeue_stale(ended=[handle.worker for handle in leaving])


def _end_hanging(study: Study, overdue: Overdue, members: Sequence[WorkerHandle]) -> set[str]:
    """Records overdue trainings as failed and kills their workers; returns the names of the killed workers."""
    ended: set[str] = set()
    for record in overdue.among(study.records()):
        detail = f"it had not ended after {overdue.seconds:g} s, and was ended together with its worker"
        if study.end_trial(record.trial, TIMEOUT, detail=detail):
            for member in members:
                if member.worker == record.worker:
                    member.kill()
                    ended.add(member.worker)
    return ended


def _ended_by_others(study: Study, plan: SearchPlan, deadline: float) -> SearchStatus | None:
    records = study.records()
    if any(record.state == TrialState.RUNNING for record in records):
        return None
    if plan.sampler == QUEUED and not any(record.state == TrialState.WAITING for record in records):
        return SearchStatus.COMPLETE
    return stop_reason(records, study.config.space, plan=plan, deadline=deadline, search=study.attributes.search)
