"""Calibration: a temperature that makes a network's probabilities true, and how true they are.

Dividing all logits by one temperature changes no classification (Guo et al., arXiv:1706.04599).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "Coverage", "calibrate", "calibration_error"]

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


class Calibration(NamedTuple):
    """A fitted temperature, the expected calibration error in [0, 1] before and after, and coverages after it."""

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
        labels: (N,).
    """
    from scipy.optimize import minimize_scalar

    temperature = 1.0
    if (logits.argmax(axis=1) != labels).any():
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
        tuple(_coverage(logits / temperature, labels, threshold) for threshold in THRESHOLDS),
    )


def calibration_error(logits: NDArray[Any], labels: Labels) -> float:
    """Returns the expected calibration error in [0, 1]: how far probabilities are from the share that is right.

    Images are binned by the probability of their predicted class; the differences of the bins' mean probability and
    accuracy are averaged, weighted by the bins' images.
    """
    sure, right = _confidence(logits), logits.argmax(axis=1) == labels
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    differences = np.bincount(bins, weights=sure - right, minlength=BINS)
    return float(np.abs(differences).sum() / len(labels))


def _coverage(logits: NDArray[Any], labels: Labels, threshold: float) -> Coverage:
    answered = _confidence(logits) >= threshold
    right = (logits.argmax(axis=1) == labels)[answered]
    return Coverage(threshold, float(answered.mean()), float(right.mean()) if len(right) else None)


def _surprise(logits: Logits, labels: Labels, temperature: float) -> float:
    """Returns the mean negative log-likelihood of the labels."""
    chosen = logits[np.arange(len(labels)), labels] / temperature
    return float(np.mean(_log_sum(logits / temperature) - chosen))


def _confidence(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the probability of the predicted class."""
    return np.asarray(np.exp(logits.max(axis=1).astype(float) - _log_sum(logits)))


def _log_sum(logits: NDArray[Any]) -> NDArray[np.float64]:
    exact = logits.astype(float)
    most = exact.max(axis=1)
    return np.asarray(most + np.log(np.exp(exact - most[:, None]).sum(axis=1)))
