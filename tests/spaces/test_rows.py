import pytest

from nas import Input, NasError, SearchSpace
from nas.spaces.built_in import load_space
from nas.spaces.generation import generate_space
from nas.spaces.rows import PART, differences, from_rows, to_rows
from nas.system.resources import ready_spaces


@pytest.mark.parametrize("name", ready_spaces())
def test_a_space_and_its_rows_are_the_same(name: str) -> None:
    space = load_space(name)
    assert from_rows(space, to_rows(space)) == space


def test_a_space_made_for_images_is_not_changed_by_being_shown() -> None:
    space = generate_space(Input(3, 28), 7, max_flops=4_000_000)
    assert from_rows(space, to_rows(space)) == space


def test_rows_are_edited_added_and_removed(tiny: SearchSpace) -> None:
    rows = to_rows(tiny)
    *rest, last = rows
    changed = from_rows(tiny, [*rest, last | {"mid": "8;16  32", "out": "mid"}, last | {PART: "stage 9"}])
    assert changed.stages[-2].mid == (8, 16, 32)
    assert changed.stages[-2].out is None
    assert len(changed.stages) == len(tiny.stages) + 1
    assert len(from_rows(tiny, rest).stages) == len(tiny.stages) - 1
    assert changed.recipe == tiny.recipe


def test_what_cannot_be_read_names_the_field(tiny: SearchSpace) -> None:
    *rest, last = to_rows(tiny)
    for field, typed, said in (
        ("mid", "8, x", r"stage\d\.mid='8, x': must be whole numbers, separated by commas"),
        ("depth", None, r"stage\d\.depth=None: must be whole numbers"),
        ("groups", "5", "none of groups=.* divides any of mid"),
        ("stride", 0, r"stage\d\.stride=0"),
    ):
        with pytest.raises(NasError, match=said):
            from_rows(tiny, [*rest, last | {field: typed}])


def test_what_two_spaces_do_not_share_is_listed(tiny: SearchSpace) -> None:
    rows = to_rows(tiny)
    *rest, last = rows
    changed = from_rows(tiny, [*rest, last | {"depth": "7"}, last | {PART: "stage 9"}])
    changed = changed.with_changes(max_flops=50_000)
    name = last[PART]
    assert differences(tiny, changed) == [
        "stage 3: added",
        f"{name} depth: {last['depth']} → 7",
        f"max_flops: {tiny.max_flops or 'no limit'} → 50000",
    ]
    assert differences(changed, tiny)[0] == "stage 3: removed"
    assert differences(tiny, tiny) == []
