"""Acquisition functions: expected hypervolume improvement in closed form, and expected gain per epoch of training.

Costs are known exactly, so only the value is uncertain: Y ~ N(mean, sd²) on a transformed scale (`Scale`). The front is
a staircase over log cost. A candidate at log cost f that beats the staircase raises it from f to the right, so its
expected gain is a sum over the steps: width × the ordinary expected improvement over that step's level.
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
"""Gauss–Hermite quadrature: the expectation of a smooth function of N(0, 1) from seven evaluations."""


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


@dataclass(frozen=True)
class Staircase:
    """A Pareto front over log cost: `levels[i]` is the best value from `edges[i]` to `edges[i + 1]`.

    The first step, at the reference value, begins at −∞; the last one ends at the largest log cost.
    """

    edges: Floats
    levels: Floats

    @classmethod
    def of(cls, log_cost: Floats, values: Floats, *, reference: float, right: float) -> "Staircase":
        """Builds the staircase of the points observed so far, of which there may be none.

        Args:
            log_cost: Log costs of the points (n,).
            values: Values of the points (n,).
            reference: Level of the first step.
            right: Log cost at which the last step ends, unless the front reaches further.
        """
        edges, levels = [-np.inf], [reference]
        for index in np.lexsort((-values, log_cost)):
            if values[index] > levels[-1]:
                edges.append(float(log_cost[index]))
                levels.append(float(values[index]))
        return cls(np.array([*edges, max(right, edges[-1])]), np.array(levels))

    def expected_gain(self, log_cost: Floats, mean: Floats, sd: Floats, *, scale: Scale) -> Floats:
        """Returns the expected growth of the area under the staircase for each candidate.

        Args:
            log_cost: Log costs of the candidates (m,).
            mean: Posterior means (…, m), on the model's scale.
            sd: Posterior standard deviations (…, m), or of a shape that broadcasts.
            scale: Scale of the model.

        Returns:
            Expected gains (…, m), in units of value × log cost.
        """
        widths = np.maximum(self.edges[1:] - np.maximum(self.edges[:-1], log_cost[:, None]), 0.0)
        improvement = scale.improvement(mean[..., None], sd[..., None], self.levels)
        return np.asarray((improvement * widths).sum(axis=-1))


def gain_per_epoch(gains: Floats, *, short: float, full: float) -> Floats:
    """Returns the gain per epoch of a short training that is followed by a full one only where its outcome warrants it.

    The result is the rate r at which the short training pays for itself, E[max(gain − r·full, 0)] = r·short: Weitzman's
    index (1979), the price at which one is indifferent between opening the box and leaving it. A rule "continue at the
    best k outcomes" earns Σ w·gain and costs short + full·Σ w; the best of these ratios is that rate.

    Args:
        gains: Expected gains at full length (nodes, m), given each of the outcomes `NODES` of the short training.
        short: Epochs of the short training.
        full: Epochs of the full training.

    Returns:
        The rate of each candidate (m,).
    """
    order = np.argsort(-gains, axis=0)
    weights = WEIGHTS[order]
    earned = np.cumsum(weights * np.take_along_axis(gains, order, axis=0), axis=0)
    return np.asarray((earned / (short + full * np.cumsum(weights, axis=0))).max(axis=0))
