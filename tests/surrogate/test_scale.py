import numpy as np
import pytest

from nas.surrogate.scale import Scale

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


@pytest.mark.parametrize("scale", [SHARE, PER_CENT, PLAIN])
def test_the_expected_value_is_the_mean_of_the_values(scale: Scale) -> None:
    mean, sd = 1.5, 0.8
    drawn = np.random.default_rng(0).normal(mean, sd, 400_000)
    assert scale.expected(np.array(mean), np.array(sd)) == pytest.approx(scale.values(drawn).mean(), rel=0.01)


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
