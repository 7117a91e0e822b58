"""What nas needs of Optuna that Optuna keeps private, in one place; a test says on which version it was checked."""

import pickle
from contextlib import AbstractContextManager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._rdb.models import TrialParamModel
from optuna.storages._rdb.models import TrialUserAttributeModel as UserAttribute
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.storages.journal._base import BaseJournalSnapshot as JournalSnapshot
from optuna.storages.journal._file import BaseJournalFileLock as JournalFileLock
from optuna.trial import FrozenTrial, Trial, TrialState

__all__ = [
    "CHECKED_ON",
    "FullTrainings",
    "JournalFileLock",
    "JournalSnapshot",
    "UserAttribute",
    "database_of",
    "end_queued",
    "enqueued_params",
    "identity_of",
    "insert_parameters",
    "open_trial",
    "parameter_row",
    "replayed_by",
    "storage_of",
    "transaction",
]

CHECKED_ON = "5.0"


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage behind a study."""
    return study._storage


class FullTrainings(optuna.Study):
    """A study without its pruned trials, for a sampler that would take them for the worst ones."""

    def __init__(self, study: optuna.Study) -> None:
        self.__dict__.update(study.__dict__)

    def _get_trials(self, *args: Any, **keywords: Any) -> list[FrozenTrial]:
        return [trial for trial in super()._get_trials(*args, **keywords) if trial.state != TrialState.PRUNED]


def identity_of(study: optuna.Study) -> tuple[BaseStorage, int]:
    """What tells two studies apart: names are unique within a storage only."""
    return study._storage, study._study_id


def replayed_by(storage: JournalStorage) -> bytes:
    """The pickled state to which a storage has replayed its journal; `JournalSnapshot.load_snapshot` returns it."""
    return pickle.dumps(storage._replay_result)


def database_of(storage: BaseStorage) -> RDBStorage | None:
    """The database behind a storage, which `optuna.load_study` wraps in a cache; None for other storages."""
    found = getattr(storage, "_backend", storage)
    return found if isinstance(found, RDBStorage) else None


def transaction(database: RDBStorage) -> AbstractContextManager[Any]:
    """One transaction of a database, in a session that is yielded; errors are turned into Optuna's."""
    return _create_scoped_session(database.scoped_session, True)


def insert_parameters() -> Any:
    """The statement that inserts rows of `parameter_row`."""
    from sqlalchemy import insert

    return insert(TrialParamModel)


def parameter_row(trial_id: int, name: str, *, value: float, distribution: BaseDistribution) -> dict[str, Any]:
    """A parameter of a trial as a database holds it; `value` is Optuna's internal representation."""
    kind = distribution_to_json(distribution)
    return {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": kind}


def open_trial(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """A stored trial that is still running, to write to; Optuna gives it only to whoever asked for the trial."""
    return Trial(study, trial._trial_id)


def end_queued(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Ends a trial that waits as failed, which `Study.tell` refuses; `reason` is a short code."""
    study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def enqueued_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was enqueued with; None if it was not."""
    found: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return found
