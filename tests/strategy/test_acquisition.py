import numpy as np
import pytest

from nas.strategy.acquisition import NODES, WEIGHTS, Scale, Staircase, gain_per_epoch
from nas.study.pareto import hypervolume_history

SHARE, PER_CENT, PLAIN = Scale(1.0, 1e-3), Scale(100.0, 1e-3), Scale(None, 1e-3)


@pytest.mark.parametrize(
    ("scale", "level"), [(SHARE, 0.8), (SHARE, 0.0), (PER_CENT, 80.0), (PLAIN, 1.2), (PLAIN, -3.0)]
)
def test_the_improvement_is_its_expectation(scale: Scale, level: float) -> None:
    mean, sd = 1.5, 0.4
    drawn = np.random.default_rng(0).normal(mean, sd, 400_000)
    values = scale.values(drawn)
    expected = np.maximum(values - level, 0).mean()
    assert scale.improvement(np.array(mean), np.array(sd), np.array(level)) == pytest.approx(expected, rel=0.01)


def test_nothing_improves_on_a_perfect_share() -> None:
    assert SHARE.improvement(np.array(5.0), np.array(0.5), np.array(1.0)) == pytest.approx(0, abs=1e-9)


def test_the_scale_is_read_off_the_values() -> None:
    assert Scale.of([0.0, 0.5, 1.0]).perfect == 1
    assert Scale.of([0.5, 1.01]).perfect == 100
    assert Scale.of([0.5, 100.1]).perfect is None
    assert Scale.of([-0.1, 0.5]).perfect is None
    assert Scale.of([50.0, 98.0]).least_error == Scale.of([0.5, 0.98]).least_error == pytest.approx(0.01)
    errors = np.exp(-Scale.of([0.5, 0.98, 1.0]).modelled([0.5, 0.98, 1.0]))
    assert errors == pytest.approx([0.5, 0.02, 0.01])  # no error counts as half of the smallest one
    for scale in (SHARE, PER_CENT, PLAIN):
        assert scale.values(scale.modelled([0.5, 0.9])) == pytest.approx([0.5, 0.9])


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
