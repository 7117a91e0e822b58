"""The interface of an objective, which trains an architecture for a trial, and the result of a training."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.errors import TrainingFailed
from nas.validation import shown

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PREDICTION",
    "CustomObjective",
    "Evaluate",
    "Objective",
    "Report",
    "Teacher",
    "TrainingContext",
    "TrainingResult",
    "accepts",
    "as_accuracy",
    "label_prediction",
]

Report = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and the validation accuracy in [0, 1]."""
Evaluate = Callable[..., Any]
"""A user's training function, (architecture) or (architecture, report) → accuracy in [0, 1].

`report(epoch, accuracy)` may be called after each epoch.
Optional keywords: `epochs`, the length of the training, which is required to search with several lengths; `seed`, for
architectures trained on several seeds; `checkpoint`, a file for the state to resume from after an interruption.
Instead of an accuracy it may return an object with `accuracy` and any other attributes of `TrainingResult`.
"""


KEYWORDS = ("epochs", "seed", "checkpoint")
"""Attributes of the context that a user's training function receives if it accepts such a keyword."""
NO_CONFUSION: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
PREDICTION = np.dtype([("label", "<u4"), ("predicted", "<u4"), ("confidence", "<f4"), ("label_confidence", "<f4")])
"""What a network says of one validation image: its class and the predicted one, and the probability of each."""


def label_prediction(classes: int) -> np.dtype[np.void]:
    """What a network says of one validation image that may have several labels: which it has, and the probabilities."""
    return np.dtype([("has", "?", (classes,)), ("probability", "<f4", (classes,))])


NO_PREDICTIONS: NDArray[np.void] = np.zeros(0, dtype=PREDICTION)


class Teacher(NamedTuple):
    """A trained network that others learn from, with the file of its weights."""

    architecture: Architecture
    weights: Path


@dataclass(frozen=True)
class TrainingContext:
    """What a trial hands to its training.

    Attributes:
        report: to be called after each epoch; raises to stop the training.
        epochs: length of the training.
        seed: seed of the training. None: the objective's own.
        checkpoint: file for the state from which an interrupted training resumes.
    """

    report: Report
    epochs: int
    seed: int | None = None
    checkpoint: Path | None = None


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        accuracy: validation accuracy in [0, 1].
        curve: validation accuracy after each epoch.
        weights: float32 tensors on the CPU; empty: not kept.
        confusion: (classes, classes) counts of the validation images of class i (row) classified as j (column);
            empty: not kept.
        predictions: a `PREDICTION`, or `label_prediction`, for each validation image, in order; empty: not kept.
        measures: additional measurements, by name with unit.
        seconds_before: how long the training took before it was interrupted and resumed; 0: it was not.
    """

    accuracy: float
    curve: tuple[float, ...] = ()
    weights: "dict[str, Tensor]" = field(default_factory=dict)
    confusion: NDArray[np.int64] = field(default_factory=lambda: NO_CONFUSION)
    predictions: NDArray[np.void] = field(default_factory=lambda: NO_PREDICTIONS)
    measures: Mapping[str, float] = field(default_factory=dict)
    seconds_before: float = 0.0


Objective = Callable[[Architecture, TrainingContext], TrainingResult]
"""Trains an architecture for a trial; a failed training raises."""


@dataclass(frozen=True)
class CustomObjective:
    """A user's training function as an `Objective`: it receives the keywords that it accepts."""

    evaluate: Evaluate

    def __call__(self, architecture: Architecture, context: TrainingContext) -> TrainingResult:
        """Calls the function.

        Raises:
            TrainingFailed: what it returned is not an accuracy (`bad_accuracy`).
        """
        offered = {name: getattr(context, name) for name in KEYWORDS}
        keywords = {
            name: value for name, value in offered.items() if value is not None and accepts(self.evaluate, name)
        }
        positional = (architecture, context.report) if _takes_report(self.evaluate) else (architecture,)
        result = self.evaluate(*positional, **keywords)
        return TrainingResult(
            as_accuracy(getattr(result, "accuracy", result)),
            weights=getattr(result, "weights", {}),
            confusion=getattr(result, "confusion", NO_CONFUSION),
            predictions=getattr(result, "predictions", NO_PREDICTIONS),
            measures={str(name): float(value) for name, value in getattr(result, "measures", {}).items()},
            seconds_before=float(getattr(result, "seconds_before", 0.0)),
        )


def accepts(evaluate: Evaluate, keyword: str) -> bool:
    """Returns whether a training function accepts this keyword argument."""
    parameters = inspect.signature(evaluate).parameters.values()
    return any(parameter.name == keyword or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _takes_report(evaluate: Evaluate) -> bool:
    """Returns whether a training function takes a second positional argument that is none of the keywords."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(evaluate).parameters.values())
    names = [parameter.name for parameter in parameters if parameter.kind in positional]
    several = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    return several or (len(names) > 1 and names[1] not in KEYWORDS)


def as_accuracy(value: Any) -> float:
    """Returns a returned or reported value as an accuracy in [0, 1].

    Raises:
        TrainingFailed: it is not one (`bad_accuracy`).
    """
    try:
        accuracy = float(value)
    except (TypeError, ValueError):
        raise TrainingFailed("bad_accuracy", f"evaluate returned {shown(value)}, which is not a number") from None
    if not 0 <= accuracy <= 1:
        hint = f" ({accuracy:g} % is {accuracy / 100:g})" if 1 < accuracy <= 100 else ""
        raise TrainingFailed("bad_accuracy", f"evaluate returned {accuracy:g}; an accuracy is between 0 and 1{hint}")
    return accuracy
