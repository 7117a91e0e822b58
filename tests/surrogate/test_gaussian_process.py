import numpy as np
import pytest
from numpy.typing import NDArray

from nas.surrogate.gaussian_process import Observations, Surrogate

Floats = NDArray[np.float64]


def truth(features: Floats) -> Floats:
    return np.asarray(np.sin(3 * features[:, 0]) + features[:, 1] ** 2)


def seen(count: int, *, short: int = 0, noise: float = 0.05, seed: int = 0) -> Observations:
    """Trainings at full length, rung 1, and others at rung 0, whose values lie elsewhere and are spread otherwise."""
    rng = np.random.default_rng(seed)
    features = rng.random((count + short, 3))
    values = truth(features) + rng.normal(0, noise, count + short)
    rungs = np.array([1] * count + [0] * short)
    return Observations(features, rungs, np.where(rungs == 1, values, 0.3 * values - 5))


def fit(observations: Observations) -> Surrogate:
    return Surrogate.fit(observations, rungs=2, rng=np.random.default_rng(0))


def test_it_learns_a_smooth_function_and_how_sure_it_is() -> None:
    features = np.random.default_rng(9).random((200, 3))
    known = fit(seen(60)).posterior(features)
    errors = known.mean - truth(features)
    assert np.sqrt((errors**2).mean()) < 0.15 * truth(features).std()
    assert (np.abs(errors) < 3 * np.sqrt(known.variance + 1e-3)).mean() > 0.9


def test_short_trainings_teach_about_full_ones() -> None:
    features = np.random.default_rng(9).random((200, 3))
    wrong = [
        np.sqrt(((fit(observations).posterior(features).mean - truth(features)) ** 2).mean())
        for observations in (seen(8), seen(8, short=40))
    ]
    assert wrong[1] < 0.5 * wrong[0]


@pytest.mark.parametrize("rung", [0, 1])
def test_what_a_training_would_tell_is_what_the_variance_falls_by(rung: int) -> None:
    """An identity of Gaussian processes: with the same hyperparameters, one more observation takes away cov²/var."""
    model = fit(seen(10, short=10))
    candidate = np.random.default_rng(3).random((1, 3))
    after = model.believing(candidate, np.array([rung]))
    fallen = model.posterior(candidate).variance - after.posterior(candidate).variance
    assert model.posterior(candidate, informed_by=[rung]).shifts[0] ** 2 == pytest.approx(fallen, rel=1e-3)


def test_believing_changes_no_mean() -> None:
    model, candidates = fit(seen(12)), np.random.default_rng(3).random((5, 3))
    after = model.believing(candidates[:2], np.array([1, 1]))
    assert after.posterior(candidates).mean == pytest.approx(model.posterior(candidates).mean, abs=1e-6)
    assert (after.posterior(candidates).variance[:2] < model.posterior(candidates).variance[:2]).all()


def test_many_observations_are_all_used() -> None:
    model = fit(seen(300))
    assert len(model.values) == 300


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_values_that_cannot_be_modelled_are_refused(value: float) -> None:
    observations = seen(6)
    with pytest.raises(ValueError, match=r"do not differ|are not finite"):
        fit(observations._replace(values=np.full(6, value)))


def test_nothing_seen_cannot_be_modelled() -> None:
    nothing = Observations(np.empty((0, 3)), np.empty(0, dtype=int), np.empty(0))
    with pytest.raises(ValueError, match="no values"):
        fit(nothing)


def test_a_trend_says_what_few_trainings_do_not_and_fades_where_it_is_wrong() -> None:
    def risen(observations: Observations, sign: float) -> Observations:
        """The same with a trend of sign · truth."""
        trend = sign * truth(observations.features)
        return observations._replace(features=np.column_stack([observations.features, trend]))

    def error(count: int, sign: float | None) -> float:
        test = Observations(np.random.default_rng(9).random((200, 3)), np.ones(200, dtype=int), np.zeros(200))
        errors = []
        for seed in range(5):
            known = seen(count, noise=0.3, seed=seed)
            if sign is not None:
                known, of_test = risen(known, sign), risen(test, sign)
            else:
                of_test = test
            model = Surrogate.fit(known, rungs=2, rng=np.random.default_rng(0), trend=sign is not None)
            mean = model.posterior(of_test.features).mean
            assert model.at_rungs(of_test.features, of_test.rungs)[0] == pytest.approx(mean)
            errors.append(np.std(mean - truth(test.features)))
        return float(np.mean(errors))

    assert error(6, 1) < 0.75 * error(6, None)
    assert error(60, -1) < 1.15 * error(60, None)


def test_a_short_training_informs_the_full_one_of_an_extreme_trend_more() -> None:
    known = seen(12, short=12)
    features = np.column_stack([known.features, truth(known.features)])
    model = Surrogate.fit(known._replace(features=features), rungs=2, rng=np.random.default_rng(0), trend=True)
    middle, far = float(features[:, -1].mean()), float(features[:, -1].mean() + 5 * features[:, -1].std())
    shifts = model.posterior(np.array([[0.5, 0.5, 0.5, middle], [0.5, 0.5, 0.5, far]]), informed_by=[0]).shifts[0]
    assert shifts[1] > 1.5 * shifts[0]
