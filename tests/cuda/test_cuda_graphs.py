"""A training step that is captured as a CUDA graph does what it does eagerly."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nas import Architecture, ImageData, Recipe
from nas.system.cuda_graph import WARM_UP_STEPS, CapturedStep
from nas.system.hardware import CUDA_GRAPHS
from nas.training.augmentation import Augmentation
from nas.training.module import TrainingModule
from nas.training.train import on_device, train
from tests.helpers import AUGMENTED

STEPS = 20
MIRRORED = Augmentation(Recipe(flip=True), classes=10)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "muon", **AUGMENTED},
        {"optimizer": "adamw", "flip": True},
        {"optimizer": "adamw", "class_weights": "balanced", "sampling": "balanced"},
        {"optimizer": "sgd"},
    ],
)
def test_twenty_steps_are_the_eager_ones(
    digits: ImageData, network: Architecture, recipe: Recipe, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, **fields)
    data = on_device(digits, recipe, "cuda")
    weights, losses, drawn = [], [], []
    for graphs in ("0", "1"):
        monkeypatch.setenv(CUDA_GRAPHS, graphs)
        torch.manual_seed(0)
        module = TrainingModule(network, data, recipe, seed=0, report=None)
        made = module.configure_optimizers()
        batches = list(data.train.shuffled(64, module.generator))[:STEPS]
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False), _deterministic():
            module.learn(batches, made)
        assert module.replays == (graphs == "1")
        weights.append(torch.cat([value.detach().flatten() for value in module.network.parameters()]))
        losses.append(module.wait())
        drawn.append(module.generator.get_state())
        module.close()
    assert torch.equal(*drawn)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert (weights[1] - weights[0]).norm() < 1e-2 * weights[0].norm()


class _deterministic:  # noqa: N801
    """Kernels of cuDNN that give the same twice: rounding is not what is compared."""

    def __enter__(self) -> None:
        self._was = torch.backends.cudnn.deterministic
        torch.backends.cudnn.deterministic = True

    def __exit__(self, *_: object) -> None:
        torch.backends.cudnn.deterministic = self._was


def test_crops_differ_between_replays_and_are_those_of_eager_steps(digits: ImageData, recipe: Recipe) -> None:
    data = on_device(digits, recipe, "cuda")
    rows = torch.arange(32, device=data.device)
    seen = torch.empty(32, 1, 8, 8, device=data.device)
    shown: dict[bool, list[Tensor]] = {}
    for captured in (False, True):
        generator = torch.Generator("cuda").manual_seed(5)

        def step(rows: Tensor, generator: torch.Generator = generator) -> None:
            seen.copy_(data.train.augmented(rows, augmentation=MIRRORED, generator=generator)[0])

        run = CapturedStep(step, generator)
        shown[captured] = []
        with run.on_its_stream():
            for _ in range(WARM_UP_STEPS + 5):
                run(rows) if captured else step(rows)
                shown[captured].append(seen.clone())
        assert run.is_captured == captured
        run.close()
    torch.cuda.synchronize()
    assert all(torch.equal(one, other) for one, other in zip(shown[False], shown[True], strict=True))
    replayed = shown[True][WARM_UP_STEPS:]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(replayed))


def test_rows_are_those_that_are_given_to_each_replay() -> None:
    total = torch.zeros((), device="cuda", dtype=torch.long)
    generator = torch.Generator("cuda")

    def step(rows: Tensor) -> None:
        total.add_(rows.sum())

    run = CapturedStep(step, generator)
    with run.on_its_stream():
        for number in range(10):
            run(torch.tensor([number, 100], device="cuda"))
    assert run.is_captured
    assert total.item() == 45 + 1000
    run.close()
    run(torch.tensor([1, 1], device="cuda"))  # eager again
    assert not run.is_captured
    assert total.item() == 1047


def test_a_step_that_cannot_be_captured_is_run_eagerly_and_that_is_said_once(
    in_fresh_process: Callable[..., str],
) -> None:
    """In a process of its own, as a broken capture leaves traces in torch's allocator."""
    program = """
import logging, sys
import torch
from nas.system.cuda_graph import CapturedStep

logging.basicConfig(stream=sys.stdout, format="%(message)s")
drawn = torch.zeros(10, device="cuda")
for attempt in range(2):
    generator = torch.Generator("cuda").manual_seed(5)
    number = 0
    def step(rows):
        global number
        draw = torch.rand((), generator=generator, device="cuda")
        if rows.sum().item() >= 0:  # waits for the GPU
            drawn[number] = draw
    run = CapturedStep(step, generator)
    with run.on_its_stream():
        for number in range(10):
            run(torch.arange(4, device="cuda"))
    assert not run.is_captured
    generator.manual_seed(5)
    expected = torch.stack([torch.rand((), generator=generator, device="cuda") for _ in range(10)])
    assert torch.equal(drawn, expected), (drawn, expected)
assert (torch.ones(1000, 1000, device="cuda") @ torch.ones(1000, 1, device="cuda")).sum().item() == 10**6
"""
    lines = in_fresh_process(program).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training steps are not captured as CUDA graphs: ")


def test_a_whole_training_falls_back(
    digits: ImageData, network: Architecture, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CUDA_GRAPHS, "1")
    monkeypatch.setattr(CapturedStep, "failed", True)  # as after a capture that failed
    result = train(network, on_device(digits, recipe, "cuda"), recipe)
    assert result.accuracy > 0.8
