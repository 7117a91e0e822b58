"""The surrogate model of accuracy: a Gaussian process over architecture, log cost and length of training.

    value(architecture, length) = offset(length) + scale(length) · g(architecture, length) + noise
    g(architecture, length) = slope · trend(architecture) + f(architecture) + own(architecture, length)

The trend, if there is one, is a guess made before any training of how the value rises over the space. Its slope has a
normal prior, which the trainings correct: where the guess is wrong, it fades. All lengths share one function f, so that
short trainings inform predictions at full length; each length has an offset and a scale, and a component `own` that it
shares with no other. The size of each component is fitted: where short trainings mislead, they get little weight. f and
own have the same Matérn-5/2 kernel up to its amplitude, the offsets are independent, the noise is white
(`nas.surrogate.covariance`); log cost is one of the features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from nas.surrogate.covariance import Covariance, Inputs

__all__ = ["Observations", "Posterior", "Surrogate"]

Floats = NDArray[np.float64]

AMPLITUDE, OWN_AMPLITUDE, LENGTH_SCALE = (1.0, 0.7), (-0.5, 1.0), (1.4, 1.0)
NOISE, SHORT_NOISE = (-0.7, 1.0), (-0.7, 1.0)
"""Prior mean and standard deviation of the logarithm of each hyperparameter. The prior means put a fifth of the smooth
variance into a length's own component, set the noise to half of the observed variance, and make the length scales long,
so that most choices shift the value alike wherever the others are. docs/benchmarks.md compares with likelihood only."""
BOUNDS = {
    "amplitude": (0.05, 50.0),
    "noise": (0.01, 2.0),
    "length scale": (0.05, 100.0),
    "own amplitude": (0.01, 50.0),
    "short noise": (0.01, 5.0),
}
SLOPE = (0.85, 0.3)
"""Prior mean and standard deviation of the slope, in standard deviations of the value per one of the trend."""
ITERATIONS = 15
MOST_FITTED = 80
"""Most observations that hyperparameters are fitted to: more would say little more about five length scales."""
LEAST_FOR_SCALE = 4
"""Number of observations from which on a length's own standard deviation is used."""


class Observations(NamedTuple):
    """Observed trainings: features (n, d) in [0, 1], after them perhaps a trend on any scale; rungs and values (n,)."""

    features: Floats
    rungs: NDArray[np.intp]
    values: Floats


class Posterior(NamedTuple):
    """Posterior of candidates (m,) at a rung: mean and noise-free variance of the value.

    `shifts` has, for each rung asked about, the standard deviation by which a training there would move the mean:
    |covariance| over the standard deviation of its outcome. An outcome z standard deviations from its mean moves the
    mean by z · shifts; the variance falls by shifts² in any case.
    """

    mean: Floats
    variance: Floats
    shifts: list[Floats]


@dataclass(frozen=True)
class Surrogate:
    """A fitted Gaussian process. Lengths are numbered as rungs, the full one highest.

    `seen` and `values` (n,) are the observations, standardised and without the guess by the trend's expected slope;
    `factor` is the Cholesky factor of their covariances and `weights` are these covariances' inverse times `values`.
    Offsets and scales standardise the values of each rung. `trend` has the mean and the standard deviation that
    standardise the trend, the last feature; None: there is none.
    """

    covariance: Covariance
    seen: Inputs
    values: Floats
    factor: Floats
    weights: Floats
    offsets: Floats
    scales: Floats
    trend: tuple[float, float] | None

    @classmethod
    def fit(cls, seen: Observations, *, rungs: int, rng: np.random.Generator, trend: bool = False) -> "Surrogate":
        """Fits the hyperparameters from scratch, starting at their prior's mode: if carried over, they can collapse.

        Args:
            seen: Observed trainings.
            rungs: Number of rungs; the full length is the last.
            rng: Chooses the observations to fit hyperparameters to, if there are more than `MOST_FITTED`.
            trend: Whether the last feature is the trend.

        Raises:
            ValueError, LinAlgError: The values cannot be modelled (not finite, all equal).
        """
        offsets, scales = _standardisation(seen, rungs)
        last = seen.features[:, -1]
        centred = (float(last.mean()), max(float(last.std()), 1e-9)) if trend else None
        inputs = _inputs(seen.features, seen.rungs, centred)
        standard = (seen.values - offsets[seen.rungs]) / scales[seen.rungs] - SLOPE[0] * inputs.trend
        chosen = np.arange(len(standard))
        if len(chosen) > MOST_FITTED:
            chosen = np.sort(rng.choice(len(chosen), MOST_FITTED, replace=False))
        slope = SLOPE[1] if trend else 0.0
        covariance = _most_probable(inputs.part(chosen), standard[chosen], slope=slope, full=rungs - 1)
        factor = covariance.factorised(inputs)
        weights = cho_solve((factor, True), standard)
        return cls(covariance, inputs, standard, factor, weights, offsets, scales, centred)

    def believing(self, features: Floats, rungs: NDArray[np.intp]) -> "Surrogate":
        """Returns a copy that assumes running trainings ended with their predicted values (a kriging believer)."""
        running = _inputs(features, rungs, self.trend)
        believed = self.covariance.between(running, self.seen) @ self.weights
        seen, values = self.seen.joined(running), np.concatenate([self.values, believed])
        factor = self.covariance.factorised(seen)
        return replace(self, seen=seen, values=values, factor=factor, weights=cho_solve((factor, True), values))

    def posterior(self, features: Floats, *, informed_by: Sequence[int] = ()) -> Posterior:
        """Returns the posterior at the full length.

        `informed_by` are the rungs for which `Posterior.shifts` tells how much a training there would inform it.
        """
        full, scale = len(self.offsets) - 1, self.scales[-1]
        mean, variance, here = self._known(features, full)
        shifts = []
        for other in informed_by:
            _, there, at_other = (mean, variance, here) if other == full else self._known(features, other)
            places = _inputs(features, other, self.trend)
            before = self.covariance.at(places) if other == full else self.covariance.across(places.trend)
            covariance = before - np.einsum("nm,nm->m", here, at_other)
            noise = self.covariance.noise_at(places.rungs)
            shifts.append(scale * np.abs(covariance) / np.sqrt(there + noise))
        return Posterior(self.offsets[full] + scale * mean, scale**2 * variance, shifts)

    def at_rungs(self, features: Floats, rungs: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Returns the posterior means and noise-free variances of candidates (m,), each at its own rung."""
        mean, variance, _ = self._known(features, rungs)
        return self.offsets[rungs] + self.scales[rungs] * mean, self.scales[rungs] ** 2 * variance

    def noise_at_rungs(self, rungs: NDArray[np.intp]) -> Floats:
        """Returns the variances (m,) of a training's outcome about its network's mean, each at its own rung."""
        return self.scales[rungs] ** 2 * self.covariance.noise_at(rungs)

    def _known(self, features: Floats, rung: int | NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Returns standardised mean, noise-free variance, and L⁻¹k at one or many rungs (Rasmussen, Williams, 2.25)."""
        inputs = _inputs(features, rung, self.trend)
        cross = self.covariance.between(self.seen, inputs)
        solved = solve_triangular(self.factor, cross, lower=True)
        variance = self.covariance.at(inputs) - np.einsum("nm,nm->m", solved, solved)
        return SLOPE[0] * inputs.trend + cross.T @ self.weights, np.maximum(variance, 1e-10), solved


def _inputs(features: Floats, rungs: int | NDArray[np.intp], trend: tuple[float, float] | None) -> Inputs:
    """Separates the features into choices and trend, and standardises the latter."""
    at = np.broadcast_to(np.asarray(rungs, dtype=np.intp), len(features))
    if trend is None:
        return Inputs(features, np.zeros(len(features)), at)
    return Inputs(features[:, :-1], (features[:, -1] - trend[0]) / trend[1], at)


def _standardisation(seen: Observations, rungs: int) -> tuple[Floats, Floats]:
    """Returns the mean and the standard deviation by which the values of each length are standardised.

    A length without values takes the mean of the longest one that has any; one with few takes the average standard
    deviation of the others. The means need not be right: the kernel has an offset for each length, as the longer
    trainings are a selection.
    """
    if not len(seen.values) or not np.isfinite(seen.values).all():
        raise ValueError("there are no values, or some are not finite")
    values = [seen.values[seen.rungs == rung] for rung in range(rungs)]
    means = np.array([part.mean() if len(part) else np.nan for part in values])
    scales = np.array([part.std() if len(part) >= LEAST_FOR_SCALE else np.nan for part in values])
    scales[~(scales > 1e-9)] = np.nan
    fallback = np.nanmean(scales) if not np.isnan(scales).all() else float(np.std(seen.values - means[seen.rungs]))
    if not fallback > 1e-9:
        raise ValueError("the values do not differ")
    known = means[~np.isnan(means)]
    return np.where(np.isnan(means), known[-1], means), np.where(np.isnan(scales), fallback, scales)


def _most_probable(seen: Inputs, values: Floats, *, slope: float, full: int) -> Covariance:
    """Returns the kernel of the maximum a posteriori hyperparameters, starting at the prior's mode.

    Few steps suffice: the last digits of a length scale do not matter.
    """
    choices = seen.choices.shape[1]
    priors = np.array([AMPLITUDE, NOISE, *[LENGTH_SCALE] * choices, *([OWN_AMPLITUDE, SHORT_NOISE] if full else [])])
    names = ["amplitude", "noise", *["length scale"] * choices, *(["own amplitude", "short noise"] if full else [])]

    def kernel(logs: Floats) -> Covariance:
        return Covariance.of(logs, choices=choices, slope=slope, full=full)

    def posterior(logs: Floats) -> tuple[float, Floats]:
        value, gradient = kernel(logs).likelihood(seen, values)
        distance = (logs - priors[:, 0]) / priors[:, 1]
        return value + 0.5 * distance @ distance, gradient + distance / priors[:, 1]

    bounds = np.log([BOUNDS[name] for name in names])
    options = {"maxiter": ITERATIONS}
    found = minimize(posterior, priors[:, 0], method="L-BFGS-B", jac=True, bounds=bounds, options=options)
    return kernel(found.x)
