"""What a training is worth before it is run: expected hypervolume improvement, in closed form, and gain per epoch.

Costs are known exactly, so only the value is uncertain: Y ~ N(mean, sd²) on a transformed scale (`Scale`). The front is
a staircase over log cost. A candidate at log cost f that turns out better than the staircase raises it from f to the
right, so its expected gain is a sum over the steps: width × the ordinary expected improvement over that step's level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["Scale", "Staircase", "gain_per_epoch"]

Floats = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Gauss–Hermite: the expectation of a smooth function of N(0, 1) as seven evaluations."""


@dataclass(frozen=True)
class Scale:
    """How values are modelled: shares as −log(1 − share), which spreads what is near 1; others as they are.

    `least_error` stands in for an error of 0: half of the smallest other one that was seen.
    """

    is_share: bool
    least_error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Scale":
        """The scale for the values seen: shares if all of them lie in [0, 1]."""
        array = np.asarray(values, dtype=float)
        errors = (1 - array)[array < 1]
        is_share = bool(((array >= 0) & (array <= 1)).all())
        return cls(is_share, float(min(0.5 * errors.min(), 0.01)) if is_share and len(errors) else 1e-3)

    def modelled(self, values: Sequence[float]) -> Floats:
        """Values → the scale of the model; higher is better on both."""
        array = np.asarray(values, dtype=float)
        return -np.log(np.maximum(1 - array, self.least_error)) if self.is_share else array

    def values(self, modelled: Floats) -> Floats:
        """The inverse of `modelled`."""
        return 1 - np.exp(-modelled) if self.is_share else modelled

    def improvement(self, mean: Floats, sd: Floats, level: Floats) -> Floats:
        """E[max(V − level, 0)] in units of the value, for Y ~ N(mean, sd²) on the model's scale; shapes broadcast.

        For a share V = 1 − e^(−Y), the error is lognormal, and with the level's error t the expectation is that of a
        put option (Black and Scholes, 1973): t Φ(d) − e^(−mean + sd²/2) Φ(d − sd), d = (log t + mean) / sd.
        """
        if self.is_share:
            error = np.maximum(1 - level, 1e-12)
            d = (np.log(error) + mean) / sd
            return np.asarray(np.maximum(error * ndtr(d) - np.exp(sd**2 / 2 - mean) * ndtr(d - sd), 0.0))
        d = (mean - level) / sd
        return np.asarray(np.maximum(sd * (d * ndtr(d) + np.exp(-(d**2) / 2) / np.sqrt(2 * np.pi)), 0.0))


@dataclass(frozen=True)
class Staircase:
    """A front over log cost: `levels[i]` is the best value from `edges[i]` to `edges[i + 1]`.

    The first step, at the reference value, begins at −∞; the last one ends at the largest log cost.
    """

    edges: Floats
    levels: Floats

    @classmethod
    def of(cls, log_cost: Floats, values: Floats, *, reference: float, right: float) -> "Staircase":
        """The staircase of the points seen so far; there may be none."""
        edges, levels = [-np.inf], [reference]
        for index in np.lexsort((-values, log_cost)):
            if values[index] > levels[-1]:
                edges.append(float(log_cost[index]))
                levels.append(float(values[index]))
        return cls(np.array([*edges, max(right, edges[-1])]), np.array(levels))

    def expected_gain(self, log_cost: Floats, mean: Floats, sd: Floats, *, scale: Scale) -> Floats:
        """The expected growth of the area under the staircase by candidates (m,), for means and deviations (…, m)."""
        widths = np.maximum(self.edges[1:] - np.maximum(self.edges[:-1], log_cost[:, None]), 0.0)
        improvement = scale.improvement(mean[..., None], sd[..., None], self.levels)
        return np.asarray((improvement * widths).sum(axis=-1))


def gain_per_epoch(gains: Floats, *, short: float, full: float) -> Floats:
    """The gain per epoch of first training for `short` epochs, then for `full` ones only where that is worth it.

    `gains` (nodes, m) are the expected gains at full length after each of the outcomes `NODES` of the short training.
    The answer is the rate r at which looking pays for itself, E[max(gain − r·full, 0)] = r·short: Weitzman's index
    (1979), the price at which one would neither open nor leave the box. A rule "continue at the best k outcomes" earns
    Σ w·gain and costs short + full·Σ w; the best of these ratios is that rate.
    """
    order = np.argsort(-gains, axis=0)
    weights = WEIGHTS[order]
    earned = np.cumsum(weights * np.take_along_axis(gains, order, axis=0), axis=0)
    return np.asarray((earned / (short + full * np.cumsum(weights, axis=0))).max(axis=0))
