"""The scale on which values are modelled: shares as −log(error), so that halving the error is one step everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["Scale"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The scale on which values are modelled: −log(1 − share) for shares, which spreads values near 1; else unchanged.

    `perfect` is the value of the share 1: 1, or 100 for values in per cent; None: values are no shares. `least_error`
    replaces an error of 0: half of the smallest non-zero error observed, at most 0.01.
    """

    perfect: float | None
    least_error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Scale":
        """Returns the scale for the observed `values`: that of shares if all lie in [0, 1], or in [0, 100]."""
        array = np.asarray(values, dtype=float)
        perfect = next((most for most in (1.0, 100.0) if ((array >= 0) & (array <= most)).all()), None)
        errors = 1 - array[array < perfect] / perfect if perfect else array[:0]
        return cls(perfect, float(min(0.5 * errors.min(), 0.01)) if len(errors) else 1e-3)

    def modelled(self, values: Sequence[float]) -> Floats:
        """Transforms values to the model's scale; higher is better on both."""
        array = np.asarray(values, dtype=float)
        return -np.log(np.maximum(1 - array / self.perfect, self.least_error)) if self.perfect else array

    def values(self, modelled: Floats) -> Floats:
        """Transforms modelled values back: the inverse of `modelled`."""
        return self.perfect * (1 - np.exp(-modelled)) if self.perfect else modelled

    def expected(self, mean: Floats, sd: Floats) -> Floats:
        """Returns E[V] for Y ~ N(mean, sd²) on the model's scale.

        The error of a share is lognormal, so its mean is above e^(−mean), its median: a network that is sometimes twice
        and sometimes half as wrong as e^(−mean) is more often wrong than that on average.
        """
        return self.values(mean - sd**2 / 2) if self.perfect else mean

    def improvement(self, mean: Floats, sd: Floats, level: Floats) -> Floats:
        """Returns E[max(V − level, 0)] in units of the value, for Y ~ N(mean, sd²) on the model's scale.

        For a share V = 1 − e^(−Y), the error is lognormal, and with t the error of the level the expectation is that of
        a put option (Black and Scholes, 1973): t Φ(d) − e^(−mean + sd²/2) Φ(d − sd), d = (log t + mean) / sd.

        Args:
            mean: Mean of Y, on the model's scale.
            sd: Standard deviation of Y.
            level: Value to improve on, on the original scale. The three shapes broadcast.
        """
        if self.perfect:
            error = np.maximum(1 - level / self.perfect, 1e-12)
            d = (np.log(error) + mean) / sd
            share = np.maximum(error * ndtr(d) - np.exp(sd**2 / 2 - mean) * ndtr(d - sd), 0.0)
            return np.asarray(self.perfect * share)
        d = (mean - level) / sd
        return np.asarray(np.maximum(sd * (d * ndtr(d) + np.exp(-(d**2) / 2) / np.sqrt(2 * np.pi)), 0.0))
