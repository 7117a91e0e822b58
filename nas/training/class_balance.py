"""Class balance: how much images of rare classes count in training, and how often they are drawn."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.data.images import RARE
from nas.errors import NasWarning
from nas.training.metrics import ACCURACY
from nas.training.recipe import Recipe

__all__ = ["class_weights", "warn_of_imbalance"]

BETA = 0.999
"""How fast another image of a class adds less that is new (Cui et al., who try 0.9 to 0.9999)."""


def class_weights(kind: str, counts: Sequence[int]) -> NDArray[np.float32]:
    """Returns the weight of each class in the loss; their mean over the images is 1.

    Args:
        kind: `balanced`, in inverse proportion to the number of images, or `effective`, to their effective number
            (1 − βⁿ)/(1 − β) (Cui et al., arXiv:1901.05555), which weighs very rare classes less.
        counts: the number of training images of each class; at least 1.
    """
    numbers = np.asarray(counts, dtype=float)
    weights = 1 / numbers if kind == "balanced" else (1 - BETA) / (1 - BETA**numbers)
    return np.asarray(weights * numbers.sum() / (weights * numbers).sum(), dtype=np.float32)


def warn_of_imbalance(recipe: Recipe, classes: Sequence[str], counts: Sequence[int]) -> None:
    """Warns with a `NasWarning` if a class is rare, and neither the loss nor the metric takes that into account."""
    rare, frequent = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[frequent] < RARE * counts[rare] or recipe.metric != ACCURACY or recipe.is_balanced:
        return
    warnings.warn(
        f"class '{classes[rare]}' has {counts[rare]:,} training images and '{classes[frequent]}' has "
        f"{counts[frequent]:,}: accuracy says little of the rare ones; --metric balanced_accuracy and --class-weights "
        "balanced give all classes the same weight",
        NasWarning,
        stacklevel=2,
    )
