"""Acquisition functions: expected hypervolume improvement in closed form, and expected gain per epoch of training.

Costs are known exactly, so only the value is uncertain: Y ~ N(mean, sd²) on the model's scale (`nas.surrogate.scale`).
The front is a staircase over log cost. A candidate at log cost f that beats the staircase raises it from f on, so
the expected gain is a sum over the steps: width × the ordinary expected improvement over that step's level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.surrogate.scale import Scale

__all__ = ["Staircase", "gain_per_epoch"]

Floats = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Gauss–Hermite quadrature: the expectation of a smooth function of N(0, 1) from seven evaluations."""


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
