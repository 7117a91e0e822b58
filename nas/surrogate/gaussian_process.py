"""The surrogate model of accuracy: a Gaussian process over architecture, log cost and length of training.

    value(architecture, length) = offset(length) + scale(length) · g(architecture, length) + noise
    g(architecture, length) = slope · trend(architecture) + f(architecture) + own(architecture, length)

The trend, if there is one, is a guess made before any training of how the value rises over the space. Its slope has a
normal prior, which the trainings correct: where the guess is wrong, it fades. All lengths share one function f, so that
short trainings inform predictions at full length; each length has an offset and a scale, and a component `own` that it
shares with no other. The size of each component is fitted: where short trainings mislead, they get little weight. f and
own have the same Matérn-5/2 kernel up to its amplitude, the offsets are independent, the noise is white; log cost is
one of the features. The process is scikit-learn's.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from nas.surrogate.kernels import Columns, Linear, SameRung, ShortNoise

__all__ = ["Observations", "Posterior", "Surrogate"]

Floats = NDArray[np.float64]

AMPLITUDE, OWN_AMPLITUDE, LENGTH_SCALE = (1.0, 0.7), (-0.5, 1.0), (1.4, 1.0)
NOISE, SHORT_NOISE = (-0.7, 1.0), (-0.7, 1.0)
"""Prior mean and standard deviation of the logarithm of each hyperparameter. The prior means put a fifth of the smooth
variance into a length's own component, set the noise to half of the observed variance, and make the length scales long,
so that most choices shift the value alike wherever the others are. docs/benchmarks.md compares with likelihood only."""
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

    `trend` has the mean and the standard deviation by which the trend, the last feature, is standardised; None: there
    is none.
    """

    process: GaussianProcessRegressor
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
        inputs, guess = _inputs(seen.features, seen.rungs, centred)
        standard = (seen.values - offsets[seen.rungs]) / scales[seen.rungs] - guess
        kernel, priors = _kernel(seen.features.shape[1], rungs=rungs, trend=trend)
        chosen = np.arange(len(standard))
        if len(chosen) > MOST_FITTED:
            chosen = np.sort(rng.choice(len(chosen), MOST_FITTED, replace=False))
        process = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=partial(_most_probable, priors=priors))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # hyperparameters at their bounds are intended
            process.fit(inputs[chosen], standard[chosen])
            if len(chosen) < len(standard):
                process = GaussianProcessRegressor(process.kernel_, alpha=1e-8, optimizer=None)
                process.fit(inputs, standard)
        return cls(process, offsets, scales, centred)

    def believing(self, features: Floats, rungs: NDArray[np.intp]) -> "Surrogate":
        """Returns a copy that assumes running trainings ended with their predicted values (a kriging believer)."""
        process = self.process
        inputs, _ = _inputs(features, rungs, self.trend)
        believed = GaussianProcessRegressor(process.kernel_, alpha=process.alpha, optimizer=None)
        believed.fit(np.vstack([process.X_train_, inputs]), np.concatenate([process.y_train_, process.predict(inputs)]))
        return replace(self, process=believed)

    def posterior(self, features: Floats, *, rung: int | None = None, informed_by: Sequence[int] = ()) -> Posterior:
        """Returns the posterior at a rung, by default the full length.

        `informed_by` are the rungs for which `Posterior.shifts` tells how much a training there would inform it.
        """
        rung = len(self.offsets) - 1 if rung is None else rung
        scale = self.scales[rung]
        mean, variance, here = self._known(features, rung)
        shifts = []
        for other in informed_by:
            _, there, at_other = (mean, variance, here) if other == rung else self._known(features, other)
            covariance = self._between(features, rung, other) - np.einsum("nm,nm->m", here, at_other)
            shifts.append(scale * np.abs(covariance) / np.sqrt(there + self._noise(other)))
        return Posterior(self.offsets[rung] + scale * mean, scale**2 * variance, shifts)

    def at_rungs(self, features: Floats, rungs: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Returns the posterior means and noise-free variances of candidates (m,), each at its own rung."""
        mean, variance, _ = self._known(features, rungs)
        return self.offsets[rungs] + self.scales[rungs] * mean, self.scales[rungs] ** 2 * variance

    def _known(self, features: Floats, rung: int | NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Returns standardised mean, noise-free variance, and L⁻¹k at one or many rungs (Rasmussen, Williams, 2.25)."""
        process = self.process
        inputs, guess = _inputs(features, rung, self.trend)
        cross = process.kernel_(inputs, process.X_train_)
        solved = solve_triangular(process.L_, cross.T, lower=True)
        variance = process.kernel_.k1.diag(inputs) - np.einsum("nm,nm->m", solved, solved)
        return guess + cross @ process.alpha_, np.maximum(variance, 1e-10), solved

    def _between(self, features: Floats, rung: int, other: int) -> Floats:
        """Returns the prior covariances of the values of candidates (m,) at two rungs."""
        same_place = np.zeros((2, features.shape[1] + 1))
        same_place[:, -1] = rung, other
        shared = float(self.process.kernel_.k1(same_place)[0, 1])
        return np.asarray(shared + (SLOPE[1] * _standardised(features, self.trend)) ** 2)

    def _noise(self, rung: int) -> float:
        """Returns the standardised noise variance at a rung."""
        width = self.process.X_train_.shape[1]
        return float(self.process.kernel_.k2.diag(np.array([[0.0] * (width - 1) + [rung]]))[0])


def _inputs(
    features: Floats, rungs: int | NDArray[np.intp], trend: tuple[float, float] | None
) -> tuple[Floats, Floats]:
    """Returns the inputs of the process, the rung last, and the guess by the trend's expected slope."""
    inputs = np.column_stack([features, np.broadcast_to(rungs, len(features))])
    values = _standardised(features, trend)
    if trend is not None:
        inputs[:, -2] = values
    return inputs, SLOPE[0] * values


def _standardised(features: Floats, trend: tuple[float, float] | None) -> Floats:
    """Returns the standardised trend of candidates; zeros where there is none."""
    return np.zeros(len(features)) if trend is None else (features[:, -1] - trend[0]) / trend[1]


def _kernel(width: int, *, rungs: int, trend: bool) -> tuple[Kernel, Floats]:
    """Returns the kernel of features (n, width) and a rung, and the priors of its hyperparameters, a row each."""
    choices = width - trend
    smooth = Columns(Matern(np.full(choices, np.exp(LENGTH_SCALE[0])), (0.05, 100.0), nu=2.5), 0, choices)
    shared = ConstantKernel(np.exp(AMPLITUDE[0]), (0.05, 50.0))
    signal, noise = shared * smooth, WhiteKernel(np.exp(NOISE[0]), (0.01, 2.0))
    priors = [AMPLITUDE, *[LENGTH_SCALE] * choices, NOISE]
    if rungs > 1:
        own = ConstantKernel(np.exp(OWN_AMPLITUDE[0]), (0.01, 50.0))
        signal = (shared + own * SameRung(width)) * smooth + SameRung(width)
        noise += ConstantKernel(np.exp(SHORT_NOISE[0]), (0.01, 5.0)) * ShortNoise(width, rungs - 1)
        priors = [AMPLITUDE, OWN_AMPLITUDE, *[LENGTH_SCALE] * choices, NOISE, SHORT_NOISE]
    if trend:
        signal += Linear(choices, SLOPE[1])
    return signal + noise, np.array(priors)


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


def _most_probable(objective: Any, start: Floats, bounds: Floats, *, priors: Floats) -> tuple[Floats, float]:
    """Returns the maximum a posteriori hyperparameters, starting at the prior's mode; `objective` is −log likelihood.

    scikit-learn's own optimiser, with the prior added and fewer steps: the last digits of a length scale do not matter.
    """

    def posterior(theta: Floats) -> tuple[float, Floats]:
        value, gradient = objective(theta)
        distance = (theta - priors[:, 0]) / priors[:, 1]
        return value + 0.5 * distance @ distance, gradient + distance / priors[:, 1]

    found = minimize(posterior, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": ITERATIONS})
    return found.x, float(found.fun)
