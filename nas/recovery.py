"""What dead workers have left: trials that nobody trains any more, in Optuna's terms."""

from collections.abc import Collection

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.records import INTERRUPTED

__all__ = ["end", "put_back", "running", "worker_of"]

WORKER_DIED = "worker_died"
MOST_DEATHS = 3
"""So many workers may die over one training before it is given up: it may be what kills them."""


def running(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were begun and not ended."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def worker_of(trial: FrozenTrial) -> str | None:
    """Which process trains it, as `HOST:PID`; None where that was not written yet."""
    worker: str | None = trial.user_attrs.get("worker")
    return worker


def put_back(study: optuna.Study, trial: FrozenTrial, *, needed: Collection[str], died: bool) -> None:
    """Ends a trial as interrupted, and queues it to be trained again, if it has come to have the parameters `needed`.

    `died`: its worker died by itself. The last one that may ends the trial as failed, for `worker_died`.
    """
    params, deaths = dict(trial.params), trial.user_attrs.get("deaths", 0) + died
    if deaths >= MOST_DEATHS:
        end(study, trial, WORKER_DIED)
        return
    end(study, trial, INTERRUPTED)
    if set(needed) <= params.keys():
        study.enqueue_trial(params, user_attrs={"deaths": deaths} if deaths else None)


def end(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Ends a trial as failed."""
    left = Trial(study, trial._trial_id)
    left.set_user_attr("reason", reason)
    study.tell(left, state=TrialState.FAIL)
