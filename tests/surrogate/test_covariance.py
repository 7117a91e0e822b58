import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from nas.surrogate.covariance import Covariance, Inputs

CHOICES = 3
LOGS = np.log([1.5, 0.3, 0.4, 0.8, 2.0, 0.6, 0.2])


def inputs(count: int, *, rungs: int = 3, trend: bool = True) -> Inputs:
    rng = np.random.default_rng(count)
    return Inputs(rng.random((count, CHOICES)), trend * rng.normal(size=count), rng.integers(0, rungs, count))


def kernel(logs: NDArray[np.float64] = LOGS, *, full: int = 2) -> Covariance:
    return Covariance.of(logs if full else logs[: 2 + CHOICES], choices=CHOICES, slope=0.3, full=full)


@pytest.mark.parametrize("full", [0, 2])
def test_the_derivatives_are_those_of_the_likelihood(full: int) -> None:
    seen, logs = inputs(12, rungs=full + 1), LOGS if full else LOGS[: 2 + CHOICES]
    values = np.random.default_rng(0).normal(size=12)
    _, slopes = kernel(logs, full=full).likelihood(seen, values)
    numeric = approx_fprime(logs, lambda at: kernel(at, full=full).likelihood(seen, values)[0], 1e-6)
    assert slopes == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_variances_are_the_diagonal_and_factors_multiply_to_the_whole() -> None:
    seen, made = inputs(20), kernel()
    whole = made.between(seen, seen)
    assert made.at(seen) == pytest.approx(np.diag(whole))
    factor = made.factorised(seen)
    assert factor @ factor.T == pytest.approx(whole + np.diag(made.noise_at(seen.rungs)), abs=1e-6)
    other = Inputs(seen.choices, seen.trend, (seen.rungs + 1) % 3)
    assert made.across(seen.trend) == pytest.approx(np.diag(made.between(seen, other)))
    assert made.noise_at(np.array([0, 1, 2])) == pytest.approx([0.5, 0.5, 0.3])


def test_without_lengths_and_trend_it_is_scikit_learn_s() -> None:
    seen, places = inputs(15, rungs=1, trend=False), inputs(6, rungs=1, trend=False)
    values = np.random.default_rng(1).normal(size=15)
    made = kernel(full=0)
    theirs = GaussianProcessRegressor(
        ConstantKernel(1.5) * Matern([0.4, 0.8, 2.0], nu=2.5) + WhiteKernel(0.3), alpha=1e-8, optimizer=None
    ).fit(seen.choices, values)
    assert made.likelihood(seen, values)[0] == pytest.approx(-theirs.log_marginal_likelihood(theirs.kernel_.theta))
    weights = np.linalg.solve(made.factorised(seen).T, np.linalg.solve(made.factorised(seen), values))
    assert made.between(places, seen) @ weights == pytest.approx(theirs.predict(places.choices))
