import numpy as np
import pytest

from nas.strategy.acquisition import NODES, WEIGHTS, Staircase, gain_per_epoch
from nas.study.pareto import hypervolume_history
from nas.surrogate.scale import Scale

SHARE = Scale(1.0, 1e-3)


def test_the_gain_is_the_expected_growth_of_the_hypervolume() -> None:
    log_cost, values = np.log([100.0, 300.0, 900.0]), np.array([0.5, 0.4, 0.7])
    right, reference = np.log(2000.0), 0.3
    front = Staircase.of(log_cost, values, reference=reference, right=right)
    assert front.levels.tolist() == [0.3, 0.5, 0.7]  # the second point is beaten
    candidates = np.log([50.0, 100.0, 500.0, 1999.0, 2000.0])
    mean, sd = np.array([0.6, 0.9, 1.0, 2.0, 2.0]), np.array([0.2, 0.3, 0.4, 0.5, 0.5])
    found = front.expected_gain(candidates, mean, sd, scale=SHARE)
    rng = np.random.default_rng(1)
    box = {"chance": reference, "least_flops": 50.0, "most_flops": 2000.0}
    area = (1 - reference) * np.log(2000 / 50)
    for at, flops in enumerate(np.exp(candidates)):
        drawn = 1 - np.exp(-rng.normal(mean[at], sd[at], 4000))
        grown = [
            np.diff(hypervolume_history([*values, y], [100, 300, 900, flops], **box)[-2:])[0] * area for y in drawn
        ]
        assert found[at] == pytest.approx(np.mean(grown), rel=0.05, abs=1e-6)
    assert found[-1] == 0  # the dearest point has no width to gain


def test_an_empty_front_is_its_reference() -> None:
    front = Staircase.of(np.array([]), np.array([]), reference=0.1, right=np.log(10.0))
    gain = front.expected_gain(np.log([1.0]), np.array([50.0]), np.array([0.01]), scale=SHARE)
    assert gain == pytest.approx(0.9 * np.log(10))


def test_the_rate_is_the_price_at_which_looking_pays_for_itself() -> None:
    rng = np.random.default_rng(0)
    gains = rng.exponential(size=(len(NODES), 20))
    short, full = 1.0, 9.0
    rate = gain_per_epoch(gains, short=short, full=full)
    paid = (WEIGHTS[:, None] * np.maximum(gains - rate * full, 0)).sum(axis=0)
    assert paid == pytest.approx(rate * short)


def test_looking_is_worth_nothing_where_it_tells_nothing() -> None:
    same = np.full((len(NODES), 1), 3.0)
    assert gain_per_epoch(same, short=1, full=9) == pytest.approx(3 / 10)  # below 3 / 9, the rate of not looking
    telling = np.where(NODES[:, None] > 1, 3.0 / WEIGHTS[NODES > 1].sum(), 0.0)  # the same in the mean
    assert gain_per_epoch(telling, short=1, full=9)[0] > 3 / 9
