from dataclasses import replace

import pytest

from nas.architectures.architecture import Input, StemConv
from nas.architectures.edits import edited
from nas.spaces.built_in import load_space
from nas.spaces.membership import misfits
from nas.spaces.search_space import SearchSpace


def test_a_space_holds_its_own_points(tiny: SearchSpace) -> None:
    assert [misfits(tiny.architecture(point), tiny) for point in tiny.points()] == [[]] * tiny.valid
    following = load_space("resnext29")
    assert misfits(following.architecture(following.cheapest or {}), following) == []


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ("stage1.depth=3", "stage1.depth=3: the space has 1, 2"),
        ("stage1.groups=8", "stage1.groups=8: the space has 1, 2, 3, 4"),
        ("stage2.out=64", "stage2.out=64: the space has 16, 32"),
        ("stage1.stride=1", "stage1.stride=1: the space has 2"),
        ("stem1.width=4", "stem1.width=4: the space has 8"),
    ],
)
def test_a_value_outside_is_named(tiny: SearchSpace, edit: str, line: str) -> None:
    inside = tiny.architecture(next(iter(tiny.points())))
    assert misfits(edited(inside, [edit]), tiny) == [line]


def test_shapes_and_budgets_count_and_classes_do_not(tiny: SearchSpace) -> None:
    inside = tiny.architecture(list(tiny.points())[-1])
    assert misfits(replace(inside, classes=7), tiny) == []
    assert misfits(replace(inside, input=Input(3, 8)), tiny) == [
        "input=3×8×8: the space has 1×8×8 (channels × height × width)"
    ]
    assert misfits(replace(inside, stem=(*inside.stem, StemConv(8))), tiny) == ["stem: it has 2, the space 1"]
    small = tiny.with_changes(max_flops=tiny.least_cost[0])
    assert misfits(inside, small)[0].startswith(f"max_flops={tiny.least_cost[0]:,}: it has ")
