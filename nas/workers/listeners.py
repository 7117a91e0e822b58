"""Listener: is told as a search goes on; and one that writes curves as files for TensorBoard or as CSV."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nas.errors import MissingExtra
from nas.study.records import TrialRecord
from nas.study.study import Study
from nas.validation import one_of

__all__ = ["LOGGERS", "Listener", "logged"]

LOGGERS = ("tensorboard", "csv", "none")
ACCURACY = "validation_accuracy"


class Listener(Protocol):
    """Is told what happens while a search runs, in the order it happens; workers train several trials at once."""

    def search_started(self, study: Study, trials: int) -> None:
        """Once, with the total that the study is to reach."""

    def trial_started(self, record: TrialRecord) -> None:
        """A trial begins."""

    def epoch_ended(self, trial: int, curve: Sequence[float]) -> None:
        """A running trial has come so far: its accuracy after each epoch."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A running trial is told."""

    def search_ended(self, reason: str) -> None:
        """Once: `complete`, `timeout` or `exhausted` (the space holds no further architecture)."""


@contextmanager
def logged(listener: Listener, logger: str) -> Iterator[Listener]:
    """The listener, which is told all the same, with the accuracy after each epoch written to `logs/` of the study.

    Raises:
        InvalidValue: `logger` is none of `LOGGERS`.
        MissingExtra: TensorBoard is not installed.
    """
    one_of(logger, "logger", LOGGERS)
    if logger == "none":
        yield listener
        return
    if logger == "tensorboard" and find_spec("tensorboard") is None:
        raise MissingExtra("--logger tensorboard", "tensorboard")
    logs = _Logs(listener, logger)
    try:
        yield logs
    finally:
        logs.close()


class _Logs:
    """A folder for each training, by seed and trial, in the form of Lightning's loggers."""

    def __init__(self, listener: Listener, logger: str) -> None:
        self._listener, self._make = listener, _tensorboard if logger == "tensorboard" else _csv
        self._loggers: dict[int, Any] = {}
        self._written: dict[int, int] = {}
        self._folder = Path()

    def search_started(self, study: Study, trials: int) -> None:
        self._folder = study.folder
        self._listener.search_started(study, trials)

    def trial_started(self, record: TrialRecord) -> None:
        self._loggers[record.trial] = self._make(self._folder, f"trial-{record.trial:05d}")
        self._listener.trial_started(record)

    def epoch_ended(self, trial: int, curve: Sequence[float]) -> None:
        self._write(trial, curve)
        self._listener.epoch_ended(trial, curve)

    def trial_ended(self, record: TrialRecord) -> None:
        self._write(record.trial, record.curve)
        self._listener.trial_ended(record)
        if logger := self._loggers.pop(record.trial, None):
            logger.finalize("success")

    def search_ended(self, reason: str) -> None:
        self._listener.search_ended(reason)

    def close(self) -> None:
        """What was interrupted is written, too."""
        for logger in self._loggers.values():
            logger.finalize("interrupted")

    def _write(self, trial: int, curve: Sequence[float]) -> None:
        if logger := self._loggers.get(trial):
            for epoch in range(self._written.get(trial, 0), len(curve)):
                logger.log_metrics({ACCURACY: curve[epoch]}, step=epoch + 1)
            self._written[trial] = len(curve)
            logger.save()


def _csv(folder: Path, version: str) -> Any:
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(folder, name="logs", version=version)


def _tensorboard(folder: Path, version: str) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="logs", version=version, default_hp_metric=False)
