"""Locks for exclusive operations: creating a study's files, searching it, and asking it for a trial."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout
from optuna.storages import BaseStorage, InMemoryStorage

from nas.errors import StudyError

__all__ = ["ask_lock", "creation_lock", "search_lock"]

POLL_SECONDS = 0.005
ADVISORY = {
    "postgresql": ("pg_advisory_lock(hashtextextended(:name, 0))", "pg_advisory_unlock(hashtextextended(:name, 0))"),
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


@contextmanager
def ask_lock(storage: BaseStorage, folder: Path, name: str) -> Iterator[None]:
    """Locks a study against all other workers, on any machine, while a worker asks for a trial.

    PostgreSQL and MySQL hold the lock themselves; otherwise it is a lock file, beside an SQLite database or in the
    study's folder. The lock is released when its process ends, in whatever way.

    Args:
        storage: the study's storage.
        folder: the study's folder.
        name: the study's name.
    """
    if isinstance(storage, InMemoryStorage):  # not visible to other processes
        yield
        return
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    dialect = engine.dialect.name.replace("mariadb", "mysql") if engine is not None else None
    if engine is None or dialect not in ADVISORY:
        database = engine.url.database if engine is not None and dialect == "sqlite" else None
        file = Path(f"{database}.{name}.asking") if database else folder / "asking.lock"
        with FileLock(file, poll_interval=POLL_SECONDS):
            yield
        return
    from sqlalchemy import text

    take, give_back = (text(f"SELECT {function}") for function in ADVISORY[dialect])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(take, {"name": f"nas {name}"})
        try:
            yield
        finally:
            connection.execute(give_back, {"name": f"nas {name}"})


def _take(lock: BaseFileLock, folder: Path, *, blocking: bool = True) -> None:
    try:
        lock.acquire(blocking=blocking)
    except Timeout:  # a subclass of OSError
        raise
    except OSError as error:
        raise StudyError(f"study '{folder.name}': the folder {folder} cannot be written: {error}") from None
