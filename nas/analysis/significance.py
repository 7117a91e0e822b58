"""What chance alone does to an accuracy that is measured on so many images."""

import math

__all__ = ["chance_difference", "wilson_interval"]

Z = 1.96
"""Standard deviations of a normal distribution that hold 95 % of it."""


def wilson_interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy in [0, 1] measured on so many images (Wilson, 1927).

    Unlike accuracy ± z·√(p(1 − p)/n) it stays within [0, 1], and has a width where all images were right.
    """
    centre = (accuracy + Z**2 / (2 * images)) / (1 + Z**2 / images)
    half = Z / (1 + Z**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + Z**2 / (4 * images**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_difference(accuracy: float, images: int) -> float:
    """Two standard errors of the difference of two accuracies near this one, each measured on so many images.

    A share p of right answers has the variance p(1 − p)/n. One right and one wrong answer are added, so that p = 1
    is no certainty.
    """
    share = (accuracy * images + 1) / (images + 2)
    return 2 * math.sqrt(2 * share * (1 - share) / images)
