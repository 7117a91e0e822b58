"""Trains single trials and records their outcomes, through one exit whatever happens."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.trial import Trial

from nas.architectures.architecture import Architecture
from nas.errors import StudyError, TrainingFailed
from nas.spaces.search_space import SearchSpace
from nas.strategy.stopping import StopRule
from nas.study.artifacts import KEEP_NONE, prune_artifacts, save_array, share
from nas.study.plan import SearchPlan
from nas.study.records import INTERRUPTED, LATENCY_KEY, RESERVED_NAMES, Outcome, TrialRecord
from nas.study.study import Study
from nas.training.objective import Objective, TrainingContext, TrainingResult, as_accuracy
from nas.workers.failures import failure
from nas.workers.listeners import Listener

__all__ = ["TrialRunner"]

SECONDS_BETWEEN_REPORTS = 2.0
"""Minimum interval between writes of a running trial's curve to the storage, so that short epochs stay short.

A person's request to end a training is seen as often."""


@dataclass(frozen=True)
class TrialRunner:
    """Trains the trials of one worker.

    Args:
        study: where every outcome is recorded.
        objective: trains an architecture.
        plan: the search's plan; `lengths` are the schedules' epochs, `keep` decides whose weights stay on disk.
        stop: the rule that stops hopeless trainings early. None: no early stopping.
        clock: measures an architecture's latency in milliseconds, before its training, while the device is idle.
        listener: notified of every trial and epoch.
    """

    study: Study
    objective: Objective
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
            context = TrainingContext(
                progress.report,
                record.length or self.plan.lengths[-1],
                seed=record.seed,
                checkpoint=self.study.checkpoint_file(record),
            )
            result = self.objective(record.architecture, context)
            measures = {**_measures(result, self.study.config.space), **measures}
            _keep_artifacts(result, self.study, record, self.plan)
            outcome = Outcome(result.accuracy, 0.0)
            start -= result.seconds_before
        except _Stopped as why:
            outcome = Outcome(None, 0.0, reason=str(why), stopped=True)
        except StudyError:  # not the trial's fault: the study cannot store the result
            raise
        except _Ended:
            pass
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's, on Ctrl-C in a custom training
                raise KeyboardInterrupt from None
            outcome = Outcome(None, 0.0, reason="exited", detail=f"the training called sys.exit({error.code!r})")
        except Exception as error:  # a trial may fail in any way; the search continues
            reason, detail = failure(error)
            outcome = Outcome(None, 0.0, reason=reason, detail=detail)
        finally:
            seconds = time.perf_counter() - start
            curve = tuple(progress.curve)
            record = self._record(trial, replace(outcome, seconds=seconds, curve=curve, measures=measures))
        return record

    def _record(self, trial: Trial, outcome: Outcome) -> TrialRecord:
        record = self.study.tell(trial, outcome)
        if outcome.reason != INTERRUPTED:
            prune_artifacts(self.study, record, self.plan)
        if self.listener:
            self.listener.trial_ended(record)
        return record


class _Stopped(Exception):
    """Raised inside a training to stop it early."""


class _Ended(Exception):
    """Raised inside a training that a person, or another worker, has ended; it counts as interrupted."""


class _Progress:
    """The curve of a running trial: validated, stored periodically, and passed to the listener and the stop rule."""

    def __init__(self, runner: TrialRunner, trial: Trial, record: TrialRecord, ended: Sequence[TrialRecord]) -> None:
        self.curve: list[float] = []
        self._runner, self._trial, self._record, self._ended = runner, trial, record, ended
        self._stored = time.monotonic()

    def report(self, epoch: int, accuracy: float) -> None:
        """Records the accuracy after an epoch; the training calls this with epochs counted from 1."""
        del self.curve[max(epoch - 1, 0) :]  # drops epochs of an attempt that ran out of memory
        self.curve.append(as_accuracy(accuracy))
        if time.monotonic() - self._stored >= SECONDS_BETWEEN_REPORTS:
            if not self._runner.study.report(self._trial, self.curve):
                raise _Ended
            self._stored = time.monotonic()
        if self._runner.listener:
            self._runner.listener.epoch_ended(self._record.trial, tuple(self.curve))
        if self._runner.stop and (why := self._runner.stop.reason(self._record, self.curve, self._ended)):
            raise _Stopped(why)


def _measures(result: TrainingResult, space: SearchSpace) -> dict[str, float]:
    """Returns the additional finite measures of a training result."""
    taken = next((name for name in result.measures if name in RESERVED_NAMES or name in space.parameters), None)
    if taken is not None:
        raise TrainingFailed(
            "bad_measures", f"measures has {taken!r}, which every trial has already; name it otherwise"
        )
    return {name: value for name, value in result.measures.items() if math.isfinite(value)}


def _keep_artifacts(result: TrainingResult, study: Study, record: TrialRecord, plan: SearchPlan) -> None:
    """Saves a trial's weights, predictions and confusion matrix, where the training returned them."""
    file, weights_too, saved = study.weights_file(record.trial), plan.keep != KEEP_NONE, list[Path]()
    try:
        if result.weights and weights_too:
            from nas.architectures.weights import save_weights

            save_weights(file, result.weights, record.architecture)
            saved.append(file)
        if result.predictions.size and weights_too:
            file = study.predictions_file(record.trial)
            save_array(file, result.predictions)
            saved.append(file)
        if result.confusion.size:
            file = study.confusion_file(record.trial)
            save_array(file, result.confusion)
            saved.append(file)
    except OSError as error:
        raise StudyError(f"{file}: cannot be written: {error.strerror or error}") from None
    share(study, plan, saved)
