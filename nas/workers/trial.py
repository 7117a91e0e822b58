"""One trial: trained and told, with one exit whatever happens."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optuna.trial import Trial

from nas.architectures.architecture import Architecture
from nas.errors import StudyError, TrainingFailed
from nas.spaces.search_space import SearchSpace
from nas.strategy.stopping import StopRule
from nas.study.artifacts import KEEP_ALL, KEEP_NONE, drop_leftovers, save_confusion
from nas.study.records import INTERRUPTED, LATENCY_KEY, RESERVED_NAMES, Outcome, TrialRecord
from nas.study.study import Study
from nas.training.objective import Evaluate, takes
from nas.validation import shown
from nas.workers.failures import failure
from nas.workers.listeners import Listener

if TYPE_CHECKING:
    from nas.training.objective import TrainingResult

__all__ = ["run_trial"]


SECONDS_BETWEEN_REPORTS = 2.0
"""A running trial's curve is written for others to see, but no more often than this: short epochs stay short."""


class _Hopeless(Exception):
    """Leaves a training that is to be stopped."""


def run_trial(
    study: Study,
    trial: Trial,
    evaluate: Evaluate,
    *,
    record: TrialRecord,
    lengths: Sequence[int],
    stop: StopRule | None = None,
    ended: Sequence[TrialRecord] = (),
    keep: str = KEEP_ALL,
    clock: Callable[[Architecture], float] | None = None,
    listener: Listener | None = None,
) -> TrialRecord:
    """Trains what was asked for, tells, and returns the record. `stop` compares with the trials that have `ended`.

    `keep` says whose weights stay on the disk (`KEEP`). What an interrupted training may go on from is kept too.
    Where there is a `clock`, it measures the latency first, in milliseconds, while the device is idle.

    Raises:
        StudyError: the study cannot keep what was trained; the trial is put back.
        KeyboardInterrupt: passed on, once the trial is put back.
    """
    if listener:
        listener.trial_started(record)
    curve: list[float] = []
    written = time.monotonic()

    def report(epoch: int, accuracy: float) -> None:
        nonlocal written
        del curve[max(epoch - 1, 0) :]  # of a training that ran out of memory and is tried again
        curve.append(_checked(accuracy))
        if time.monotonic() - written >= SECONDS_BETWEEN_REPORTS:
            study.report(trial, curve)
            written = time.monotonic()
        if listener:
            listener.epoch_ended(record.trial, tuple(curve))
        if stop and (why := stop.reason(record, curve, ended)):
            raise _Hopeless(why)

    start = time.perf_counter()
    accuracy: float | None = None
    reason: str | None = INTERRUPTED  # unless better is known below
    detail: str | None = None
    measures: dict[str, float] = {}
    stopped = False
    try:
        if clock:
            measures = {LATENCY_KEY: clock(record.architecture)}
            record = replace(record, measures=measures)
            start = time.perf_counter()  # what measuring took is no part of the training
        result = evaluate(record.architecture, report, **_told(evaluate, study, record, lengths))
        reached = _checked(getattr(result, "accuracy", result))
        measures = {**_measures(result, study.config.space), **measures}
        if record.length in (None, lengths[-1]):
            _keep_artifacts(result, study, record, weights_too=keep != KEEP_NONE)
        accuracy, reason = reached, None
    except _Hopeless as why:
        reason, stopped = str(why), True
    except StudyError:  # no trial's fault: the study cannot keep what is trained
        raise
    except SystemExit:  # how Lightning, in one's own training, answers Ctrl-C
        raise KeyboardInterrupt from None
    except Exception as error:  # a trial may fail in any way; the search goes on
        reason, detail = failure(error)
    finally:
        record = study.tell(
            trial, Outcome(accuracy, time.perf_counter() - start, tuple(curve), reason, detail, measures, stopped)
        )
        if reason != INTERRUPTED:
            drop_leftovers(study, record, keep)
        if listener:
            listener.trial_ended(record)
    return record


def _told(evaluate: Evaluate, study: Study, record: TrialRecord, lengths: Sequence[int]) -> dict[str, Any]:
    """The keywords that a training takes, of those that there are for it."""
    told: dict[str, Any] = {"checkpoint": study.checkpoint_file(record)}
    if len(lengths) > 1:
        told["epochs"] = record.length or lengths[-1]
    if record.seed is not None:
        told["seed"] = record.seed
    return {key: value for key, value in told.items() if takes(evaluate, key)}


def _checked(value: Any) -> float:
    """An accuracy that was returned or reported, if it is one."""
    try:
        accuracy = float(value)
    except (TypeError, ValueError):
        raise TrainingFailed("bad_accuracy", f"evaluate gave {shown(value)}, which is no number") from None
    if not 0 <= accuracy <= 1:
        raise TrainingFailed("bad_accuracy", f"evaluate gave {accuracy:g}; an accuracy is between 0 and 1")
    return accuracy


def _measures(result: Any, space: SearchSpace) -> dict[str, float]:
    """What else a training measured; a value that is not finite counts as not measured."""
    measured = {str(name): float(value) for name, value in getattr(result, "measures", {}).items()}
    taken = next((name for name in measured if name in RESERVED_NAMES or name in space.parameters), None)
    if taken is not None:
        raise TrainingFailed(
            "bad_measures", f"measures has {taken!r}, which every trial has already; name it otherwise"
        )
    return {name: value for name, value in measured.items() if math.isfinite(value)}


def _keep_artifacts(result: "float | TrainingResult", study: Study, record: TrialRecord, *, weights_too: bool) -> None:
    """The weights and the confusion matrix of a trial, where the training gave them."""
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
