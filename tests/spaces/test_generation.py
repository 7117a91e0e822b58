import itertools

import numpy as np
import pytest

from nas import Input, NasError, SearchSpace, cost
from nas.architectures.cost import stem_cost
from nas.spaces.generation import generate_space, usual_budget

SHAPES = [Input(1, 8), Input(1, 28), Input(3, 32), Input(3, 64), Input(3, 96), Input(3, 224)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.2, 1.0, 4.0])
def test_a_space_spreads_over_its_budget(shape: Input, share: float) -> None:
    budget = int(share * usual_budget(shape))
    space = generate_space(shape, 10, max_flops=budget)
    assert (space.input, space.classes, space.max_flops) == (shape, 10, budget)
    assert space.least_cost[0] <= budget / 10
    assert max(stem_cost(stem, shape).flops for stem in space.stems()) <= budget / 3
    assert all(mid % groups == 0 for stage in space.stages for mid, groups in stage.pairs)
    rng = np.random.default_rng(1)
    flops = np.array([cost(space.architecture(space.sample(rng))).flops for _ in range(300)])
    within = flops[flops <= budget]
    assert len(within) > 0.5 * len(flops)
    assert within.max() > 0.8 * budget
    assert np.quantile(within, 0.1) < 0.35 * budget
    assert space.valid >= 5e4


def test_the_map_ends_at_about_four_pixels_and_no_architecture_is_twice_there() -> None:
    for shape in SHAPES:
        space = generate_space(shape, 10)
        last = -(-space.sides[-1][0] // space.stages[-1].stride)
        assert 2 <= last <= 6
        keys = {space.architecture(point).key for point in itertools.islice(space.points(), 2000)}
        assert len(keys) == 2000


def test_the_same_images_and_budget_give_the_same_space() -> None:
    assert generate_space(Input(3, 32), 10) == generate_space(Input(3, 32), 10)
    written = generate_space(Input(3, 32), 10, max_flops=3_000_000, max_params=100_000)
    assert SearchSpace.from_dict(written.to_dict()) == written


def test_a_budget_below_any_network_says_what_the_least_is() -> None:
    with pytest.raises(NasError, match=r"max_flops=1000: no architecture of space 'auto' is that small; nearest valid"):
        generate_space(Input(3, 32), 10, max_flops=1000)
