"""Recovers trials orphaned by dead workers, at the level of Optuna trials."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas.study.records import INTERRUPTED
from nas.study.storage.backend import NOT_PROPOSED
from nas.study.storage.optuna_private import end_queued, enqueued_params, open_trial
from nas.system.logs import logger

__all__ = [
    "MOST_DEATHS",
    "UNSEEN",
    "end",
    "params_of",
    "queue_again",
    "requeue_stale",
    "running",
    "withdraw",
    "worker_of",
]

WORKER_DIED = "worker_died"
UNSEEN = "an unknown cause"
"""Cause of death of a worker whose end was not observed by the process that finds it dead."""
KILLED = "signal 9 "
MOST_DEATHS = 3
"""Number of worker deaths at which a training is ended as failed: it may be what kills them."""


def running(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that have started and not ended."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def worker_of(trial: FrozenTrial) -> str | None:
    """Returns the process that trains a trial, as `HOST:PID@BEGAN`; None if not recorded yet."""
    worker: str | None = trial.user_attrs.get("worker")
    return worker


def requeue_stale(study: optuna.Study, trial: FrozenTrial, *, needed: Collection[str], died: str | None) -> None:
    """Ends an orphaned trial as interrupted, and requeues it if its parameters are complete.

    After `MOST_DEATHS` deaths of workers the trial is ended as failed instead, with the reason `worker_died`.

    Args:
        study: the trial's study.
        trial: a running trial whose worker is dead.
        needed: the names of the parameters that make it complete.
        died: what the worker died of; None: not counted as a death, as it was ended deliberately or with its search.
    """
    deaths = trial.user_attrs.get("deaths", 0) + (died is not None)
    if deaths >= MOST_DEATHS:
        detail = f"{deaths} workers died over it, one after the other, the last of {died}"
        if died is None or died == UNSEEN or KILLED in died:
            detail += "; a system that runs out of memory kills the process with most"
        end(study, trial, WORKER_DIED, detail=detail)
        return
    requeued = set(needed) <= params_of(trial).keys()
    if requeued:
        queue_again(study, trial, deaths=deaths)
    with suppress(UpdateFinishedTrialError):  # by its worker, which was only taken for dead
        end(study, trial, INTERRUPTED)
    logger.info(
        "trial %d of %s: %s", trial.number, worker_of(trial), "requeued" if requeued else "dropped, never begun"
    )


def queue_again(study: optuna.Study, trial: FrozenTrial, *, deaths: int = 0) -> None:
    """Queues a copy of a trial, unless another trial of the same point is waiting or running.

    Call it before ending the original, as this process may be killed in between.

    Args:
        study: the trial's study.
        trial: the trial to repeat.
        deaths: number of workers that have died over it so far.
    """
    params = params_of(trial)
    others = study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
    if all(params_of(other) != params for other in others if other.number != trial.number):
        attrs = {"deaths": deaths, "by_person": trial.user_attrs.get("by_person")}
        study.enqueue_trial(params, user_attrs={name: value for name, value in attrs.items() if value})


def withdraw(study: optuna.Study, number: int) -> None:
    """Drops a queued trial; nothing happens if it has begun meanwhile."""
    trial = study.get_trials(deepcopy=False)[number]
    if trial.state == TrialState.WAITING:
        end_queued(study, trial, NOT_PROPOSED)


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Returns a trial's parameters, with the fixed ones of a queued trial that was killed before it took them all."""
    return {**(enqueued_params(trial) or {}), **trial.params}


def end(
    study: optuna.Study, trial: FrozenTrial, reason: str, *, detail: str | None = None, stopped: bool = False
) -> None:
    """Ends a trial as failed, or as stopped; `reason` is a short code, `detail` the message behind it."""
    left = open_trial(study, trial)
    left.set_user_attr("reason", reason)
    if detail is not None:
        left.set_user_attr("detail", detail)
    study.tell(left, state=TrialState.PRUNED if stopped else TrialState.FAIL, skip_if_finished=True)
