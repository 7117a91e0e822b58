"""Locks for exclusive operations: creating a study's files, searching it, and asking it for a trial."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from filelock import BaseFileLock, FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage

from nas.errors import StudyError
from nas.study.storage.database import PatientStorage, passing_failure
from nas.study.storage.optuna_private import database_of
from nas.system.files import why

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause

__all__ = ["AskLock", "LockLost", "creation_lock", "search_lock"]

POLL_SECONDS = 0.005
LONGEST_SECONDS = 120
"""PostgreSQL releases the lock of a process that has held it for that long, as it may be stopped or cut off."""
ADVISORY = {
    "postgresql": (
        "pg_advisory_lock(hashtextextended(:name, 0)), set_config('idle_session_timeout', :longest, false)",
        "pg_advisory_unlock(hashtextextended(:name, 0)), set_config('idle_session_timeout', '0', false)",
    ),
    "mysql": ("GET_LOCK(LEFT(:name, 60), 1000000)", "RELEASE_LOCK(LEFT(:name, 60))"),
}
"""SQL to acquire and release a session lock, which ends with the connection and thus with its process."""


@contextmanager
def search_lock(folder: Path) -> Iterator[None]:
    """Locks a study's folder for one search on this machine; the lock is released when the process ends.

    Raises:
        StudyError: another search holds the lock.
    """
    lock = FileLock(folder / "search.lock")
    try:
        _take(lock, folder, blocking=False)
    except Timeout:
        raise StudyError(
            f"study '{folder.name}': another search is running on it; wait for it or end it, "
            f"or add a worker: nas worker {folder.name}"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def creation_lock(folder: Path) -> Iterator[None]:
    """Locks a study's folder while its files are created or repaired; others wait. Released when the process ends."""
    lock = FileLock(folder / "making.lock", poll_interval=POLL_SECONDS)
    _take(lock, folder)
    try:
        yield
    finally:
        lock.release()


class LockLost(StudyError):
    """A database released a lock early, as in a restart; others may have held it meanwhile."""


class AskLock:
    """Context manager that locks a study against all other workers, on any machine, while a worker asks for a trial.

    PostgreSQL and MySQL hold the lock themselves; otherwise it is a lock file, beside an SQLite database or in the
    study's folder. The lock is released when its process ends, in whatever way.

    Args:
        storage: the study's storage.
        folder: the study's folder.
        name: the study's name.
        strict: raise `LockLost` on exit if the database released the lock early, to this worker or to another one.
    """

    def __init__(self, storage: BaseStorage, folder: Path, name: str, *, strict: bool = False) -> None:
        self._strict, self._lost = strict, False
        self._storage, self._folder, self._name = storage, folder, name
        self._held = ExitStack()

    def __enter__(self) -> Self:
        if isinstance(self._storage, InMemoryStorage):  # not visible to other processes
            return self
        database = database_of(self._storage)
        dialect = database.engine.dialect.name.replace("mariadb", "mysql") if database else None
        if isinstance(database, PatientStorage) and dialect in ADVISORY:
            database.lasting(partial(self._take, database, dialect))
            return self
        file = self._folder / "asking.lock"
        if database is not None and dialect == "sqlite" and database.engine.url.database:
            file = Path(f"{database.engine.url.database}.{self._name}.asking")
        self._held.enter_context(FileLock(file, poll_interval=POLL_SECONDS))
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._held.close()
        # Another worker that held the lock, too, may have ended the trial that this one was asking for.
        is_taken = any(isinstance(each, UpdateFinishedTrialError) for each in (error, error and error.__cause__))
        if self._strict and (is_taken or (self._lost and (error is None or isinstance(error, Exception)))):
            raise LockLost(f"study '{self._name}': its database released the lock early") from error

    def _take(self, database: PatientStorage, dialect: str) -> None:
        from sqlalchemy import text

        take, give_back = (text(f"SELECT {function}") for function in ADVISORY[dialect])
        values = {"name": f"nas {self._name}", "longest": f"{LONGEST_SECONDS}s"}
        with ExitStack() as held:
            connection = held.enter_context(database.engine.connect())
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(take, values)
            held.callback(self._give_back, connection, give_back, values)
            self._held = held.pop_all()

    def _give_back(self, connection: "Connection", statement: "TextClause", values: Mapping[str, str]) -> None:
        try:
            connection.execute(statement, values)
        except Exception as error:
            if passing_failure(error) is None:
                raise
            self._lost = True


def _take(lock: BaseFileLock, folder: Path, *, blocking: bool = True) -> None:
    try:
        lock.acquire(blocking=blocking)
    except Timeout:  # a subclass of OSError
        raise
    except OSError as error:
        raise StudyError(f"study '{folder.name}': the folder {folder} cannot be written: {why(error)}") from None
