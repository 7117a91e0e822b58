from collections import Counter
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from nas.strategy.candidates import SAMPLED, Candidates

SMALL = {"mid": IntDistribution(8, 32, step=8), "groups": CategoricalDistribution((1, 3, 8))}


def flops(params: dict[str, Any]) -> float:
    return float(params["mid"] ** 2 / params["groups"])


def divides(params: dict[str, Any]) -> bool:
    return bool(params["mid"] % params["groups"] == 0)


def test_all_of_a_small_space_are_candidates_and_each_cost_is_asked_once() -> None:
    asked: Counter[tuple[int, int]] = Counter()

    def counted(params: dict[str, Any]) -> float:
        asked[params["mid"], params["groups"]] += 1
        return flops(params)

    candidates = Candidates(SMALL, counted, is_valid=divides)
    assert candidates.complete
    assert sorted(candidates.sample) == [(8, 1), (8, 8), (16, 1), (16, 8), (24, 1), (24, 3), (24, 8), (32, 1), (32, 8)]
    batch = candidates.batch(candidates.sample)
    assert batch.log_cost == pytest.approx([np.log(mid**2 / groups) for mid, groups in candidates.sample])
    assert batch.features.min() == 0
    assert batch.features.max() == 1
    assert set(asked.values()) == {1}


def test_a_point_of_another_space_is_none() -> None:
    candidates = Candidates(SMALL, flops, is_valid=divides)
    assert candidates.point({"mid": 8, "groups": 1}) == (8, 1)
    for params in ({"mid": 8}, {"mid": 9, "groups": 1}, {"mid": 8, "groups": "x"}, {"mid": 16, "groups": 3}):
        assert candidates.point(params) is None


def test_neighbours_are_valid_and_differ_in_one_or_two_parameters() -> None:
    candidates = Candidates(SMALL, flops, is_valid=divides)
    near = candidates.neighbours((24, 3), np.random.default_rng(0))
    assert {(24, 1), (24, 8)} <= set(near)
    assert len(near) > 2  # another width, whose groups had to change as well
    assert all(divides(candidates.params(point)) for point in near)
    assert (24, 3) not in near


def test_of_a_large_space_a_sample_that_is_spread_over_log_cost_is_considered() -> None:
    space = {f"x{n}": IntDistribution(0, 9) for n in range(6)}
    candidates = Candidates(space, lambda params: 1 + sum(params.values()), seed=3)
    assert not candidates.complete
    assert 0.95 * SAMPLED < len(candidates.sample) == len(set(candidates.sample)) <= SAMPLED
    costs = [1 + sum(point) for point in candidates.sample]
    assert min(costs) == 1  # a random point costs 28 on average, and hardly any less than 10
    assert np.quantile(costs, 0.1) < 15
    assert np.quantile(costs, 0.9) > 35
    assert np.ptp([np.mean([point[axis] for point in candidates.sample]) for axis in range(6)]) < 0.8
    again = Candidates(space, lambda params: 1 + sum(params.values()), seed=3)
    assert again.sample == candidates.sample


def test_the_cheapest_point_is_a_candidate_where_it_is_told_though_single_changes_do_not_lead_there() -> None:
    space = {f"x{n}": IntDistribution(0, 9) for n in range(6)}

    def spent(params: dict[str, Any]) -> float:
        return 0.5 if not any(params.values()) else 100 - sum(params.values())

    cheapest = dict.fromkeys(space, 0)
    assert (0,) * 6 not in Candidates(space, spent, seed=3).sample
    told = Candidates(space, spent, cheapest=cheapest, seed=3)
    assert told.log_cost(min(told.sample, key=told.log_cost)) == np.log(0.5)
    assert Candidates(SMALL, flops, is_valid=divides, cheapest={"mid": 8, "groups": 3}).complete  # not valid: ignored


def test_a_cost_may_be_a_logarithm_and_points_may_be_drawn() -> None:
    space = {f"x{n}": IntDistribution(0, 9) for n in range(6)}
    drawn = Candidates(
        space,
        lambda params: -float(params["x0"]),
        cost_is_log=True,
        is_valid=lambda params: sum(params.values()) == 1,
        draw=lambda rng: {f"x{n}": int(n == k) for k in [rng.integers(6)] for n in range(6)},
    )
    assert len(drawn.sample) == 6
    assert {drawn.log_cost(point) for point in drawn.sample} == {0.0, -1.0}
    nothing = Candidates(space, lambda _: 1.0, is_valid=lambda _: False, draw=lambda _: None)
    assert nothing.sample == []
