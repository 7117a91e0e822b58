"""Covariance: the kernel of the surrogate, in closed form with the derivatives that fitting it takes.

    k(p, q) = (a + o · [same rung]) · m(p, q) + [same rung] + s² · trend(p) · trend(q)
    m(p, q) = (1 + √5·r + 5/3·r²) · exp(−√5·r),  r² = Σ ((choices(p) − choices(q)) / length scales)²

m is the Matérn-5/2 kernel (Rasmussen, Williams, 2006, 4.17). With a single rung, o and the offsets [same rung] are left
out. The outcome of a training has the variance of noise, and of a short one that of short noise as well.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.spatial.distance import cdist

__all__ = ["Covariance", "Inputs"]

Floats = NDArray[np.float64]

JITTER = 1e-8
"""Added to the diagonal, so that equal inputs can be factorised."""
ROOT = np.sqrt(5.0)


class Inputs(NamedTuple):
    """What trainings trained: choices (n, d) in [0, 1], standardised trend (n,), 0 without one, and rungs (n,)."""

    choices: Floats
    trend: Floats
    rungs: NDArray[np.intp]

    def part(self, rows: NDArray[np.intp]) -> "Inputs":
        """Returns some of the trainings."""
        return Inputs(self.choices[rows], self.trend[rows], self.rungs[rows])

    def joined(self, others: "Inputs") -> "Inputs":
        """Returns the trainings with others after them."""
        return Inputs(*(np.concatenate(parts) for parts in zip(self, others, strict=True)))


@dataclass(frozen=True)
class Covariance:
    """The kernel with its hyperparameters; `full` is the highest rung, 0 if it is the only one."""

    amplitude: float
    noise: float
    length_scales: Floats
    own: float
    short_noise: float
    slope: float
    full: int

    @classmethod
    def of(cls, logs: Floats, *, choices: int, slope: float, full: int) -> "Covariance":
        """Builds the kernel from the logarithms of its free hyperparameters.

        Args:
            logs: of amplitude, noise and length scales; with several rungs, of own amplitude and short noise as well.
            choices: Number of length scales.
            slope: Standard deviation of the trend's slope; 0 without a trend.
            full: The highest rung.
        """
        values = np.exp(logs)
        own, short_noise = values[2 + choices :] if full else (0.0, 0.0)
        return cls(values[0], values[1], values[2 : 2 + choices], own, short_noise, slope, full)

    def between(self, left: Inputs, right: Inputs) -> Floats:
        """Returns the covariances (n, m) of noise-free values."""
        distances = cdist(left.choices / self.length_scales, right.choices / self.length_scales)
        same = left.rungs[:, None] == right.rungs
        smooth = (self.amplitude + self.own * same) * _matern(distances)
        whole = smooth + same * (self.full > 0) + self.slope**2 * np.outer(left.trend, right.trend)
        return np.asarray(whole)

    def at(self, inputs: Inputs) -> Floats:
        """Returns the variances (n,) of noise-free values."""
        return np.asarray(self.amplitude + self.own + (self.full > 0) + (self.slope * inputs.trend) ** 2)

    def across(self, trend: Floats) -> Floats:
        """Returns the covariances (n,) of one network's values at two different rungs."""
        return np.asarray(self.amplitude + (self.slope * trend) ** 2)

    def noise_at(self, rungs: NDArray[np.intp]) -> Floats:
        """Returns the variances (n,) of noise."""
        return np.asarray(self.noise + self.short_noise * (rungs != self.full))

    def factorised(self, inputs: Inputs) -> Floats:
        """Returns the lower Cholesky factor (n, n) of the covariances of outcomes.

        Raises:
            LinAlgError: They are not positive definite.
        """
        whole = self.between(inputs, inputs)
        whole[np.diag_indices_from(whole)] += self.noise_at(inputs.rungs) + JITTER
        return np.asarray(cholesky(whole, lower=True))

    def likelihood(self, inputs: Inputs, values: Floats) -> tuple[float, Floats]:
        """Returns −log p(values) and its derivatives by the logarithms that `of` takes (Rasmussen, Williams, 5.8–5.9).

        Raises:
            LinAlgError: The covariances are not positive definite.
        """
        factor = self.factorised(inputs)
        weights = cho_solve((factor, True), values)
        count = len(values)
        value = 0.5 * values @ weights + np.log(np.diag(factor)).sum() + 0.5 * count * np.log(2 * np.pi)
        outer = np.outer(weights, weights) - cho_solve((factor, True), np.eye(count))
        same = inputs.rungs[:, None] == inputs.rungs
        steps = (inputs.choices[:, None, :] - inputs.choices) / self.length_scales
        distances = np.sqrt((steps**2).sum(axis=-1))
        smooth, steep = _matern(distances), 5 / 3 * (1 + ROOT * distances) * np.exp(-ROOT * distances)
        scaled = outer * (self.amplitude + self.own * same) * steep
        slopes = [
            self.amplitude * (outer * smooth).sum(),
            self.noise * np.trace(outer),
            *np.einsum("nm,nmd->d", scaled, steps**2),
        ]
        if self.full:
            slopes.append(self.own * (outer * smooth * same).sum())
            slopes.append(self.short_noise * np.diag(outer)[inputs.rungs != self.full].sum())
        return float(value), -0.5 * np.array(slopes)


def _matern(distances: Floats) -> Floats:
    return np.asarray((1 + ROOT * distances + 5 / 3 * distances**2) * np.exp(-ROOT * distances))
