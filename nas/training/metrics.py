"""Metrics: what a network is judged by, a number in [0, 1].

    accuracy                the share of images that are classified rightly
    balanced_accuracy       the mean over the classes of their own accuracies (Brodersen et al., ICPR 2010)
    macro_f1                the mean over the classes of the F1 score, the harmonic mean of precision and recall
    mean_average_precision  the mean over the classes of the average precision: images are ranked by the probability of
                            the class; the precision among those up to each image of the class is averaged

All but the first give a rare class as much weight as a frequent one. The last is the one for images with any number of
labels (multi-label classification).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACCURACY",
    "BALANCED_ACCURACY",
    "MEAN_AVERAGE_PRECISION",
    "METRICS",
    "METRIC_NOTES",
    "average_precisions",
    "effective_images",
    "score",
    "score_of_logits",
]

ACCURACY, BALANCED_ACCURACY, MACRO_F1 = "accuracy", "balanced_accuracy", "macro_f1"
MEAN_AVERAGE_PRECISION = "mean_average_precision"
METRIC_NOTES = {
    BALANCED_ACCURACY: "Accuracy is balanced here: the mean of the classes' own accuracies.",
    MACRO_F1: "Accuracy is macro F1 here: the mean over the classes of the F1 score.",
    MEAN_AVERAGE_PRECISION: "Accuracy is mean average precision here: the mean of the classes' average precisions.",
}
"""What to say beside the accuracies of a study that is judged by another metric."""


def score(metric: str, confusion: NDArray[np.int64]) -> float:
    """Returns a metric in [0, 1]; classes without an image and without a prediction do not count.

    Args:
        metric: one of `METRICS` but `MEAN_AVERAGE_PRECISION`, which needs the logits.
        confusion: (classes, classes) counts of images of class i (row) that were classified as j (column).
    """
    return _OF_CONFUSION[metric](confusion)


def score_of_logits(metric: str, logits: NDArray[Any], labels: NDArray[np.integer[Any]]) -> float:
    """Returns a metric in [0, 1].

    Args:
        metric: one of `METRICS`; for labels of shape (N, classes) `MEAN_AVERAGE_PRECISION`.
        logits: (N, classes).
        labels: (N,), or (N, classes) of 0 and 1.
    """
    if metric == MEAN_AVERAGE_PRECISION:
        return float(np.mean(list(average_precisions(logits, labels).values())))
    classes = logits.shape[1]
    confusion = np.bincount(labels * classes + logits.argmax(axis=1), minlength=classes**2)
    return score(metric, confusion.reshape(classes, classes))


def average_precisions(logits: NDArray[Any], labels: NDArray[np.integer[Any]]) -> dict[int, float]:
    """Returns the average precision, in [0, 1], of each class that has images.

    Args:
        logits: (N, classes).
        labels: (N,), whose probabilities are a softmax of the logits, or (N, classes) of 0 and 1.
    """
    from scipy.special import log_softmax
    from sklearn.metrics import average_precision_score

    if labels.ndim == 1:
        logits, labels = log_softmax(logits, axis=1), labels[:, None] == np.arange(logits.shape[1])
    return {
        label: float(average_precision_score(labels[:, label], logits[:, label]))
        for label in np.flatnonzero(labels.any(axis=0)).tolist()
    }


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


_OF_CONFUSION: dict[str, Callable[[NDArray[np.int64]], float]] = {
    ACCURACY: _accuracy,
    BALANCED_ACCURACY: _balanced_accuracy,
    MACRO_F1: _macro_f1,
}
METRICS = (*_OF_CONFUSION, MEAN_AVERAGE_PRECISION)
