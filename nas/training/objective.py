"""What trains an architecture for a trial: our own training or a user's function, and what it gives."""

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
"""(architecture, report) → accuracy in [0, 1]. `report(epoch, accuracy)` may be called after each epoch, from 1.

One that also takes the keyword `epochs` is told for how long to train, and can be searched with several lengths. One
that takes `seed` is told on which seed where an architecture is trained on several, and one that takes `checkpoint` in
which file it may keep what it needs to go on after an interruption.
"""


def accepts(evaluate: Evaluate, keyword: str) -> bool:
    """Whether a training takes an argument of that name."""
    parameters = inspect.signature(evaluate).parameters.values()
    return any(parameter.name == keyword or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


@dataclass(frozen=True)
class TrainingResult:
    """What one training gave: accuracies on the validation images in [0, 1], and float32 weights on the CPU.

    `confusion` (classes, classes) counts the validation images of class i (row) that are taken for class j (column).
    """

    accuracy: float
    curve: tuple[float, ...]
    weights: "dict[str, Tensor]"
    confusion: NDArray[np.int64]
