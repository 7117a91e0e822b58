"""A GPU's memory: what trainings leave of it, and what becomes of one that finds too little."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from nas import Architecture, ImageData, Recipe, SearchSpace
from nas.architectures.architecture import Input, Stage, StemConv
from nas.data.images import Split
from nas.errors import StudyError, TrainingFailed
from nas.system.memory import not_growing, release_memory
from nas.training import default_objective as default_objective_module
from nas.training.batches import DeviceData
from nas.training.device_lock import exclusive
from nas.training.train import on_device, train

MIB = 2**20
WIDE = Architecture(Input(3, 32), 10, (StemConv(64),), (Stage(2, 256, 8, 256), Stage(2, 256, 8, 256)))


class Stopped(Exception):
    pass


def diverges(network: Architecture, data: DeviceData, recipe: Recipe) -> None:
    with pytest.raises(TrainingFailed):
        train(network, data, replace(recipe, optimizer="sgd", learning_rate=1000.0, weight_decay=1000.0))


def is_stopped(network: Architecture, data: DeviceData, recipe: Recipe) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(network, data, recipe, report=stop)


def ends(network: Architecture, data: DeviceData, recipe: Recipe) -> None:
    train(network, data, recipe)


@pytest.mark.parametrize("training", [ends, is_stopped, diverges])
def test_memory_returns_after_every_end(
    digits: ImageData, network: Architecture, recipe: Recipe, graphs: bool, training: Callable[..., None]
) -> None:
    data = on_device(digits, recipe, "cuda")
    training(network, data, recipe)  # libraries set up what they keep
    release_memory()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    training(network, data, recipe)
    release_memory()
    after = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 2 * MIB


def test_twenty_trainings_do_not_grow_memory(digits: ImageData, recipe: Recipe, graphs: bool) -> None:
    recipe = replace(recipe, epochs=1)
    data = on_device(digits, recipe, "cuda")
    reserved: list[int] = []
    with not_growing() as give_back:
        for number in range(20):
            stages = (Stage(1, 16 + 16 * (number % 5), 4, 32), Stage(1, 32, 8, 32))
            train(Architecture(Input(1, 8), 10, (StemConv(16),), stages), data, recipe)
            give_back()
            reserved.append(torch.cuda.memory_reserved())
    assert max(reserved[10:]) <= max(reserved[:10])


def images_of(size: int, count: int) -> ImageData:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, size, size, 3), generator=rng, dtype=torch.uint8).numpy()
    split = Split(pixels, torch.arange(count).remainder(10).numpy())
    return ImageData("noise", tuple("0123456789"), split, split, split)


def test_what_finds_too_little_memory_is_tried_alone_and_recorded(
    tmp_path: Path, graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace.from_dict(
        {
            "name": "wide",
            "input": {"channels": 3, "size": 32},
            "stem": [{"width": 64}],
            "stages": [{"depth": [1, 2, 3], "mid": [128, 256], "groups": 8, "out": 256}],
            "recipe": {"epochs": 1, "batch_size": 512},
        }
    )
    waited_for: list[str] = []

    def counted(*devices: str) -> Any:
        waited_for.extend(devices)
        return exclusive(*devices)

    monkeypatch.setattr(default_objective_module, "exclusive", counted)
    total = torch.cuda.get_device_properties(0).total_memory
    options: dict[str, Any] = {"runs": tmp_path, "name": "s", "device": "cuda", "fidelities": 1}
    train(WIDE, on_device(images_of(32, 64), Recipe(epochs=1, batch_size=16), "cuda"), Recipe(epochs=1, batch_size=16))
    release_memory()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * MIB) / total)
    try:
        with pytest.raises(StudyError, match="first 3 trainings all failed as out_of_memory"):
            nas.search(space, _arrays(1024), trials=2, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    records = nas.Study.open("s", tmp_path).records()
    assert [(record.state, record.reason) for record in records] == [("failed", "out_of_memory")] * 3
    assert len(waited_for) == 3
    assert waited_for[0].startswith("cuda-")
    study = nas.search(space, _arrays(1024), trials=3, **options)
    assert study.records()[-1].state == "complete"


def _arrays(count: int) -> Any:
    split = images_of(32, count).train
    return split.images, split.labels


def test_a_killed_training_gives_its_memory_back() -> None:
    program = """
import torch
from nas import Recipe, load_data, load_space
from nas.training.train import on_device, train
space = load_space("digits")
held = torch.ones(2**28, device="cuda")  # 1 GiB
recipe = Recipe(epochs=10**5)
data = on_device(load_data("digits", space.input), recipe, "cuda")
train(space.architecture(next(space.points())), data, recipe, report=lambda *_: print("epoch", flush=True))
"""
    torch.ones(1, device="cuda")
    free = torch.cuda.mem_get_info()[0]
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "epoch\n"
    assert torch.cuda.mem_get_info()[0] < free - 1000 * MIB
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 10
    while torch.cuda.mem_get_info()[0] < free - 100 * MIB and time.monotonic() < until:
        time.sleep(0.1)
    assert torch.cuda.mem_get_info()[0] >= free - 100 * MIB
