"""The main loop of a worker: ask for a trial, train it, record the outcome, until the search's budget is spent."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

from optuna.trial import Trial

from nas.errors import InvalidValue
from nas.strategy.latency_objective import clock
from nas.strategy.samplers import SpaceExhausted
from nas.strategy.stopping import stop_reason
from nas.strategy.strategy import Strategy
from nas.study.config import BY_LATENCY
from nas.study.plan import SearchPlan
from nas.study.records import TrialRecord, TrialState, trainings_spent
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.study.storage.backend import QUEUED
from nas.study.storage.locks import LockLost
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.system.memory import not_growing
from nas.system.processes import this_worker
from nas.training.objective import Objective
from nas.workers.failures import raise_if_device_lost, raise_if_failing
from nas.workers.listeners import Listener
from nas.workers.trial import TrialRunner

__all__ = ["run"]

SECONDS_BETWEEN_LOOKS = 0.2
"""How long an idle worker sleeps: running trials may exhaust the budget or the space, or the search is paused."""


def run(
    study: Study,
    objective: Objective,
    plan: SearchPlan,
    *,
    deadline: float = math.inf,
    device: str = AUTO,
    latency_on: str | None = None,
    listener: Listener | None = None,
) -> SearchStatus:
    """Trains trials of a study, as one of any number of workers, until the plan's budget is spent.

    Args:
        study: an open study.
        objective: trains an architecture.
        plan: the search's budget and strategy.
        deadline: no training starts after this time, in seconds since 1970.
        device: where latencies are measured, if the study weighs accuracy against latency.
        latency_on: a command that reaches another device, on which they are measured instead.
        listener: notified of this worker's progress.

    Returns:
        Why the worker ended: complete, timeout, settled, exhausted, or stopped by a person.

    Raises:
        StudyError: the storage is unusable, or trainings keep failing in the same way.
        DeviceLost: a failed training left the GPU unusable in this process.
    """
    model = study.attributes.latency_model
    strategy = Strategy(study.config, plan, model)
    by_latency = study.config.objective == BY_LATENCY
    measure = clock(study, device=device, on=latency_on) if by_latency else None
    runner = TrialRunner(study, objective, plan, strategy.stop, measure, listener)
    if listener:
        listener.search_started(study, plan.trials)
    seen = study.attributes.search
    with not_growing() as give_memory_back:
        while True:
            try:
                records, search, step = _look(study, strategy, deadline, model.bounds if model else None)
            except LockLost:  # another worker may have asked at the same time
                study.requeue_stale(ended=[this_worker()])
                continue
            if listener and search and search != seen:
                listener.search_steered(search)
            seen = search
            if step.ended:
                break
            if step.trial is None:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            trial, record = step.trial
            record = runner.run(trial, record, [other for other in records if other.finished])
            raise_if_device_lost(study.name, record)
            give_memory_back()
    if listener:
        listener.search_ended(step.ended)
    return step.ended


class _Step(NamedTuple):
    """A worker's next step: train `trial`, end for the reason `ended`, or, with neither, wait for other workers."""

    trial: tuple[Trial, TrialRecord] | None = None
    ended: SearchStatus | None = None


def _look(
    study: Study, strategy: Strategy, deadline: float, bounds: tuple[float, float] | None
) -> tuple[list[TrialRecord], SearchState | None, _Step]:
    """Returns the trials, the search's state, and what to do next."""
    with study.ask_lock(strict=True):
        records, search = study.records(), study.attributes.search
        raise_if_failing(study.name, records, before=search.before if search else 0)
        plan, space = strategy.plan, study.config.space
        ended = stop_reason(records, space, plan=plan, deadline=deadline, search=search, bounds=bounds)
        paused = search is not None and search.request == Request.PAUSE
        step = _Step(ended=ended) if ended or paused else _next_step(study, strategy, records, search)
    return records, search, step


def _next_step(study: Study, strategy: Strategy, records: Sequence[TrialRecord], search: SearchState | None) -> _Step:
    """Asks for a trial; waits if running trials may use up the budget; `exhausted` if all architectures are trained."""
    plan, full = strategy.plan, study.config.space.recipe.epochs
    trials = search.trials if search else plan.trials
    running = [record for record in records if record.state == TrialState.RUNNING]
    in_hand = sum(record.length or full for record in running) / full
    if running and trainings_spent(records, full) + in_hand >= trials:
        return _Step()
    also = {"lengths": len(plan.lengths) > 1, "seeds": plan.sampler == QUEUED}
    try:
        return _Step(study.ask(strategy.chooser(records), **also))
    except SpaceExhausted:
        last_resort = strategy.last_resort(records)
    if last_resort is not None:
        return _Step(study.ask(last_resort, **also))
    if running:
        return _Step()
    if plan.sampler == QUEUED:
        return _Step(ended=SearchStatus.COMPLETE)
    if not any(record.finished for record in records):
        space = study.config.space
        raise InvalidValue(
            f"max_flops={space.max_flops}, max_params={space.max_params}: no architecture was found that keeps both"
        )
    return _Step(ended=SearchStatus.EXHAUSTED)
