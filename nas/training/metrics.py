"""Metrics: what a network is judged by, a number in [0, 1].

    accuracy                the share of images that are classified rightly
    balanced_accuracy       the mean over the classes of their own accuracies (Brodersen et al., ICPR 2010)
    macro_f1                the mean over the classes of the F1 score, the harmonic mean of precision and recall
    mean_average_precision  the mean over the classes of the average precision: images are ranked by the probability of
                            the class; the precision among those up to each image of the class is averaged
    log_loss                exp(−log loss): the geometric mean of the probabilities that images' own classes are given

The second to fourth give a rare class as much weight as a frequent one. Mean average precision is the one for images
with any number of labels (multi-label classification). The log loss (cross-entropy) is for those who use the
probabilities; its exponential has the order of networks reversed, is the share 1/K for a guess among K classes, and 1
for certainty.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACCURACY",
    "BALANCED_ACCURACY",
    "LOG_LOSS",
    "MEANS_OVER_IMAGES",
    "MEAN_AVERAGE_PRECISION",
    "METRICS",
    "METRIC_NAMES",
    "METRIC_NOTES",
    "OF_LOGITS",
    "average_precisions",
    "effective_images",
    "score",
    "score_of_logits",
]

ACCURACY, BALANCED_ACCURACY, MACRO_F1 = "accuracy", "balanced_accuracy", "macro_f1"
MEAN_AVERAGE_PRECISION, LOG_LOSS = "mean_average_precision", "log_loss"
METRIC_NAMES = {
    ACCURACY: "accuracy",
    BALANCED_ACCURACY: "balanced accuracy",
    MACRO_F1: "macro F1",
    MEAN_AVERAGE_PRECISION: "mean average precision",
    LOG_LOSS: "exp(−log loss)",
}
METRIC_NOTES = {
    BALANCED_ACCURACY: "Accuracy is balanced here: the mean of the classes' own accuracies.",
    MACRO_F1: "Accuracy is macro F1 here: the mean over the classes of the F1 score.",
    MEAN_AVERAGE_PRECISION: "Accuracy is mean average precision here: the mean of the classes' average precisions.",
    LOG_LOSS: "Accuracy is exp(−log loss) here: the geometric mean of the probabilities of images' own classes.",
}
"""What to say beside the accuracies of a study that is judged by another metric."""


def score(metric: str, confusion: NDArray[np.int64]) -> float:
    """Returns a metric in [0, 1]; classes without an image and without a prediction do not count.

    Args:
        metric: one of `METRICS` but those `OF_LOGITS`.
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
    if metric in OF_LOGITS:
        return OF_LOGITS[metric](logits, labels)
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


def effective_images(counts: Sequence[int], images: int) -> int:
    """Returns how many images in classes of equal size would measure a mean over the classes as precisely.

    The variance of that mean is Σ pₖ(1 − pₖ)/nₖ / K², which for equal pₖ is that of a share of K² / Σ 1/nₖ images. They
    are no more than there are: an image of several labels counts for each, but tells the same of all of them.

    Args:
        counts: the number of images of each class; at least 1.
        images: the number of images.
    """
    return max(1, min(images, round(len(counts) ** 2 / sum(1 / count for count in counts))))


def _accuracy(confusion: NDArray[np.int64]) -> float:
    return int(confusion.trace()) / int(confusion.sum())


def _balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    images = confusion.sum(axis=1)
    return float(np.mean(confusion.diagonal()[images > 0] / images[images > 0]))


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * confusion.diagonal()[both > 0] / both[both > 0]))


def _mean_average_precision(logits: NDArray[Any], labels: NDArray[np.integer[Any]]) -> float:
    return float(np.mean(list(average_precisions(logits, labels).values())))


def _exponential_of_log_loss(logits: NDArray[Any], labels: NDArray[np.integer[Any]]) -> float:
    from scipy.special import log_softmax

    return float(np.exp(log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean()))


_OF_CONFUSION: dict[str, Callable[[NDArray[np.int64]], float]] = {
    ACCURACY: _accuracy,
    BALANCED_ACCURACY: _balanced_accuracy,
    MACRO_F1: _macro_f1,
}
OF_LOGITS: dict[str, Callable[[NDArray[Any], NDArray[np.integer[Any]]], float]] = {
    MEAN_AVERAGE_PRECISION: _mean_average_precision,
    LOG_LOSS: _exponential_of_log_loss,
}
"""Metrics that need all logits of a network, not its confusion matrix alone."""
MEANS_OVER_IMAGES = (ACCURACY, LOG_LOSS)
"""Metrics in which all images have the same weight, not all classes."""
METRICS = (*_OF_CONFUSION, *OF_LOGITS)
