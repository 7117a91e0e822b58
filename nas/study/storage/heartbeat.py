"""WorkerRegistry: tracks which workers of a study are alive, across machines, by heartbeats."""

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nas.errors import StudyError
from nas.system.files import why
from nas.system.processes import is_alive, this_worker

if TYPE_CHECKING:
    import optuna

__all__ = ["Heartbeat", "WorkerRegistry"]

BEAT_SECONDS = 15.0
GRACE_SECONDS = 120.0
"""Silence after which a worker on another machine is considered dead."""


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
    make the study grow.
    """

    def __init__(self, study: "optuna.Study", folder: Path | None) -> None:
        self._study, self._folder = study, folder

    def beat(self) -> None:
        """Records that this worker is alive.

        Raises:
            StudyError: the folder cannot be written; a database raises its own errors.
        """
        if self._folder is None:
            self._study.set_user_attr(_label(this_worker()), time.time())
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

        On this machine the process decides; on others, a last heartbeat more than `GRACE_SECONDS` ago.
        """
        here = {worker: is_alive(worker) for worker in workers if worker is not None}
        gone: set[str | None] = {worker for worker, alive in here.items() if alive is False}
        elsewhere = [worker for worker, alive in here.items() if alive is None]
        return gone | {worker for worker in elsewhere if time.time() - self._last_seen(worker) > GRACE_SECONDS}

    def _last_seen(self, worker: str) -> float:
        if self._folder is None:
            return float(self._study.user_attrs.get(_label(worker), 0))
        try:
            return (self._folder / _label(worker)).stat().st_mtime
        except OSError:
            return 0.0


def _label(worker: str) -> str:
    return "worker-" + worker.replace(":", "-")
