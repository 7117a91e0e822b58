"""Optuna's storages: opened by URL, and their errors as one line."""

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import TrialState

from nas.errors import InvalidValue, NasError, StudyError
from nas.study.records import COMPLETE, FAILED, RUNNING, STOPPED, WAITING
from nas.study.storage.journal import Journal

__all__ = ["LARGEST_SEED", "LENGTH", "NOT_PROPOSED", "QUEUED", "SEED", "open_storage", "storage_errors"]

LENGTH = "epochs"
"""The parameter of a trial that says how long it is trained; a trial without it is trained for the recipe's epochs."""
SEED = "seed"
"""The parameter of a trial whose architecture is trained on several seeds; a search has none."""
NOT_PROPOSED = "not_proposed"
"""The reason of a trial that ended before its architecture was known; it is none of ours."""
QUEUED = "queued"
"""The sampler, by name, of a plan by which only what was put into the study beforehand is trained."""
LARGEST_SEED = 2**32 - 1
ATTEMPTS_TO_MAKE, SECONDS_BETWEEN_ATTEMPTS = 10, 0.2
STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.FAIL: FAILED,
    TrialState.PRUNED: STOPPED,
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: WAITING,
}


def open_storage(journal: Path, url: str | None, *, there: bool = False) -> BaseStorage:
    """The database of that URL, or the journal file.

    `there`: it is to hold studies already; so nothing is made, where a database is missing or is another program's.
    """
    if url is None:
        backend = Journal(journal.absolute())
        try:
            return JournalStorage(backend)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            raise backend.damaged(detail=_reason(error)) from None
    try:
        if there:
            _refuse_missing_file(url)
        storage = _database(url, there=there)
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
        raise StudyError(
            f"storage={url.partition('://')[0]}://…: needs {driver}, which is not installed; for PostgreSQL: "
            "pip install 'nas[postgresql]' and a URL that begins with postgresql+psycopg://"
        ) from None
    weakref.finalize(storage, storage.engine.dispose)  # nobody else closes its connections
    return storage


def _database(url: str, *, there: bool) -> RDBStorage:
    """Optuna's, in a database. Where two programs make the tables of a new one at once, the slower tries again."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    attempts = 1 if there else ATTEMPTS_TO_MAKE
    while True:
        try:  # a connection may be lost between two trials
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True}, skip_table_creation=there)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            attempts -= 1
            if not attempts or (isinstance(error, OperationalError) and "already exists" not in str(error)):
                raise
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _refuse_missing_file(url: str) -> None:
    """SQLite would make the file."""
    from sqlalchemy import make_url

    parts = make_url(url)
    if parts.get_backend_name() == "sqlite" and parts.database and not Path(parts.database).is_file():
        raise StudyError(f"storage={url}: there is no such file")


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turns whatever a storage raises, from a lost connection to a damaged file, into one line."""
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
    """What an exception says, in one line."""
    if isinstance(error, StorageInternalError) and error.__cause__:
        error = error.__cause__  # Optuna's says nothing of why
    text = next(iter(str(error).strip().splitlines()), "")
    alone = text and not isinstance(error, LookupError | TypeError)  # which say a key, or less
    return text if alone else f"{type(error).__name__} {text}".strip()
