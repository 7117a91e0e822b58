"""Opens Optuna storages by URL, and turns their errors into one-line messages."""

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import TrialState as OptunaState

from nas.errors import InvalidValue, NasError, StudyError
from nas.study.records import TrialState
from nas.study.storage.database import PatientStorage
from nas.study.storage.journal import Journal
from nas.system.memory import without_collections

__all__ = ["LARGEST_SEED", "LENGTH", "NOT_PROPOSED", "QUEUED", "SEED", "open_storage", "storage_errors"]

LENGTH = "epochs"
"""Trial parameter for the length of the training; a trial without it is trained for the recipe's epochs."""
SEED = "seed"
"""Trial parameter for the seed, in studies that train architectures on several seeds; searches do not have it."""
NOT_PROPOSED = "not_proposed"
"""Reason of a trial that ended before its architecture was known, or that was withdrawn from the queue; such trials
are not reported."""
QUEUED = "queued"
"""Sampler name of a plan that trains only the trials that were queued beforehand."""
LARGEST_SEED = 2**32 - 1
ATTEMPTS_TO_MAKE, SECONDS_BETWEEN_ATTEMPTS = 10, 0.2
STATES = {
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.FAIL: TrialState.FAILED,
    OptunaState.PRUNED: TrialState.STOPPED,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.WAITING,
}


def open_storage(journal: Path, url: str | None, *, there: bool = False, patience: float = 0.0) -> BaseStorage:
    """Opens the database of a URL, or the journal file.

    Args:
        journal: the journal file, used if `url` is None.
        url: the URL of a database, or None.
        there: require an existing storage: no database or tables are created.
        patience: seconds to wait for a database that cannot be used, then and later.

    Raises:
        StudyError: the journal is damaged, the driver is not installed, or `there` and the SQLite file is missing.
    """
    if url is None:
        backend = Journal(journal.absolute())
        try:
            with without_collections():
                opened = JournalStorage(backend)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            raise backend.damaged(detail=_reason(error)) from None
        backend.keep(opened)
        return opened
    try:
        if there:
            _refuse_missing_file(url)
        storage = _database(url, there=there, patience=patience)
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
        raise StudyError(
            f"storage={url.partition('://')[0]}://…: needs {driver}, which is not installed; for PostgreSQL: "
            "pip install 'psycopg[binary]' and a URL that begins with postgresql+psycopg://"
        ) from None
    weakref.finalize(storage, storage.engine.dispose)  # nothing else closes its connections
    return storage


def _database(url: str, *, there: bool, patience: float) -> PatientStorage:
    """Opens a database; retries if another process is creating the tables of a new database concurrently."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    attempts = 1 if there else ATTEMPTS_TO_MAKE
    while True:
        try:
            return PatientStorage(url, skip_table_creation=there, patience=patience)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            attempts -= 1
            if not attempts or (isinstance(error, OperationalError) and "already exists" not in str(error)):
                raise
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _refuse_missing_file(url: str) -> None:
    """Fails for a missing SQLite file, which SQLite would otherwise create."""
    from sqlalchemy import make_url

    parts = make_url(url)
    if parts.get_backend_name() == "sqlite" and parts.database and not Path(parts.database).is_file():
        raise StudyError(f"storage={url}: there is no such file")


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turns any exception of a storage, from a lost connection to a damaged file, into a one-line `StudyError`."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    except InvalidValue as error:
        raise StudyError(f"study '{name}': its storage holds what nas did not write: {error}") from None
    except NasError:
        raise
    except Exception as error:
        raise StudyError(f"study '{name}': its storage cannot be used: {_reason(error)}") from error
    finally:
        optuna.logging.set_verbosity(level)


def _reason(error: BaseException) -> str:
    """Summarizes an exception in one line."""
    if isinstance(error, StorageInternalError) and error.__cause__:
        error = error.__cause__  # Optuna's own message lacks the cause
    text = next(iter(str(error).strip().splitlines()), "")
    alone = text and not isinstance(error, LookupError | TypeError)  # their message is only a key, or less
    return text if alone else f"{type(error).__name__} {text}".strip()
