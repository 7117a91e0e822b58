"""WorkerRegistry: which workers of a study are alive, on whatever machine."""

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
"""A worker on another machine that was not heard of for so long is taken for dead."""


class Heartbeat:
    """While it is entered, calls `beat` every 15 seconds, so that those on other machines know of this worker.

    Then it calls `leave`, so that nobody waits for it.
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
        with suppress(Exception):  # else it is missed after a while
            self._leave()

    def _run(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            try:
                self._beat()
            except Exception:  # the next one may come through; the search itself says if its storage is lost
                continue


class WorkerRegistry:
    """Which workers of a study are there, on whatever machines: in `folder` a file for each, touched while it is there.

    Without a folder that all reach, it is kept among the attributes of the study in its database, where writing one
    anew does not make the study grow.
    """

    def __init__(self, study: "optuna.Study", folder: Path | None) -> None:
        self._study, self._folder = study, folder

    def beat(self) -> None:
        """Says that this worker is there.

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
        """Says that this worker is no longer there."""
        if self._folder is None:
            self._study.set_user_attr(_label(this_worker()), 0)
        else:
            (self._folder / _label(this_worker())).unlink(missing_ok=True)

    def gone(self, workers: Collection[str | None]) -> set[str | None]:
        """Those that are no more, as far as can be told: by their process, or as they were not heard of for long."""
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
