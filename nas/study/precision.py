"""How precisely an accuracy is known: intervals, the least difference that counts, and estimates by a model."""

import math
from typing import NamedTuple

__all__ = [
    "BEYOND_CHANCE",
    "DIFFERENCE",
    "Estimate",
    "Z",
    "least_significant_difference",
    "standard_error",
    "wilson_interval",
]

Z = 1.96
"""A normal distribution has 95 % of its mass within this many standard deviations of the mean."""
BEYOND_CHANCE = 2.0
"""A difference of fewer of its standard errors may be chance."""
DIFFERENCE = BEYOND_CHANCE * math.sqrt(2)
"""These standard errors of the difference of two values, as a multiple of the standard error of each."""


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Returns the 95 % interval of an accuracy in [0, 1] measured on `images` images (Wilson, 1927).

    Unlike accuracy ± z·√(p(1 − p)/n), it stays within [0, 1] and has a width even if all images were right.
    """
    centre = (accuracy + Z**2 / (2 * images)) / (1 + Z**2 / images)
    half = Z / (1 + Z**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + Z**2 / (4 * images**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def standard_error(accuracy: float, images: int) -> float:
    """Returns the standard error of an accuracy in [0, 1] measured on `images` images.

    A share p of right answers has the variance p(1 − p)/n. One right and one wrong answer are added, so that p = 1 does
    not imply certainty.
    """
    share = (accuracy * images + 1) / (images + 2)
    return math.sqrt(share * (1 - share) / images)


def least_significant_difference(accuracy: float, images: int) -> float:
    """Returns two standard errors of the difference of two accuracies near this one, each measured on `images`."""
    return DIFFERENCE * standard_error(accuracy, images)


class Estimate(NamedTuple):
    """What a study's trainings together say of one network's true accuracy: the median and a 95 % interval, in [0, 1].

    `error` is the standard error in comparisons with other networks of the study. The interval is wider: it contains
    the chance in which images were drawn for validation, which is the same for all of them.

    The accuracies that a search measures are partly luck, the best of them most; estimates are less so
    (`study.estimates`).
    """

    accuracy: float
    low: float
    high: float
    error: float

    @property
    def standard_error(self) -> float:
        """The standard error of the estimate itself: that of its interval."""
        return (self.high - self.low) / (2 * Z)

    def to_dict(self) -> dict[str, float]:
        """Returns the form that `--json` prints, whose `error` is that of the estimate itself, as in tables."""
        return {"accuracy": self.accuracy, "low": self.low, "high": self.high, "error": self.standard_error}

    def text(self) -> str:
        """Formats the estimate with its standard error as `96.4 ± 0.9 %`."""
        return f"{100 * self.accuracy:.1f} ± {100 * self.standard_error:.1f} %"
