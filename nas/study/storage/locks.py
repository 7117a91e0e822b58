"""What only one may do at a time: begin a study's files, search it, and ask it for a trial."""

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
"""How a database takes and gives back a lock that goes with the connection, and so with the process that has it."""


@contextmanager
def search_lock(folder: Path) -> Iterator[None]:
    """Holds a study's folder for one search on this machine; the lock goes with the process.

    Raises:
        StudyError: another search holds it.
    """
    lock = FileLock(folder / "search.lock")
    try:
        _take(lock, folder, blocking=False)
    except Timeout:
        raise StudyError(
            f"study '{folder.name}': another search is running on it; wait for it or end it, "
            f"or lend it a hand: nas worker {folder.name}"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def creation_lock(folder: Path) -> Iterator[None]:
    """Holds a study's folder while its files are begun or mended; others wait. The lock goes with the process."""
    lock = FileLock(folder / "making.lock", poll_interval=POLL_SECONDS)
    _take(lock, folder)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def ask_lock(storage: BaseStorage, folder: Path, name: str) -> Iterator[None]:
    """Holds a study while a worker asks for a trial, against all other workers, on however many machines they are.

    A database keeps the lock itself; a journal or an SQLite file has one in a file beside it. It is let go when its
    process ends, however that ends.
    """
    if isinstance(storage, InMemoryStorage):  # which no other process sees
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
    except Timeout:  # is one of OSError's
        raise
    except OSError as error:
        raise StudyError(f"study '{folder.name}': the folder {folder} cannot be written: {error}") from None
