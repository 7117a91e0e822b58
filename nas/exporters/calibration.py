"""Calibration: a temperature that makes a network's probabilities true, and how true they are.

Dividing all logits by one temperature changes no classification (Guo et al., arXiv:1706.04599). Where an image may have
any number of labels, the probability of each is a sigmoid, and a threshold for each says from where on it is given.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.training.metrics import average_precisions

__all__ = ["Calibration", "Coverage", "Threshold", "calibrate", "calibration_error", "label_thresholds"]

BINS = 15
"""Number of bins of the expected calibration error, as in the paper."""
LOWEST, HIGHEST = 0.05, 20.0
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


class Coverage(NamedTuple):
    """What answering only from a probability on means: the share of images answered, and of those the share right.

    `accuracy` is None if no image is answered.
    """

    threshold: float
    answered: float
    accuracy: float | None


class Threshold(NamedTuple):
    """From which probability on a label is given, and what that means for the images it was chosen by.

    `precision` is the share of the images given the label that have it, `recall` of those that have it that are given
    it; `average_precision` depends on no threshold (`nas.training.metrics`). All are in [0, 1].
    """

    threshold: float
    precision: float
    recall: float
    average_precision: float


class Calibration(NamedTuple):
    """A fitted temperature, the expected calibration error in [0, 1] before and after, and coverages after it.

    Coverages are for images of one label each.
    """

    temperature: float
    error_before: float
    error_after: float
    coverages: tuple[Coverage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the form that verification.json has."""
        return {**self._asdict(), "coverages": [each._asdict() for each in self.coverages]}


def calibrate(logits: Logits, labels: Labels) -> Calibration:
    """Fits the temperature that makes labels most probable, and says what it brings on the same images.

    Where no image is classified wrongly, any lower temperature would be better still; then it is 1.

    Args:
        logits: (N, classes), finite.
        labels: (N,), or (N, classes) of 0 and 1.
    """
    from scipy.optimize import minimize_scalar

    temperature, is_multi_label = 1.0, labels.ndim == 2
    if ((logits > 0) != labels if is_multi_label else logits.argmax(axis=1) != labels).any():
        found = minimize_scalar(
            lambda log: _surprise(logits, labels, np.exp(log)),
            bounds=(np.log(LOWEST), np.log(HIGHEST)),
            method="bounded",
        )
        temperature = float(f"{np.exp(found.x):.4g}")  # further digits differ between machines
    return Calibration(
        temperature,
        calibration_error(logits, labels),
        calibration_error(logits / temperature, labels),
        () if is_multi_label else tuple(_coverage(logits / temperature, labels, threshold) for threshold in THRESHOLDS),
    )


def label_thresholds(logits: Logits, labels: Labels) -> tuple[Threshold, ...]:
    """Returns for each label the threshold at which the F1 score is largest: halfway between two probabilities.

    Args:
        logits: (N, classes), finite.
        labels: (N, classes) of 0 and 1.
    """
    averages = average_precisions(logits, labels)
    return tuple(
        Threshold(*_best_threshold(_sigmoid(logits[:, label]), labels[:, label]), averages.get(label, 0.0))
        for label in range(logits.shape[1])
    )


def _best_threshold(probabilities: NDArray[np.float64], has: Labels) -> tuple[float, float, float]:
    """Returns a threshold, and its precision and recall."""
    order = np.argsort(-probabilities, kind="stable")
    falling = np.append(probabilities[order], 0.0)
    right, given = np.cumsum(has[order]), np.arange(1, len(order) + 1)
    f1 = np.where(falling[:-1] > falling[1:], 2 * right / (given + max(1, has.sum())), -1)  # equal ones stay together
    last = int(np.argmax(f1))
    middle = float((falling[last] + falling[last + 1]) / 2)
    rounded = float(f"{middle:.4g}")
    threshold = rounded if falling[last + 1] < rounded < falling[last] else middle
    return threshold, float(right[last] / given[last]), float(right[last] / max(1, has.sum()))


def calibration_error(logits: NDArray[Any], labels: Labels) -> float:
    """Returns the expected calibration error in [0, 1]: how far probabilities are from the share that is right.

    Images are binned by the probability of their predicted class; the differences of the bins' mean probability and
    accuracy are averaged, weighted by the bins' images. With several labels each image counts once for each label, by
    the label's probability.
    """
    if labels.ndim == 2:
        sure, right = _sigmoid(logits).ravel(), labels.ravel() == 1
    else:
        sure, right = _confidence(logits), logits.argmax(axis=1) == labels
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    differences = np.bincount(bins, weights=sure - right, minlength=BINS)
    return float(np.abs(differences).sum() / len(right))


def _coverage(logits: NDArray[Any], labels: Labels, threshold: float) -> Coverage:
    answered = _confidence(logits) >= threshold
    right = (logits.argmax(axis=1) == labels)[answered]
    return Coverage(threshold, float(answered.mean()), float(right.mean()) if len(right) else None)


def _surprise(logits: Logits, labels: Labels, temperature: float) -> float:
    """Returns the mean negative log-likelihood of the labels."""
    if labels.ndim == 2:
        exact = logits.astype(float) / temperature
        return float(np.mean(np.logaddexp(0, exact) - labels * exact))
    chosen = logits[np.arange(len(labels)), labels] / temperature
    return float(np.mean(_log_sum(logits / temperature) - chosen))


def _sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(logits.astype(float)))


def _confidence(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the probability of the predicted class."""
    return np.asarray(np.exp(logits.max(axis=1).astype(float) - _log_sum(logits)))


def _log_sum(logits: NDArray[Any]) -> NDArray[np.float64]:
    exact = logits.astype(float)
    most = exact.max(axis=1)
    return np.asarray(most + np.log(np.exp(exact - most[:, None]).sum(axis=1)))
