import numpy as np
import pytest

from nas import SearchSpace, cost, load_space
from nas.spaces.preflight import estimate, preflight


@pytest.mark.parametrize("budgets", [{}, {"max_flops": 60_000}, {"max_flops": 60_000, "max_params": 3_000}])
def test_exact_counts_and_costs_are_those_of_every_architecture(either: SearchSpace, budgets: dict[str, int]) -> None:
    space = either.with_changes(**budgets)
    every = [space.architecture(point) for point in space.points()]
    fitting = [architecture for architecture in every if space.fits(architecture)]
    report = preflight(space)
    assert report.exact
    assert 0 < report.within_budgets == len(fitting)
    for name in ("flops", "params"):
        values = [getattr(cost(architecture), name) for architecture in fitting]
        assert getattr(report, name) == (min(values), int(np.median(values)), max(values))
    assert len(report.examples) == 3
    assert all(example in fitting for example in report.examples)


def test_large_spaces_are_sampled_and_say_so() -> None:
    report = preflight(load_space("regnet"))
    assert not report.exact
    assert 0.9 * report.space.valid < report.within_budgets <= report.space.valid
    assert report.flops.smallest < report.flops.median < report.flops.largest <= 400_000_000
    assert report.flops.smallest == report.space.least_cost[0]  # which is known without a sample


def test_estimate_grows_with_trials_and_images(tiny: SearchSpace) -> None:
    report = preflight(tiny)
    one = estimate(report, trials=1, images=1000, device="cpu")
    assert one.epochs == tiny.recipe.epochs
    assert 0 < one.seconds < 60
    many = estimate(report, trials=100, images=10_000, device="cpu")
    assert many.seconds > 50 * one.seconds
