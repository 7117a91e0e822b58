"""Trains single trials and records their outcomes, through one exit whatever happens."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.trial import Trial

from nas.architectures.architecture import Architecture
from nas.errors import StudyError, TrainingFailed
from nas.spaces.search_space import SearchSpace
from nas.strategy.stopping import StopRule
from nas.study.artifacts import KEEP_NONE, prune_artifacts, save_confusion
from nas.study.plan import SearchPlan
from nas.study.records import INTERRUPTED, LATENCY_KEY, RESERVED_NAMES, Outcome, TrialRecord
from nas.study.study import Study
from nas.training.objective import Evaluate, accepts
from nas.validation import shown
from nas.workers.failures import failure
from nas.workers.listeners import Listener

if TYPE_CHECKING:
    from nas.training.objective import TrainingResult

__all__ = ["TrialRunner"]

SECONDS_BETWEEN_REPORTS = 2.0
"""Minimum interval between writes of a running trial's curve to the storage, so that short epochs stay short."""


@dataclass(frozen=True)
class TrialRunner:
    """Trains the trials of one worker.

    Args:
        study: where every outcome is recorded.
        evaluate: the training function.
        plan: the search's plan; `lengths` are the schedules' epochs, `keep` decides whose weights stay on disk.
        stop: the rule that stops hopeless trainings early. None: no early stopping.
        clock: measures an architecture's latency in milliseconds, before its training, while the device is idle.
        listener: notified of every trial and epoch.
    """

    study: Study
    evaluate: Evaluate
    plan: SearchPlan
    stop: StopRule | None = None
    clock: Callable[[Architecture], float] | None = None
    listener: Listener | None = None

    def run(self, trial: Trial, record: TrialRecord, ended: Sequence[TrialRecord] = ()) -> TrialRecord:
        """Trains a trial, records its outcome, and returns the final record.

        Args:
            trial: the Optuna trial.
            record: the same trial as a record.
            ended: finished trials that `stop` compares with.

        Raises:
            StudyError: the study cannot store the result; the trial is requeued.
            KeyboardInterrupt: re-raised after the trial has been requeued.
        """
        if self.listener:
            self.listener.trial_started(record)
        progress = _Progress(self, trial, record, ended)
        start = time.perf_counter()
        outcome = Outcome(None, 0.0, reason=INTERRUPTED)  # unless overwritten below
        measures: dict[str, float] = {}
        try:
            if self.clock:
                measures = {LATENCY_KEY: self.clock(record.architecture)}
                record = replace(record, measures=measures)
                start = time.perf_counter()  # the measurement is not part of the training time
            result = self.evaluate(record.architecture, progress.report, **self._keywords(record))
            reached = _checked(getattr(result, "accuracy", result))
            measures = {**_measures(result, self.study.config.space), **measures}
            if record.length in (None, self.plan.lengths[-1]):
                _keep_artifacts(result, self.study, record, weights_too=self.plan.keep != KEEP_NONE)
            outcome = Outcome(reached, 0.0)
        except _Stopped as why:
            outcome = Outcome(None, 0.0, reason=str(why), stopped=True)
        except StudyError:  # not the trial's fault: the study cannot store the result
            raise
        except SystemExit:  # raised by Lightning on Ctrl-C in a custom training
            raise KeyboardInterrupt from None
        except Exception as error:  # a trial may fail in any way; the search continues
            reason, detail = failure(error)
            outcome = Outcome(None, 0.0, reason=reason, detail=detail)
        finally:
            seconds = time.perf_counter() - start
            curve = tuple(progress.curve)
            record = self._record(trial, replace(outcome, seconds=seconds, curve=curve, measures=measures))
        return record

    def _keywords(self, record: TrialRecord) -> dict[str, Any]:
        """Returns the trial's keyword arguments that `evaluate` accepts."""
        found: dict[str, Any] = {"checkpoint": self.study.checkpoint_file(record)}
        if len(self.plan.lengths) > 1:
            found["epochs"] = record.length or self.plan.lengths[-1]
        if record.seed is not None:
            found["seed"] = record.seed
        return {key: value for key, value in found.items() if accepts(self.evaluate, key)}

    def _record(self, trial: Trial, outcome: Outcome) -> TrialRecord:
        record = self.study.tell(trial, outcome)
        if outcome.reason != INTERRUPTED:
            prune_artifacts(self.study, record, self.plan.keep)
        if self.listener:
            self.listener.trial_ended(record)
        return record


class _Stopped(Exception):
    """Raised inside a training to stop it early."""


class _Progress:
    """The curve of a running trial: validated, stored periodically, and passed to the listener and the stop rule."""

    def __init__(self, runner: TrialRunner, trial: Trial, record: TrialRecord, ended: Sequence[TrialRecord]) -> None:
        self.curve: list[float] = []
        self._runner, self._trial, self._record, self._ended = runner, trial, record, ended
        self._stored = time.monotonic()

    def report(self, epoch: int, accuracy: float) -> None:
        """Records the accuracy after an epoch; `evaluate` calls this with epochs counted from 1."""
        del self.curve[max(epoch - 1, 0) :]  # drops epochs of an attempt that ran out of memory
        self.curve.append(_checked(accuracy))
        if time.monotonic() - self._stored >= SECONDS_BETWEEN_REPORTS:
            self._runner.study.report(self._trial, self.curve)
            self._stored = time.monotonic()
        if self._runner.listener:
            self._runner.listener.epoch_ended(self._record.trial, tuple(self.curve))
        if self._runner.stop and (why := self._runner.stop.reason(self._record, self.curve, self._ended)):
            raise _Stopped(why)


def _checked(value: Any) -> float:
    """Returns a returned or reported value as an accuracy in [0, 1], or raises `TrainingFailed`."""
    try:
        accuracy = float(value)
    except (TypeError, ValueError):
        raise TrainingFailed("bad_accuracy", f"evaluate gave {shown(value)}, which is no number") from None
    if not 0 <= accuracy <= 1:
        raise TrainingFailed("bad_accuracy", f"evaluate gave {accuracy:g}; an accuracy is between 0 and 1")
    return accuracy


def _measures(result: Any, space: SearchSpace) -> dict[str, float]:
    """Returns the additional finite measures of a training result."""
    measured = {str(name): float(value) for name, value in getattr(result, "measures", {}).items()}
    taken = next((name for name in measured if name in RESERVED_NAMES or name in space.parameters), None)
    if taken is not None:
        raise TrainingFailed(
            "bad_measures", f"measures has {taken!r}, which every trial has already; name it otherwise"
        )
    return {name: value for name, value in measured.items() if math.isfinite(value)}


def _keep_artifacts(result: "float | TrainingResult", study: Study, record: TrialRecord, *, weights_too: bool) -> None:
    """Saves a trial's weights and confusion matrix, where the training returned them."""
    weights, confusion = getattr(result, "weights", None), getattr(result, "confusion", None)
    file = study.weights_file(record.trial)
    try:
        if weights is not None and weights_too:
            from nas.architectures.weights import save_weights

            save_weights(file, weights, record.architecture)
        if confusion is not None:
            file = study.confusion_file(record.trial)
            save_confusion(file, confusion)
    except OSError as error:
        raise StudyError(f"{file}: cannot be written: {error.strerror or error}") from None
