import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from nas.architectures import profiler as profiler_module
from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.cost import cost
from nas.architectures.latency import Latency
from nas.architectures.profile import (
    AtSize,
    Measured,
    Part,
    Profile,
    crossing_sentence,
    disturbance_sentences,
    equal_flops_sentence,
    pointwise_sentence,
    saving_sentence,
)
from nas.architectures.profiler import dense_twin, narrower_dense_twin, profile, usual_sizes
from nas.cli.profile_tables import show_profile
from nas.errors import InvalidValue
from nas.spaces.built_in import load_space
from tests.architectures.test_cost import RESNEXT_20_16X4
from tests.helpers import Ran

SMALL = Architecture(Input(3, 8), 10, (StemConv(8),), (Stage(1, 16, 4, 16, 1), Stage(2, 32, 8, 32)))


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    """One thread, as several wait for each other where other tests run beside; and no longer than must be."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiler_module, "SECONDS", 0.01)
        yield
    torch.set_num_threads(threads)


def took(median: float, *, spread: float = 0.1, batch: int = 1) -> Latency:
    return Latency(batch, median, median - spread, median + spread, 10, "CPU, 2 threads")


def at(size: int, ones: list[float], *, manys: list[float] | None = None, batch: int = 64) -> AtSize:
    """Networks of 39, 100 and 40 million FLOPs that took so many milliseconds."""
    manys = manys or ones
    rows = zip(("groups", "dense", "narrower dense"), (39, 100, 40), ones, manys, strict=False)
    return AtSize(
        (size, size),
        tuple(
            Measured(name, flops * 10**6, 1000, 1000, took(one), took(many, batch=batch), 2**20)
            for name, flops, one, many in rows
        ),
    )


def test_a_dense_twin_differs_in_groups_alone() -> None:
    twin = dense_twin(SMALL)
    assert [stage.groups for stage in twin.stages] == [1, 1]
    assert [replace(stage, groups=1) for stage in SMALL.stages] == list(twin.stages)
    assert (twin.input, twin.stem, twin.classes) == (SMALL.input, SMALL.stem, SMALL.classes)


def test_a_narrower_dense_twin_has_nearly_the_flops_and_only_other_mids() -> None:
    space, rng = load_space("groupconv32"), np.random.default_rng(0)
    samples = [space.architecture(space.sample(rng)) for _ in range(20)]
    for grouped in [RESNEXT_20_16X4, *samples]:
        twin = narrower_dense_twin(grouped)
        assert cost(twin).flops == pytest.approx(cost(grouped).flops, rel=0.03)
        assert {stage.groups for stage in twin.stages} == {1}
        mids = [(stage.mid, before.mid) for stage, before in zip(twin.stages, grouped.stages, strict=True)]
        assert all(1 <= mid <= before for mid, before in mids)
        same = [replace(stage, mid=1, groups=1) for stage in twin.stages]
        assert same == [replace(stage, mid=1, groups=1) for stage in grouped.stages]


def test_no_common_factor_comes_nearer() -> None:
    wanted, dense = cost(SMALL).flops, dense_twin(SMALL)
    distance = abs(cost(narrower_dense_twin(SMALL)).flops - wanted)
    for step in range(1, 2000):
        stages = tuple(replace(stage, mid=max(1, round(stage.mid * step / 2000))) for stage in dense.stages)
        assert abs(cost(replace(dense, stages=stages)).flops - wanted) >= distance


def test_a_dense_network_is_its_own_twin() -> None:
    dense = dense_twin(SMALL)
    assert narrower_dense_twin(dense) == dense
    found = profile(dense, sizes=[8], device="cpu", batch=2)
    assert [network.name for network in found.sizes[0].networks] == ["dense"]
    assert found.sentences[0] == "The network has no groups: it is its own dense twin."
    assert found.sentences[1].startswith("The 1×1 convolutions are")


def test_the_usual_sizes_are_those_that_the_strides_leave() -> None:
    assert usual_sizes(SMALL) == (8, 32, 64, 128, 224)
    deep = replace(SMALL, input=Input(3, 128), stages=(Stage(1, 8, 2, 8),) * 7)
    assert usual_sizes(deep) == (128, 224)
    with pytest.raises(InvalidValue, match=r"sizes=32: the strides of .*1-1-1-1-1-1-1 .* use it up; nearest valid: 65"):
        profile(deep, sizes=[128, 32], device="cpu")


@pytest.mark.parametrize(
    ("sizes", "line"),
    [([], "sizes=.*at least one"), ([0], "sizes=0: must be from 1"), ([60_000], "sizes=60000: the activations")],
)
def test_sizes_that_cannot_be_measured(sizes: list[int], line: str) -> None:
    with pytest.raises(InvalidValue, match=line):
        profile(SMALL, sizes=sizes, device="cpu")


@pytest.fixture(scope="module")
def small() -> Profile:
    return profile(SMALL, sizes=[16, 8, 16], device="cpu", batch=4)


def test_a_profile_has_each_network_at_each_size(small: Profile) -> None:
    assert [each.sides for each in small.sizes] == [(8, 8), (16, 16)]
    for sides, networks in small.sizes:
        assert [network.name for network in networks] == ["groups", "dense", "narrower dense"]
        groups, dense, _ = networks
        amounts = cost(replace(SMALL, input=Input(3, *sides)))
        assert (groups.flops, groups.params, groups.activations) == (
            amounts.flops,
            amounts.params,
            amounts.activations,
        )
        assert dense.flops > groups.flops
        assert all((network.one.batch, network.many.batch) == (1, 4) for network in networks)
        assert dense.memory > groups.memory > 4 * groups.params / 2
    assert small.sizes[1].networks[0].memory > small.sizes[0].networks[0].memory


def test_parts_add_up_to_the_whole(small: Profile) -> None:
    assert [part.name for part in small.stages] == ["stem", "stage 1", "stage 2", "classifier", "rest"]
    kinds = ["stem", "reduce", "grouped", "expand", "projection", "classifier", "rest"]
    assert sorted(part.name for part in small.kinds) == sorted(kinds)
    amounts = cost(SMALL)
    for parts in (small.stages, small.kinds):
        assert sum(part.flops for part in parts) == amounts.flops
        assert sum(part.params for part in parts) == amounts.params
        assert sum(part.activations for part in parts) == amounts.activations
        assert sum(part.time for part in parts) == pytest.approx(1)


def test_batches_shrink_to_the_memory_and_never_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * cost(dense_twin(SMALL)).activations
    monkeypatch.setattr(profiler_module, "free_memory", lambda: 4 * 8 * needed)
    assert profile(SMALL, sizes=[8], device="cpu").sizes[0].networks[0].many.batch == 8
    monkeypatch.setattr(profiler_module, "free_memory", lambda: needed)
    [networks] = [each.networks for each in profile(SMALL, sizes=[8], device="cpu").sizes]
    assert networks[0].many == networks[0].one


def test_what_groups_save_is_said_with_the_noise() -> None:
    said = saving_sentence(at(32, [6.5, 10, 6], manys=[12, 10, 6]))
    assert said == (
        "At 32×32 the groups save 61 % of the FLOPs of the dense twin; "
        "they take 35 % less time at batch 1 and 20 % more time at batch 64."
    )
    assert "take the same time within the noise at batch 1." in saving_sentence(at(32, [9.9, 10, 6], batch=1))


def test_the_narrower_twin_is_compared_at_equal_flops_only_if_they_are() -> None:
    said = equal_flops_sentence(at(32, [10, 20, 9], manys=[10, 20, 12]))
    assert said == (
        "For 3 % more FLOPs at 32×32, the narrower dense twin takes "
        "10 % less time at batch 1 and 20 % more time at batch 64."
    )
    sides, (groups, *others) = at(32, [10, 20, 9])
    nearer = AtSize(sides, (groups._replace(flops=40_100_000), *others))
    assert equal_flops_sentence(nearer).startswith("For equal FLOPs at 32×32, the narrower dense twin takes 10 % less")


QUICK, SLOW, ALIKE = [5.0, 10.0], [10.0, 5.0], [10.0, 10.1]


@pytest.mark.parametrize(
    ("ones", "manys", "said"),
    [
        ([QUICK] * 3, [QUICK] * 3, "one image at a time and in batches at every size measured"),
        ([SLOW] * 3, [QUICK] * 3, "one image at a time at no size measured, in batches at every size measured"),
        ([SLOW, QUICK, QUICK], [SLOW] * 3, "one image at a time from 64×64 on, in batches at no size measured"),
        ([QUICK, SLOW, QUICK], [SLOW] * 3, "one image at a time only at 32×32 and 128×128, in batches"),
        ([ALIKE, SLOW, QUICK], [SLOW] * 3, "one image at a time only at 128×128 (within the noise at 32×32), in"),
        ([ALIKE] * 3, [SLOW] * 3, "at no size measured (within the noise at 32×32, 64×64 and 128×128), in batches"),
    ],
)
def test_from_where_on_fewer_flops_are_less_time(ones: list[list[float]], manys: list[list[float]], said: str) -> None:
    sizes = [at(size, one, manys=many) for size, one, many in zip((32, 64, 128), ones, manys, strict=True)]
    assert said in crossing_sentence(sizes)


def test_batches_of_one_are_no_batches() -> None:
    said = crossing_sentence([at(32, QUICK, batch=1)])
    assert said == "The groups' fewer FLOPs are fewer milliseconds here: one image at a time at every size measured."


def test_the_share_of_pointwise_convolutions() -> None:
    kinds = [Part(name, 10, 1, 1, 0.2) for name in ("stem", "reduce", "grouped", "expand")]
    assert pointwise_sentence([*kinds, Part("rest", 0, 0, 0, 0.2)], sides=(32, 32)) == (
        "The 1×1 convolutions are 50 % of the FLOPs at 32×32 and 40 % of the time of one image."
    )


def test_a_busy_machine_is_told_of(small: Profile) -> None:
    assert disturbance_sentences(0.05) == ()
    networks = at(32, [10, 20, 30]).networks
    busy = tuple(each._replace(one=each.one._replace(waited=0.62)) for each in networks)
    said = replace(small, sizes=(AtSize((32, 32), busy),)).sentences[-1]
    assert said.startswith("Other programs were in the way: threads waited for a core up to 62 % of the time.")


def test_the_tables_fit_a_hundred_columns(small: Profile) -> None:
    huge = at(224, [1234.5, 2345.6, 1111.1])
    networks = tuple(each._replace(flops=123 * 10**9, params=123 * 10**6, memory=10**9) for each in huge.networks)
    console = Console(width=100, record=True, file=io.StringIO())
    show_profile(console, replace(small, sizes=(*small.sizes, AtSize((224, 224), networks))))
    shown = console.export_text()
    assert "…" not in shown
    for words in ("3×3 grouped", "narrower dense", "224×224", "1234–1235", "multiply–adds", "CPU, 1 thread"):
        assert words in shown


def test_the_command_measures_what_a_file_holds(nas_command: Callable[..., Ran], tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.to_yaml(), encoding="utf-8")
    ran = nas_command("profile", file, "--sizes", "8", "--device", "cpu")
    assert ran.code == 0
    assert "At 8×8 the groups save" in ran.out
    assert ran.err == "measuring at 8×8 pixels\n"
    ran = nas_command("profile", file, "--sizes", "16, 8,8", "--device", "cpu", "--json")
    assert ran.err == ""
    found = json.loads(ran.out)
    assert [each["size"] for each in found["sizes"]] == [8, 16]
    assert found["sizes"][0]["networks"][0]["one"]["median"] > 0
    assert found["architecture"] == SMALL.to_dict()
    assert found["sentences"][0].startswith("At 8×8 the groups save")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--sizes", "32,x"), "nas: sizes='32,x': must be whole numbers of pixels with commas between"),
        (("--sizes", ""), "nas: sizes=''"),
        (("--sizes", "0"), "nas: sizes=0: must be from 1"),
        (("--sizes", "8", "--device", "tpu"), "nas: device='tpu': must be one of auto, cpu, cuda"),
    ],
)
def test_mistakes_are_one_line(
    nas_command: Callable[..., Ran], tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.to_yaml(), encoding="utf-8")
    ran = nas_command("profile", file, *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(line)
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("target", ["nowhere.yaml", "nowhere", "nowhere:3"])
def test_a_target_that_is_not_there(nas_command: Callable[..., Ran], tmp_path: Path, target: str) -> None:
    ran = nas_command("profile", target, "--runs", tmp_path)
    assert ran.code == 2
    assert "no such file" in ran.err or "no study 'nowhere'" in ran.err
