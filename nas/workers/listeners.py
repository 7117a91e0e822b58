"""The `Listener` protocol for a search's events, and a listener that logs curves to TensorBoard or CSV files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nas.errors import MissingExtra
from nas.study.records import TrialRecord
from nas.study.search_state import SearchState, SearchStatus
from nas.study.study import Study
from nas.validation import one_of

__all__ = ["LOGGERS", "Listener", "logged"]

LOGGERS = ("tensorboard", "csv", "none")
ACCURACY = "validation_accuracy"


class Listener(Protocol):
    """Receives the events of a running search in order; trials of several workers may overlap."""

    def search_started(self, study: Study, trials: int) -> None:
        """Called once, with the search's total budget in units of one full-length training."""

    def trial_started(self, record: TrialRecord) -> None:
        """Called when a trial starts."""

    def epoch_ended(self, trial: int, curve: Sequence[float]) -> None:
        """Called after an epoch of a running trial; `curve` holds its accuracy after each epoch so far."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Called when a running trial has ended and its outcome is recorded."""

    def search_steered(self, state: SearchState) -> None:
        """Called when a person has changed the budget or the request of the search's state."""

    def search_ended(self, reason: SearchStatus) -> None:
        """Called once, with why: any status but `running` and `interrupted`."""


@contextmanager
def logged(listener: Listener, logger: str) -> Iterator[Listener]:
    """Wraps a listener so that the accuracy after each epoch is also written to the study's `logs/` folder.

    Raises:
        InvalidValue: `logger` is not one of `LOGGERS`.
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
    """Forwards events to a listener and logs each trial to its own folder with one of Lightning's loggers."""

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

    def search_steered(self, state: SearchState) -> None:
        self._listener.search_steered(state)

    def search_ended(self, reason: SearchStatus) -> None:
        self._listener.search_ended(reason)

    def close(self) -> None:
        """Finalizes the logs of trials that were interrupted."""
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
