import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas import NasError, SearchSpace, cost, load_space
from nas.spaces.stage_choices import StageChoices
from nas.system.resources import ready_spaces
from tests.architectures.test_cost import REGNETX_200MF, RESNEXT_29_32X4
from tests.helpers import TINY, changed


def brute_force(space: SearchSpace) -> list[dict[str, int]]:
    names = list(space.parameters)
    points = [dict(zip(names, values, strict=True)) for values in itertools.product(*space.parameters.values())]
    valid = []
    for point in points:
        try:
            space.architecture(point)
        except NasError:
            continue
        valid.append(point)
    return valid


def test_counts_and_points_are_those_of_brute_force(either: SearchSpace) -> None:
    valid = brute_force(either)
    assert either.combinations == 2 * 3 * 4 * 3 * 4 * 2 * math.prod(len(conv.width) for conv in either.stem)
    assert either.valid == len(valid)
    points = list(either.points())
    assert sorted(map(str, points)) == sorted(map(str, valid))
    assert all(either.point(either.architecture(point)) == point for point in points)


def test_parameters_have_the_names_a_person_would_give_and_single_values_are_none(tiny: SearchSpace) -> None:
    assert tiny.parameters == {
        "stage1.depth": (1, 2),
        "stage1.mid": (8, 12, 16),
        "stage1.groups": (1, 2, 3, 4),
        "stage2.mid": (8, 16, 32),
        "stage2.groups": (1, 4, 8, 16),
        "stage2.out": (16, 32),
    }


def test_samples_reach_every_valid_point_about_equally_often(either: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    drawn: dict[str, int] = {}
    for _ in range(40 * either.valid):
        key = str(either.sample(rng))
        drawn[key] = drawn.get(key, 0) + 1
    assert len(drawn) == either.valid
    assert min(drawn.values()) > 10


@given(st.data())
def test_repair_makes_any_proposal_valid_and_leaves_valid_ones_alone(data: st.DataObject) -> None:
    space = SearchSpace.from_dict(TINY)
    proposal = {name: data.draw(st.sampled_from(values)) for name, values in space.parameters.items()}
    repaired = space.repair(proposal)
    space.architecture(repaired)
    assert space.repair(repaired) == repaired
    try:
        space.architecture(proposal)
    except NasError:
        assert repaired != proposal
    else:
        assert repaired == proposal


def test_repair_takes_the_next_lower_divisor_that_is_a_choice() -> None:
    stage = StageChoices(depth=(1,), mid=(24, 31, 64), groups=(2, 3, 8, 16), out=(8,))
    assert stage.repair(24, 16) == (24, 8)
    assert stage.repair(64, 3) == (64, 2)
    assert stage.repair(31, 8) == (24, 8)  # 31 has no divisor among the groups


def test_least_cost_is_the_least_of_all(either: SearchSpace) -> None:
    every = [cost(either.architecture(point)) for point in either.points()]
    assert either.least_cost == (min(amounts.flops for amounts in every), min(amounts.params for amounts in every))
    assert either.cheapest is not None
    assert cost(either.architecture(either.cheapest)).flops == either.least_cost[0]


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_affordable_points_are_all_within_the_budgets_and_the_nearest_come_first(
    either: SearchSpace, share: float
) -> None:
    every = [cost(either.architecture(point)) for point in either.points()]
    space = either.with_changes(
        max_flops=sorted(amounts.flops for amounts in every)[int(share * (len(every) - 1))],
        max_params=sorted(amounts.params for amounts in every)[int(share * (len(every) - 1))],
    )
    fitting = [point for point in space.points() if space.fits(space.architecture(point))]
    for near in (None, fitting[-1]):
        found = list(space.affordable(near))
        assert sorted(map(str, found)) == sorted(map(str, fitting))
        assert near is None or found[0] == near


def test_budgets_are_inclusive(tiny: SearchSpace) -> None:
    architecture = tiny.architecture(tiny.sample(np.random.default_rng(1)))
    amounts = cost(architecture)
    assert tiny.with_changes(max_flops=amounts.flops, max_params=amounts.params).fits(architecture)
    assert not tiny.with_changes(max_flops=amounts.flops - 1).fits(architecture)
    assert not tiny.with_changes(max_params=amounts.params - 1).fits(architecture)


def test_dict_gives_the_same_space_back(either: SearchSpace) -> None:
    assert SearchSpace.from_dict(either.to_dict()) == either


@pytest.mark.parametrize("name", ready_spaces())
def test_ready_spaces_are_valid_and_say_what_they_are_for(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.purpose
    assert SearchSpace.from_dict(space.to_dict()) == space
    assert ready_spaces()[name].read_text().startswith("# ")


def test_the_published_networks_are_in_the_spaces_around_them() -> None:
    resnext, regnet = load_space("resnext29"), load_space("regnet")
    point = resnext.point(RESNEXT_29_32X4)
    assert resnext.architecture(point) == RESNEXT_29_32X4
    assert all(value in resnext.parameters[name] for name, value in point.items())
    point = regnet.point(REGNETX_200MF)
    assert all(value in regnet.parameters[name] for name, value in point.items())
    assert regnet.architecture(point).stages == REGNETX_200MF.stages


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("stages.0.groups", [5, 7], ["stage1", "groups=[5, 7]", "nearest valid for mid=8: groups=4"]),
        ("stages.0.groups", [], ["stage1.groups", "at least one"]),
        ("stages.0.groups", "4", ["stage1.groups='4'", "whole number"]),
        ("stages.1.depth", 0, ["stage2.depth=0", "nearest valid: 1"]),
        ("stages.1.depth", [1, 1], ["stage2.depth", "is repeated"]),
        ("stages.1.depth", None, ["stage2.depth=None", "whole number"]),
        ("stages.0.mid", {"low": 8, "high": 4}, ["stage1.mid.high=4", "nearest valid: 8"]),
        ("stages.0.mid", {"low": 8, "hihg": 4}, ["stage1.mid", "did you mean 'high'"]),
        ("stages.0.mid", {"low": 1, "high": 60000}, ["stage1.mid", "at most 1000"]),
        ("stages.0.width", 8, ["stage1", "unknown key 'width'"]),
        ("stages.0.stride", 16, ["stage1.stride=16", "nearest valid: 8"]),
        ("max_flop", 8, ["unknown key 'max_flop'", "did you mean 'max_flops'"]),
        ("max_flops", 10, ["max_flops=10", "no architecture of space", "is that small", "nearest valid: "]),
        ("max_params", "1 apple", ["max_params=1 apple", "50M"]),
        ("recipe", {"epoch": 3}, ["recipe", "did you mean 'epochs'"]),
        ("recipe", {"epochs": 0}, ["recipe.epochs=0", "nearest valid: 1"]),
        ("recipe", {"optimizer": "adam"}, ["recipe.optimizer='adam'", "did you mean 'adamw'"]),
        ("recipe", {"learning_rate": float("nan")}, ["recipe.learning_rate=nan"]),
        ("recipe", {"crop_padding": 8}, ["recipe.crop_padding=8", "shorter side, 8", "nearest valid: 7"]),
        ("name", 3, ["name=3"]),
        ("stages", None, ["stages=None", "list"]),
    ],
)
def test_a_bad_file_is_one_line_with_file_and_key(tmp_path: Path, path: str, value: Any, parts: list[str]) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(changed(TINY, path, value)))
    with pytest.raises(NasError) as raised:
        load_space(file)
    message = str(raised.value)
    assert "\n" not in message
    for part in [str(file), *parts]:
        assert part in message


def test_an_unknown_name_lists_the_ready_ones() -> None:
    with pytest.raises(NasError, match=r"did you mean 'digits'.*ready: digits, groupconv32"):
        load_space("digit")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "digits"])
def test_most_flops_are_those_of_the_largest_architecture(tiny: SearchSpace, name: str) -> None:
    space = tiny if name == "tiny" else load_space(name)
    largest = max(cost(space.architecture(point)).flops for point in space.points())
    assert space.most_flops == largest
    assert space.with_changes(max_flops=largest - 1).most_flops == largest - 1


@given(data=st.data())
def test_the_least_and_the_most_are_those_of_all_architectures(data: st.DataObject) -> None:
    def values(most: int, size: int) -> list[int]:
        return data.draw(st.lists(st.integers(1, most), min_size=1, max_size=size, unique=True))

    def stage() -> dict[str, Any]:
        return {
            "depth": values(3, 2),
            "mid": values(24, 4),
            "groups": [1, *(group for group in values(24, 3) if group > 1)],
            "out": data.draw(st.just("mid") | st.lists(st.integers(1, 24), min_size=1, max_size=3, unique=True)),
            "stride": data.draw(st.integers(1, 2)),
        }

    stages = [stage() for _ in range(data.draw(st.integers(1, 2)))]
    stem = [
        {"width": values(24, 3), "stride": data.draw(st.integers(1, 2))} for _ in range(data.draw(st.integers(1, 2)))
    ]
    space = SearchSpace.from_dict({"name": "x", "input": {"channels": 3, "size": 16}, "stem": stem, "stages": stages})
    every = [cost(space.architecture(point)) for point in space.points()]
    assert space.least_cost == (min(each.flops for each in every), min(each.params for each in every))
    assert space.most_flops == max(each.flops for each in every)


def test_a_value_that_is_none_of_the_choices_is_no_point(tiny: SearchSpace) -> None:
    point = next(tiny.points())
    with pytest.raises(NasError, match=r"stage1.mid=9: must be one of \(8, 12, 16\)"):
        tiny.architecture({**point, "stage1.mid": 9})
