import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import Architecture, Input, NasError, Stage, StemConv, fit_groups
from tests.helpers import changed

VALID: dict[str, Any] = {
    "input": {"channels": 3, "size": 32},
    "classes": 10,
    "stem": [{"width": 64, "stride": 1}],
    "stages": [
        {"depth": 3, "mid": 128, "groups": 32, "out": 256, "stride": 1},
        {"depth": 3, "mid": 256, "groups": 32, "out": 512, "stride": 2},
    ],
    "shortcuts": "mean",
}


def test_dict_and_yaml_give_the_same_architecture_back(tmp_path: Path) -> None:
    architecture = Architecture.from_dict(VALID)
    assert architecture.to_dict() == VALID
    file = tmp_path / "architecture.yaml"
    file.write_text(architecture.to_yaml())
    again = Architecture.from_yaml(file)
    assert again == architecture
    assert hash(again) == hash(architecture)


def test_name_lists_the_stem_depths_groups_times_width_per_group_and_outputs() -> None:
    assert Architecture.from_dict(VALID).name == "64 3-3 32×4-32×8 256-512"


def test_key_is_the_same_in_every_process_and_differs_with_any_field() -> None:
    assert Architecture.from_dict(VALID).key == "3fb5512257c9cd8f"
    strided = changed(VALID, "shortcuts", "strided")
    assert Architecture.from_dict(strided).key == "854535f74e70f71a"  # as before there was a choice
    others = [changed(VALID, "classes", 11), changed(VALID, "stem.0.width", 32), changed(VALID, "stages.1.out", 256)]
    assert len({Architecture.from_dict(data).key for data in [VALID, strided, *others]}) == 5


def test_left_out_stem_and_strides_are_those_of_group_conv_net() -> None:
    architecture = Architecture.from_dict(
        {
            "input": {"channels": 3, "size": 32},
            "classes": 2,
            "stages": [{"depth": 1, "mid": 8, "groups": 2, "out": 8}],
        }
    )
    assert [(conv.width, conv.stride) for conv in architecture.stem] == [(32, 1), (32, 1)]
    assert architecture.stages[0].stride == 2
    assert architecture.shortcuts == "mean"


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("stages.0.groups", 5, ["stage1.groups=5", "128", "nearest valid: 4"]),
        ("stages.1.groups", 200, ["stage2.groups=200", "256", "nearest valid: 256"]),
        ("stages.1.groups", 300, ["stage2.groups=300", "nearest valid: 256"]),
        ("stages.0.groups", 0, ["stage1.groups=0", "nearest valid: 1"]),
        ("stages.0.depth", -1, ["stage1.depth=-1", "nearest valid: 1"]),
        ("stages.0.mid", 128.0, ["stage1.mid=128.0", "whole number"]),
        ("stages.0.out", True, ["stage1.out=True", "whole number"]),
        ("stages.1.stride", "2", ["stage2.stride='2'", "whole number"]),
        ("stages.1.stride", 64, ["stage2.stride=64", "32 pixels", "nearest valid: 32"]),
        ("stem.0.width", 10**9, ["stem1.width=1000000000", "nearest valid: 65536"]),
        ("classes", 1, ["classes=1", "nearest valid: 2"]),
        ("input.channels", 0, ["input.channels=0", "nearest valid: 1"]),
        ("input.size", None, ["input.size=None", "whole number"]),
        ("input", {"channels": 3, "height": 32, "width": 0}, ["input.width=0", "nearest valid: 1"]),
        ("input", {"channels": 3, "height": "a", "width": 8}, ["input.height='a'", "whole number"]),
        ("input", {"channels": 3, "height": 32}, ["input: missing key 'width'"]),
        ("input", {"channels": 3, "height": 32, "width": 32, "size": 32}, ["input: unknown key 'size'"]),
        ("stages", [], ["stages", "at least one"]),
        ("stages", {"depth": 1}, ["stages", "list"]),
        ("stem", [], ["stem", "at least one"]),
        ("stages.0.group", 4, ["stage1", "unknown key 'group'", "did you mean 'groups'"]),
        ("input", 32, ["input=32", "mapping"]),
    ],
)
def test_what_is_wrong_is_named_in_one_line(path: str, value: Any, parts: list[str]) -> None:
    with pytest.raises(NasError) as raised:
        Architecture.from_dict(changed(VALID, path, value))
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_an_input_that_is_not_square_is_written_and_read() -> None:
    oblong = Architecture.from_dict({**VALID, "input": {"channels": 3, "height": 48, "width": 96}})
    assert oblong.input == Input(3, 48, 96) != Input(3, 96, 48)
    assert str(oblong.input) == "48×96"
    assert oblong.to_dict()["input"] == {"channels": 3, "height": 48, "width": 96}
    assert Architecture.from_dict(oblong.to_dict()) == oblong
    square = Architecture.from_dict({**VALID, "input": {"channels": 3, "height": 32, "width": 32}})
    assert square == Architecture.from_dict(VALID)
    assert square.to_dict()["input"] == {"channels": 3, "size": 32}  # as ever, so that its key stays


def test_an_input_too_small_for_its_strides_is_refused_at_the_stage_that_has_no_pixels_left() -> None:
    with pytest.raises(NasError, match=r"stage2.stride=2.*only 1 pixel wide.*nearest valid: 1"):
        Architecture.from_dict({**changed(VALID, "stages.0.stride", 2), "input": {"channels": 3, "size": 2}})


def test_a_missing_key_is_named() -> None:
    data = copy.deepcopy(VALID)
    del data["stages"][1]["mid"]
    with pytest.raises(NasError, match="stage2: missing key 'mid'"):
        Architecture.from_dict(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1"),
        ("input: {channels: 3, size: 8}\ninput: {channels: 1, size: 8}", "is repeated"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
        ("[" * 5000, "nested too deeply"),
        ("!!python/object:os.system x", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(NasError) as raised:
        Architecture.from_yaml(file)
    assert str(file) in str(raised.value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@given(mid=st.integers(1, 2000), groups=st.integers(-3, 3000))
def test_fit_groups_is_the_largest_divisor_not_above(mid: int, groups: int) -> None:
    fitted = fit_groups(mid, groups)
    allowed = [divisor for divisor in range(1, mid + 1) if mid % divisor == 0 and divisor <= max(groups, 1)]
    assert fitted == max(allowed)


def test_architectures_are_alike_whatever_their_number_of_classes() -> None:
    one = Architecture(Input(3, 32), 10, (StemConv(8),), (Stage(1, 8, 2, 16),))
    assert one.alike(replace(one, classes=100))
    assert not one.alike(replace(one, stem=(StemConv(16),)))
    assert not one.alike(replace(one, input=Input(1, 32)))
    assert not one.alike(replace(one, stages=(Stage(1, 8, 4, 16),)))
