"""Optuna's own tests of samplers, as far as they apply to one of two objectives: a value and a known cost."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase
from optuna.trial import TrialState

from nas import FrontSampler

SPACE = {
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "share": FloatDistribution(0, 1, step=0.25),
    "width": IntDistribution(8, 64, step=8),
    "depth": IntDistribution(1, 1),
    "kind": CategoricalDistribution(("a", "b", None)),
}


def cost(params: dict[str, Any]) -> float:
    return float(params["width"]) ** 2


def front_sampler() -> FrontSampler:
    return FrontSampler(SPACE, cost, seed=0)


class TestIndependent(MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return front_sampler


class TestBasic(BasicSamplerTestCase):
    """The tests in which nothing is sampled jointly: `FrontSampler` refuses studies of one objective."""

    test_nan_objective_value = test_partial_fixed_sampling = test_sample_single_distribution = None  # type: ignore[assignment]
    test_single_parameter_objective = test_conditional_parameter_objective = None  # type: ignore[assignment]
    test_combination_of_different_distributions_objective = test_dynamic_range_objective = None  # type: ignore[assignment]

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return front_sampler


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_joint_parameters_are_in_their_ranges_beside_others_that_are_sampled_alone(n_jobs: int) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=front_sampler())

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = {name: trial._suggest(name, distribution) for name, distribution in SPACE.items()}
        if params["kind"] == "a":
            trial.suggest_float("only with a", 0, 1)
        return params["share"] - params["rate"], cost(params)

    study.optimize(objective, n_trials=20, n_jobs=n_jobs)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 20
    for trial in study.trials:
        for name, distribution in SPACE.items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[name]))
        assert type(trial.params["width"]) is int
        assert type(trial.params["rate"]) is type(trial.params["share"]) is float
        assert ("only with a" in trial.params) == (trial.params["kind"] == "a")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_values_that_are_none_are_survived(value: float | None) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=front_sampler())
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> Any:
        params = {name: trial._suggest(name, distribution) for name, distribution in SPACE.items()}
        return None if value is None else (value if trial.number % 2 else params["share"], cost(params))

    study.optimize(objective, n_trials=20)
    assert len(study.trials) == 20
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 20


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_parameters_may_be_fixed() -> None:
    sampler = optuna.samplers.PartialFixedSampler({"width": 16}, front_sampler())
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(10):
        trial = study.ask(dict(SPACE))
        assert trial.params["width"] == 16
        study.tell(trial, [0.5, cost(trial.params)])
