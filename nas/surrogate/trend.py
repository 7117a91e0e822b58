"""The trend: a guess, before any training, of how accurate an architecture is among those of its space."""

import math

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost

__all__ = ["trend"]


def trend(architecture: Architecture) -> float:
    """Returns log FLOPs + log parameters.

    In complete tables of three spaces its correlation with −log(error) is 0.69 to 0.83, that of log FLOPs alone 0.56 to
    0.81: of networks of equal FLOPs those with more parameters, wider where images are small, are usually better
    (`python -m benchmarks trend`).
    """
    amounts = cost(architecture)
    return math.log(amounts.flops) + math.log(amounts.params)
