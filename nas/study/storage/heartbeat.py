"""WorkerRegistry: tracks which workers of a study are alive, across machines, by heartbeats."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Self

from nas.errors import NasWarning, StudyError
from nas.study.storage.database import PatientStorage
from nas.study.storage.optuna_private import database_of, storage_of
from nas.system.files import why
from nas.system.processes import is_alive, this_worker

if TYPE_CHECKING:
    import optuna

__all__ = ["Heartbeat", "WorkerRegistry"]

BEAT_SECONDS = 15.0
GRACE_SECONDS = 120.0
"""Silence after which a worker on another machine is considered dead."""
CLOCK_TOLERANCE = 60.0
"""Difference between clocks, in seconds, that is reported."""


class Heartbeat:
    """Context manager that calls `beat` every 15 seconds, so that other machines know that this worker is alive.

    On exit it calls `leave`, so that no one waits for this worker.
    """

    def __init__(self, beat: Callable[[], None], leave: Callable[[], None]) -> None:
        self._beat, self._leave = beat, leave
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        with suppress(Exception):  # else the worker counts as dead after the grace period
            self._leave()

    def _run(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            try:
                self._beat()
            except Exception:  # the next beat may succeed; the search itself reports a lost storage
                continue


class WorkerRegistry:
    """Tracks the live workers of a study across machines: one heartbeat file per worker in `folder`.

    Without a shared `folder`, heartbeats are study attributes in the database, where overwriting an attribute does not
    make the study grow. Their times are the database's or the disk's, as the machines' clocks may differ.
    """

    def __init__(self, study: "optuna.Study", folder: Path | None) -> None:
        self._study, self._folder = study, folder

    def beat(self) -> None:
        """Records that this worker is alive.

        Raises:
            StudyError: the folder cannot be written; a database raises its own errors.
        """
        if self._folder is None:
            self._study.set_user_attr(_label(this_worker()), self._now())
            return
        try:
            self._folder.mkdir(exist_ok=True)
            (self._folder / _label(this_worker())).touch()
        except OSError as error:
            raise StudyError(f"the folder {self._folder} cannot be written: {why(error)}") from None

    def leave(self) -> None:
        """Records that this worker has left."""
        if self._folder is None:
            self._study.set_user_attr(_label(this_worker()), 0)
        else:
            (self._folder / _label(this_worker())).unlink(missing_ok=True)

    def gone(self, workers: Collection[str | None]) -> set[str | None]:
        """Returns the workers known to be dead.

        On this machine the process decides; on others, a last heartbeat more than `GRACE_SECONDS` ago. While a
        database could not be reached, nobody could be heard; that others are silent then means nothing.
        """
        here = {worker: is_alive(worker) for worker in workers if worker is not None}
        gone: set[str | None] = {worker for worker, alive in here.items() if alive is False}
        elsewhere = [worker for worker, alive in here.items() if alive is None]
        database = self._database()
        if not elsewhere or (database is not None and database.seconds_since_failure < GRACE_SECONDS):
            return gone
        now = self._now()
        return gone | {worker for worker in elsewhere if now - self._last_seen(worker) > GRACE_SECONDS}

    def warn_of_clock(self) -> None:
        """Warns with a `NasWarning` if this machine's clock differs from the storage's by more than a minute."""
        ahead = time.time() - self._now()
        if abs(ahead) > CLOCK_TOLERANCE:
            how = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'}"
            whose = "the disk's" if self._folder is not None else "the database's"
            warnings.warn(
                f"this machine's clock is {how} {whose}; times that are shown are off by that much",
                NasWarning,
                stacklevel=3,
            )

    def _database(self) -> PatientStorage | None:
        database = database_of(storage_of(self._study)) if self._folder is None else None
        return database if isinstance(database, PatientStorage) else None

    def _now(self) -> float:
        """Returns the time by the clock of the database, or of the disk that holds the folder."""
        if (database := self._database()) is not None:
            return database.clock()
        if self._folder is not None:
            with suppress(OSError), TemporaryFile(dir=self._folder) as probe:
                return os.fstat(probe.fileno()).st_mtime
        return time.time()

    def _last_seen(self, worker: str) -> float:
        if self._folder is None:
            return float(self._study.user_attrs.get(_label(worker), 0))
        try:
            return (self._folder / _label(worker)).stat().st_mtime
        except OSError:
            return 0.0


def _label(worker: str) -> str:
    return "worker-" + worker.replace(":", "-")
