"""How far the logits of an exported file may differ from those of the trained network."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "allowed"]

TOLERANCE = 1e-4
"""Maximum deviation of a logit, relative to the largest reference logit, or to 1 if that is smaller."""


def allowed(reference: NDArray[np.float32]) -> float:
    """Returns the maximum deviation of a logit from the reference logits, in absolute terms."""
    return TOLERANCE * max(1.0, float(np.abs(reference).max()))
