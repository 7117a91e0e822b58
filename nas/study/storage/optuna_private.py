"""What nas needs of Optuna that Optuna keeps private, in one place; a test says on which version it was checked."""

import pickle
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal._base import BaseJournalSnapshot as JournalSnapshot
from optuna.storages.journal._file import BaseJournalFileLock as JournalFileLock
from optuna.trial import FrozenTrial, Trial

__all__ = [
    "CHECKED_ON",
    "JournalFileLock",
    "JournalSnapshot",
    "database_of",
    "enqueued_params",
    "identity_of",
    "open_trial",
    "replayed_by",
    "storage_of",
]

CHECKED_ON = "5.0"


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage behind a study."""
    return study._storage


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


def open_trial(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """A stored trial that is still running, to write to; Optuna gives it only to whoever asked for the trial."""
    return Trial(study, trial._trial_id)


def enqueued_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was enqueued with; None if it was not."""
    found: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return found
