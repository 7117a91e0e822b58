"""Metrics: what a network is judged by, a number in [0, 1] from its confusion matrix.

    accuracy            the share of images that are classified rightly
    balanced_accuracy   the mean over the classes of their own accuracies (Brodersen et al., ICPR 2010)
    macro_f1            the mean over the classes of the F1 score, the harmonic mean of precision and recall

The last two give a rare class as much weight as a frequent one.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACCURACY", "BALANCED_ACCURACY", "METRICS", "METRIC_NOTES", "effective_images", "score"]

ACCURACY, BALANCED_ACCURACY, MACRO_F1 = "accuracy", "balanced_accuracy", "macro_f1"
METRIC_NOTES = {
    BALANCED_ACCURACY: "Accuracy is balanced here: the mean of the classes' own accuracies.",
    MACRO_F1: "Accuracy is macro F1 here: the mean over the classes of the F1 score.",
}
"""What to say beside the accuracies of a study that is judged by another metric."""


def score(metric: str, confusion: NDArray[np.int64]) -> float:
    """Returns a metric in [0, 1]; classes without an image and without a prediction do not count.

    Args:
        metric: one of `METRICS`.
        confusion: (classes, classes) counts of images of class i (row) that were classified as j (column).
    """
    return METRICS[metric](confusion)


def effective_images(counts: Sequence[int]) -> int:
    """Returns how many images in classes of equal size would measure a mean over the classes as precisely.

    The variance of that mean is Σ pₖ(1 − pₖ)/nₖ / K², which for equal pₖ is that of a share of K² / Σ 1/nₖ images.

    Args:
        counts: the number of images of each class; at least 1.
    """
    return max(1, round(len(counts) ** 2 / sum(1 / count for count in counts)))


def _accuracy(confusion: NDArray[np.int64]) -> float:
    return int(confusion.trace()) / int(confusion.sum())


def _balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    images = confusion.sum(axis=1)
    return float(np.mean(confusion.diagonal()[images > 0] / images[images > 0]))


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * confusion.diagonal()[both > 0] / both[both > 0]))


METRICS: dict[str, Callable[[NDArray[np.int64]], float]] = {
    ACCURACY: _accuracy,
    BALANCED_ACCURACY: _balanced_accuracy,
    MACRO_F1: _macro_f1,
}
