import itertools
import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from nas import FrontSampler
from nas.errors import InvalidValue
from nas.strategy.front_sampler import SHORT_VALUE, STRATA
from nas.study.pareto import hypervolume_history
from nas.study.plan import PastTraining

SPACE: dict[str, BaseDistribution] = {
    "depth": IntDistribution(1, 4),
    "mid": IntDistribution(8, 64, step=8),
    "groups": CategoricalDistribution((1, 2, 4, 8)),
}
LENGTHS = (1, 3, 9)
LONG = {**SPACE, "epochs": IntDistribution(1, 9)}
Params = dict[str, Any]


def cost(params: Params) -> float:
    return float(params["depth"] * (params["mid"] ** 2 / params["groups"] + 20 * params["mid"]))


def constant(amount: float, params: Params) -> float:
    return amount


def accuracy(params: Params) -> float:
    """Grows with cost, with fewer returns, and prefers four groups; a part of it that looks like chance."""
    luck = np.random.default_rng([params["depth"], params["mid"], params["groups"]]).normal(0, 0.005)
    return float(0.95 - 3 / np.sqrt(cost(params)) - 0.03 * abs(np.log2(params["groups"]) - 2) + luck)


def short_accuracy(params: Params, epochs: int) -> float:
    """Of a shorter training: lower, and less certain."""
    luck = np.random.default_rng([params["depth"], params["mid"], params["groups"], epochs]).normal(0, 0.01)
    return float(accuracy(params) - 0.1 * np.log(9 / epochs) + (luck if epochs < 9 else 0))


POINTS = [
    dict(zip(SPACE, values, strict=True)) for values in itertools.product(range(1, 5), range(8, 65, 8), (1, 2, 4, 8))
]


def hypervolume(params: list[Params]) -> float:
    """The share of what all points dominate."""

    def area(points: list[Params]) -> float:
        costs = [cost(point) for point in POINTS]
        box = {"chance": 0.1, "least_flops": min(costs), "most_flops": max(costs)}
        return float(hypervolume_history([accuracy(p) for p in points], [cost(p) for p in points], **box)[-1])

    return area(params) / area(POINTS)


def new_study(sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def run(study: optuna.Study, trials: int, value: Callable[[Params], float] = accuracy) -> list[Params]:
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, [value(trial.params), cost(trial.params)])
    return [trial.params for trial in study.trials]


def run_long(study: optuna.Study, epochs: int) -> int:
    """Trains until so many epochs are spent; returns how many were."""
    spent = 0
    while spent < epochs:
        trial = study.ask(LONG)
        length = trial.params["epochs"]
        spent += length
        if length < LENGTHS[-1]:
            trial.set_user_attr(SHORT_VALUE, short_accuracy(trial.params, length))
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [accuracy(trial.params), cost(trial.params)])
    return spent


def with_lengths(seed: int = 0, **options: Any) -> FrontSampler:
    return FrontSampler(LONG, cost, seed=seed, fidelity="epochs", lengths=LENGTHS, **options)


def full(study: optuna.Study) -> list[Params]:
    return [trial.params for trial in study.get_trials(states=[TrialState.COMPLETE])]


def test_it_finds_the_front_sooner_than_chance_does() -> None:
    ours = [hypervolume(run(new_study(FrontSampler(SPACE, cost, seed=seed)), 24)) for seed in range(5)]
    chance = [
        hypervolume([POINTS[index] for index in np.random.default_rng(seed).permutation(len(POINTS))[:24]])
        for seed in range(30)
    ]
    assert np.median(ours) > np.quantile(chance, 0.9)
    assert min(ours) > np.median(chance)


def test_it_proposes_each_point_once_and_when_all_are_known_something_all_the_same() -> None:
    space: dict[str, BaseDistribution] = {
        "mid": IntDistribution(8, 64, step=8),
        "groups": CategoricalDistribution((1, 16)),
    }
    valid = [(mid, groups) for mid in range(8, 65, 8) for groups in (1, 16) if mid % groups == 0]
    sampler = FrontSampler(space, lambda p: p["mid"], seed=0, is_valid=lambda p: p["mid"] % p["groups"] == 0)
    study = new_study(sampler)
    for _ in range(len(valid)):
        trial = study.ask(space)
        study.tell(trial, [1 / trial.params["groups"], trial.params["mid"]])
    assert sorted((trial.params["mid"], trial.params["groups"]) for trial in study.trials) == valid
    for _ in range(10):
        again = study.ask(space).params
        assert (again["mid"], again["groups"]) in valid


def test_threads_that_ask_at_once_are_told_different_things() -> None:
    """The storage learns the parameters of a trial only after the sampler has chosen them."""
    sampler = FrontSampler(SPACE, cost, seed=0)
    study = new_study(sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = {name: trial._suggest(name, distribution) for name, distribution in SPACE.items()}
        time.sleep(0.01)
        return accuracy(params), cost(params)

    study.optimize(objective, n_trials=40, n_jobs=4)
    points = [tuple(trial.params[name] for name in SPACE) for trial in study.trials]
    assert len(set(points)) == len(points) == 40
    assert pickle.loads(pickle.dumps(sampler))


def test_parameters_outside_its_space_are_random_in_each_trial() -> None:
    study = new_study(FrontSampler(SPACE, cost, seed=0))
    drawn = []
    for _ in range(12):
        trial = study.ask(SPACE)
        drawn.append((trial.suggest_float("momentum", 0, 1), trial.suggest_float("decay", 0, 1)))
        study.tell(trial, [accuracy(trial.params), cost(trial.params)])
    assert len({momentum for momentum, _ in drawn}) == 12
    assert all(momentum != decay for momentum, decay in drawn)


def test_shares_and_per_cent_are_the_same_to_it() -> None:
    shares = run(new_study(FrontSampler(SPACE, cost, seed=3, reference=0.1)), 20)
    per_cent = run(new_study(FrontSampler(SPACE, cost, seed=3, reference=10)), 20, lambda p: 100 * accuracy(p))
    assert shares == per_cent


def test_it_starts_with_one_point_of_each_range_of_log_cost_at_the_cheap_end() -> None:
    params = run(new_study(FrontSampler(SPACE, cost, seed=1)), STRATA)
    logs = np.log([cost(point) for point in POINTS])
    edges = np.linspace(logs.min(), logs.max(), STRATA + 1)
    places = np.clip(np.searchsorted(edges, np.log([cost(point) for point in params]), side="right") - 1, 0, STRATA - 1)
    filled = np.clip(np.searchsorted(edges, logs, side="right") - 1, 0, STRATA - 1)
    assert sorted(places[: len(set(filled))]) == sorted(set(filled))
    assert (places[0], places[1]) == (0, 1)
    assert cost(params[0]) == min(map(cost, POINTS))


def test_with_lengths_two_cheap_points_are_trained_at_two_lengths_the_cheapest_first() -> None:
    study = new_study(with_lengths())
    run_long(study, 3 + 3 + 9 + 9 + 4)
    params = [trial.params for trial in study.trials]
    assert [each["epochs"] for each in params] == [3, 3, 9, 9, 1, 1, 1, 1]
    costs = [cost(each) for each in params]
    assert costs[0] == min(map(cost, POINTS)) < costs[1]
    assert costs[:2] == costs[2:4]
    assert costs[1] < min(costs[4:])
    known = new_study(with_lengths(prior=[PastTraining(POINTS[0], 1, 0.5), PastTraining(POINTS[9], 1, 0.6)]))
    run_long(known, 6)
    assert [trial.params["epochs"] for trial in known.trials] == [1] * 6  # an earlier study has shown it


def test_it_starts_where_the_trend_is_high_for_the_cost() -> None:
    def trend(params: dict[str, Any]) -> float:
        return float(np.log(cost(params)) + params["groups"])

    params = run(new_study(FrontSampler(SPACE, cost, seed=1, trend=trend)), STRATA)
    logs = np.log([cost(point) for point in POINTS])
    edges = np.linspace(logs.min(), logs.max(), STRATA + 1)
    groups = np.array([point["groups"] for point in POINTS])
    for point in params[1:4]:
        place = np.searchsorted(edges[1:-1], np.log(cost(point)), side="right")
        there = groups[np.searchsorted(edges[1:-1], logs, side="right") == place]
        assert point["groups"] >= np.median(there)


def test_it_follows_from_the_seed_and_the_trials_alone() -> None:
    whole = run(new_study(FrontSampler(SPACE, cost, seed=5)), 20)
    resumed = new_study()
    for _ in range(20):
        resumed.sampler = FrontSampler(SPACE, cost, seed=5)
        run(resumed, 1)
    assert [trial.params for trial in resumed.trials] == whole
    assert run(new_study(FrontSampler(SPACE, cost, seed=6)), 20) != whole
    assert run(new_study(FrontSampler(SPACE, cost)), 12) != run(new_study(FrontSampler(SPACE, cost)), 12)


def test_workers_that_ask_at_once_are_told_different_things() -> None:
    study = new_study(FrontSampler(SPACE, cost, seed=0))
    run(study, 14)
    asked = [study.ask(SPACE).params for _ in range(6)]
    assert len({tuple(params.values()) for params in asked}) == 6
    spread = [np.log(cost(params)) for params in asked]
    alone = new_study(FrontSampler(SPACE, cost, seed=0))
    run(alone, 14)
    assert asked[0] == alone.ask(SPACE).params
    assert np.ptp(spread) > 0.3  # not neighbours of one another: what runs is taken for known


def test_it_takes_floats_names_and_large_spaces_with_a_cost_in_logarithms() -> None:
    space: dict[str, BaseDistribution] = {
        "rate": FloatDistribution(1e-4, 1e-1, log=True),
        "kind": CategoricalDistribution(("plain", "wide")),
        **{f"x{n}": IntDistribution(0, 20) for n in range(5)},
    }

    def log_cost(params: Params) -> float:
        return float(sum(params[f"x{n}"] for n in range(5)) / 10 + (params["kind"] == "wide"))

    study = new_study(FrontSampler(space, log_cost, seed=0, cost_is_log=True))
    for _ in range(40):
        trial = study.ask(space)
        value = -((np.log10(trial.params["rate"]) + 2) ** 2) + log_cost(trial.params)  # no share: below 0, above 1
        study.tell(trial, [value, float(np.exp(log_cost(trial.params)))])
    late = [abs(np.log10(trial.params["rate"]) + 2) for trial in study.trials[25:]]
    assert np.median(late) < 0.5  # it has found which rate is best


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_a_model_that_cannot_be_fitted_gives_way_to_a_random_stratum(value: float) -> None:
    sampler = FrontSampler(SPACE, cost, seed=0)
    study = new_study(sampler)
    params = run(study, STRATA, lambda _: value)
    assert not sampler.fell_back
    for _ in range(10):
        params = run(study, 1, lambda _: value)
        assert sampler.fell_back
    assert len({tuple(point.values()) for point in params}) == STRATA + 10
    run(study, 1)
    run(study, 1)
    assert not sampler.fell_back  # what differs can be modelled again


def test_with_lengths_every_point_climbs_and_none_is_trained_twice_alike() -> None:
    study = new_study(with_lengths())
    run_long(study, 25 * 9)
    begun: dict[tuple[Any, ...], list[int]] = {}
    for trial in study.trials:
        begun.setdefault(tuple(trial.params[name] for name in SPACE), []).append(trial.params["epochs"])
    assert all(lengths == sorted(set(lengths)) for lengths in begun.values())
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(begun) > len(full(study)) > 10


def test_what_failed_is_not_proposed_again_unless_somebody_tries_it_again() -> None:
    study = new_study(with_lengths())
    run_long(study, 4 * 9)
    trial = study.ask(LONG)
    point = {name: trial.params[name] for name in SPACE}
    study.tell(trial, state=TrialState.FAIL)
    run_long(study, 12 * 9)
    later = study.trials[trial.number + 1 :]
    assert not any({name: other.params[name] for name in SPACE} == point for other in later)
    study.enqueue_trial({**point, "epochs": 3})
    run_long(study, 3)
    assert study.trials[-1].state == TrialState.PRUNED
    run_long(study, 12 * 9)
    tried = [other for other in study.trials if {name: other.params[name] for name in SPACE} == point]
    assert tried[-1].params["epochs"] >= 3  # and from there on it may go on like any other


def test_an_earlier_study_is_a_prior_and_no_result() -> None:
    prior = [PastTraining(point, None, 0.5 * accuracy(point)) for point in POINTS[::2]]
    known = [
        hypervolume(run(new_study(FrontSampler(SPACE, cost, seed=s, prior=prior, reference=0.1)), 10)) for s in range(3)
    ]
    fresh = [hypervolume(run(new_study(FrontSampler(SPACE, cost, seed=s, reference=0.1)), 10)) for s in range(3)]
    assert np.mean(known) > np.mean(fresh)
    outside = [PastTraining({"depth": 9, "mid": 8, "groups": 1}, None, 0.9)]
    assert run(new_study(FrontSampler(SPACE, cost, seed=0, prior=outside)), 3)


def test_what_it_cannot_do_is_one_line() -> None:
    study = optuna.create_study(direction="maximize", sampler=FrontSampler(SPACE, cost, seed=0))
    with pytest.raises(InvalidValue, match=r"directions must be \['maximize', 'minimize'\]"):
        study.ask(SPACE)
    with pytest.raises(InvalidValue, match="fidelity='length': must be a parameter"):
        FrontSampler(LONG, cost, fidelity="length", lengths=LENGTHS)
    for amount in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidValue, match=r"cost=.* of .*depth.*: must be a finite number above 0"):
            FrontSampler(SPACE, partial(constant, amount), seed=0)
    for lengths in ((), (3, 1), (0, 1)):
        with pytest.raises(InvalidValue, match=r"lengths=.*ascending"):
            FrontSampler(LONG, cost, fidelity="epochs", lengths=lengths)
