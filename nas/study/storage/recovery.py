"""What dead workers have left: trials that nobody trains any more, in Optuna's terms."""

from collections.abc import Collection
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.study.records import INTERRUPTED

__all__ = ["MOST_DEATHS", "UNSEEN", "end", "params_of", "queue_again", "requeue_stale", "running", "worker_of"]

WORKER_DIED = "worker_died"
UNSEEN = "an unknown cause"
"""How a worker ended that was not a process of who looks."""
MOST_DEATHS = 3
"""So many workers may die over one training before it is given up: it may be what kills them."""


def running(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were begun and not ended."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def worker_of(trial: FrozenTrial) -> str | None:
    """Which process trains it, as `HOST:PID@BEGAN`; None where that was not written yet."""
    worker: str | None = trial.user_attrs.get("worker")
    return worker


def requeue_stale(study: optuna.Study, trial: FrozenTrial, *, needed: Collection[str], died: str | None) -> None:
    """Ends a trial as interrupted, and queues it to be trained again, if it has come to have the parameters `needed`.

    `died`: its worker died by itself, of this. The last one that may ends the trial as failed, for `worker_died`.
    """
    deaths = trial.user_attrs.get("deaths", 0) + (died is not None)
    if deaths >= MOST_DEATHS:
        detail = f"{deaths} workers died over it, one after the other, the last of {died}"
        end(study, trial, WORKER_DIED, detail=f"{detail}; a system that runs out of memory kills the process with most")
        return
    if set(needed) <= params_of(trial).keys():
        queue_again(study, trial, deaths=deaths)
    end(study, trial, INTERRUPTED)


def queue_again(study: optuna.Study, trial: FrozenTrial, *, deaths: int = 0) -> None:
    """Has a trial trained again as another one. Comes before it is ended, as this process may be killed in between."""
    params = params_of(trial)
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if all(params_of(other) != params for other in waiting):
        study.enqueue_trial(params, user_attrs={"deaths": deaths} if deaths else None)


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Its parameters; one that was queued is given them one by one, and may have been killed meanwhile."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def end(study: optuna.Study, trial: FrozenTrial, reason: str, *, detail: str | None = None) -> None:
    """Ends a trial as failed."""
    left = Trial(study, trial._trial_id)
    left.set_user_attr("reason", reason)
    if detail is not None:
        left.set_user_attr("detail", detail)
    study.tell(left, state=TrialState.FAIL)
