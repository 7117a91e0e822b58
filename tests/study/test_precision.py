import numpy as np
import pytest

from nas.study.precision import least_significant_difference, wilson_interval


def test_wilson_s_interval_is_the_published_one() -> None:
    """Newcombe (1998), table I: 81 of 263 is 0.2553 to 0.3662, 0 of 20 is 0 to 0.1611, 1 of 29 is 0.0061 to 0.1718."""
    for right, images, low, high in ((81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        assert wilson_interval(right / images, images) == pytest.approx((low, high), abs=1e-4)


def test_an_interval_holds_its_accuracy_and_shrinks_with_images() -> None:
    for accuracy in (0.0, 0.3, 0.99, 1.0):
        few, many = wilson_interval(accuracy, 50), wilson_interval(accuracy, 5000)
        assert 0 <= few[0] <= many[0] <= accuracy <= many[1] <= few[1] <= 1


def test_chance_difference_is_the_spread_of_two_measured_accuracies() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.binomial(300, 0.9, size=(20_000, 2)) / 300
    spread = np.std(pairs[:, 0] - pairs[:, 1])
    assert least_significant_difference(0.9, 300) == pytest.approx(2 * spread, rel=0.05)
    assert least_significant_difference(1.0, 300) > 0
