"""The interface of an objective, which trains an architecture for a trial, and the result of a training."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Evaluate", "Report", "TrainingResult", "accepts"]

Report = Callable[[int, float], None]
Evaluate = Callable[..., "float | TrainingResult"]
"""An objective, (architecture, report) → accuracy in [0, 1]; `report(epoch, accuracy)` may follow each epoch, from 1.

Optional keywords: `epochs`, the length of the training, which is required to search with several lengths; `seed`, for
architectures trained on several seeds; `checkpoint`, a file for the state to resume from after an interruption.
"""


def accepts(evaluate: Evaluate, keyword: str) -> bool:
    """Returns whether an objective accepts this keyword argument."""
    parameters = inspect.signature(evaluate).parameters.values()
    return any(parameter.name == keyword or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training: validation accuracies in [0, 1], and float32 weights on the CPU.

    `confusion` (classes, classes) counts the validation images of class i (row) that are classified as j (column).
    """

    accuracy: float
    curve: tuple[float, ...]
    weights: "dict[str, Tensor]"
    confusion: NDArray[np.int64]
