"""Networks drawn by hand: they follow their published rules, lie in the space, and spread over its FLOPs."""

import itertools

import pytest

from nas import Input, SearchSpace, cost, load_space
from nas.spaces.generation import generate_space
from nas.spaces.references import CLOSE, NEAR, references

SPACES = [
    load_space("digits"),
    load_space("groupconv32"),
    load_space("regnet"),
    generate_space(Input(1, 28), 10, max_flops=8_000_000),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.name}-{space.input.size}")
def test_references_follow_their_rules_within_the_space(space: SearchSpace) -> None:
    found = references(space)
    assert {family for family, _ in found} == {"ResNet-like", "ResNeXt-like", "RegNet-like"}
    for family, architecture in found:
        assert space.architecture(space.point(architecture)) == architecture
        assert space.fits(architecture)
        stages = architecture.stages
        ratios = [after.mid / before.mid for before, after in itertools.pairwise(stages)]
        if family == "RegNet-like":
            assert len({stage.mid // stage.groups for stage in stages}) == 1
            assert all(ratio > 1 for ratio in ratios)
        else:
            assert len({stage.groups for stage in stages}) == 1
            assert (stages[0].groups == 1) == (family == "ResNet-like")
            assert all(2 / NEAR**2 <= ratio <= 2 * NEAR**2 for ratio in ratios)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.name}-{space.input.size}")
def test_references_come_at_three_flops_the_middle_one_first(space: SearchSpace) -> None:
    flops = [cost(architecture).flops for _, architecture in references(space)]
    assert 3 <= len(flops) == len(set(flops)) <= 9
    assert space.least_cost[0] <= min(flops) < flops[0] < max(flops) <= space.most_flops
    middle = (space.least_cost[0] * space.most_flops) ** 0.5
    assert middle / CLOSE <= flops[0] <= middle * CLOSE


def test_a_family_that_a_space_cannot_hold_is_left_out() -> None:
    stage = {"depth": 1, "mid": 16, "groups": [1, 4], "out": 16}
    equal = SearchSpace.from_dict({"name": "equal", "input": {"channels": 1, "size": 8}, "stages": [stage, stage]})
    assert references(equal) == []  # no widths that double or grow
    wider = {**stage, "mid": [16, 32], "groups": 1}
    without_groups = SearchSpace.from_dict({**equal.to_dict(), "stages": [{**stage, "groups": 1}, wider]})
    assert {family for family, _ in references(without_groups)} == {"ResNet-like"}
