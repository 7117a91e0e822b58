"""One training on a GPU: that it learns what it learns on a CPU, and that what is recorded of it is true."""

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nas
from nas import Architecture, ImageData, Recipe, build_network
from nas.architectures.architecture import Input, Stage, StemConv
from nas.architectures.weights import save_weights
from nas.system.cuda_graph import CapturedStep
from nas.training import checkpoint as checkpoint_module
from nas.training.augmentation import Augmentation
from nas.training.checkpoint import Checkpoint, Progress, Trainee
from nas.training.module import TrainingModule, one_cycle
from nas.training.objective import Teacher
from nas.training.train import evaluate, on_device, train
from nas.training.trainer import in_half
from tests.helpers import AUGMENTED, checkpoint_every_epoch

SEEDS = (0, 1, 2)
PLAIN = Augmentation(Recipe(), classes=10)
MIRRORED = Augmentation(Recipe(flip=True), classes=10)


def module_of(network: Architecture, data: Any, recipe: Recipe, *, seed: int = 0) -> TrainingModule:
    torch.manual_seed(seed)
    return TrainingModule(network, data, recipe, seed=seed, report=None)


def relative_distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    flat, others = (torch.cat([value.detach().double().cpu().flatten() for value in x.values()]) for x in (one, other))
    return float((flat - others).norm() / others.norm())


def test_the_digits_are_learned_as_on_a_cpu(
    digits: ImageData, network: Architecture, recipe: Recipe, graphs: bool
) -> None:
    recipe = replace(recipe, epochs=8)
    reached = {
        device: [train(network, on_device(digits, recipe, device), recipe, seed=seed).accuracy for seed in SEEDS]
        for device in ("cuda", "cpu")
    }
    spread = math.sqrt(sum(statistics.variance(values) for values in reached.values()) / len(SEEDS))
    assert np.mean(reached["cpu"]) > 0.9
    assert np.mean(reached["cuda"]) > np.mean(reached["cpu"]) - 2 * spread - 0.01


def test_a_recorded_accuracy_is_found_again_on_the_gpu_and_on_the_cpu(
    digits: ImageData, network: Architecture, recipe: Recipe, graphs: bool
) -> None:
    data = on_device(digits, recipe, "cuda")
    result = train(network, data, recipe)
    assert in_half(data.device, 0)  # else this shows little
    assert evaluate(network, result.weights, data, recipe=recipe) == result.accuracy
    on_cpu = evaluate(network, result.weights, on_device(digits, recipe, "cpu"), recipe=recipe)
    assert abs(on_cpu - result.accuracy) * len(digits.validation.labels) <= 1


def test_the_confusion_matrix_is_the_cpu_s(digits: ImageData, network: Architecture, recipe: Recipe) -> None:
    result = train(network, on_device(digits, recipe, "cuda"), recipe)
    images, labels = on_device(digits, recipe, "cpu").validation.plain(slice(None))
    model = build_network(network).eval()
    model.load_state_dict(result.weights)
    with torch.inference_mode():
        found = model(images).argmax(dim=1)
    counted = np.zeros((10, 10), dtype=int)
    np.add.at(counted, (labels.numpy(), found.numpy()), 1)
    assert abs(result.confusion - counted).sum() <= 2


def test_each_step_under_autocast_sees_the_weights_of_the_one_before(
    digits: ImageData, network: Architecture, recipe: Recipe
) -> None:
    recipe = replace(recipe, epochs=1, optimizer="sgd", learning_rate=0.1, weight_decay=0.0, crop_padding=0)
    data = on_device(digits, recipe, "cuda")

    def by_hand(*, one_region: bool) -> dict[str, Tensor]:
        """In one region of autocast, whose cache keeps the converted weights of the first step; or in one a step."""
        torch.manual_seed(3)
        model = build_network(network).to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        generator = torch.Generator(data.device).manual_seed(3)
        steps = len(data.train) // recipe.batch_size
        with torch.autocast("cuda", torch.bfloat16) if one_region else nullcontext():
            for step, rows in enumerate(data.train.shuffled(recipe.batch_size, generator)):
                optimizer.param_groups[0]["lr"] = 0.1 * one_cycle(step / steps, recipe.warmup)
                images, labels = data.train.augmented(rows, augmentation=PLAIN, generator=generator)
                with torch.autocast("cuda", torch.bfloat16):
                    loss = F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return dict(model.named_parameters())

    result = train(network, data, recipe, seed=3)
    fresh, stale = by_hand(one_region=False), by_hand(one_region=True)
    ours = {name: result.weights[name] for name in fresh}
    assert relative_distance(ours, fresh) < 0.2 * relative_distance(ours, stale)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "muon", **AUGMENTED},
        {"optimizer": "adamw", **AUGMENTED},
        {"optimizer": "sgd", **AUGMENTED},
        {"optimizer": "adamw", "class_weights": "balanced"},
    ],
)
def test_no_step_waits_for_the_gpu(
    digits: ImageData, network: Architecture, recipe: Recipe, fields: dict[str, Any]
) -> None:
    recipe = replace(recipe, **fields)
    data = on_device(digits, recipe, "cuda")
    module = module_of(network, data, recipe)
    made, rows = module.configure_optimizers(), torch.arange(64, device=data.device)
    slices = list(module.val_dataloader())
    module.on_validation_epoch_start()
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False), _waiting_is_an_error():
        module.learn([rows] * 5, made)
        with torch.inference_mode():
            for part in slices:
                module.validation_step(part)
        with pytest.raises(RuntimeError, match="synchronizing"):
            module.wait()


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_streamed_batches_are_the_resident_ones(
    digits: ImageData, network: Architecture, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(recipe, flip=True)
    resident = on_device(digits, recipe, "cuda")
    streamed = on_device(digits, recipe, "cuda", share=1e-12)
    assert (resident.train.streamed, streamed.train.streamed) == (False, True)
    batches = []
    for images in (resident.train, streamed.train):
        generator = torch.Generator("cuda").manual_seed(1)
        rows = list(images.shuffled(64, generator))
        batches.append([images.augmented(some, augmentation=MIRRORED, generator=generator) for some in rows])
    for one, other in zip(*batches, strict=True):
        assert one[0].is_cuda
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert torch.equal(resident.validation.plain(slice(9))[0], streamed.validation.plain(slice(9))[0])
    monkeypatch.setenv("NAS_CUDA_GRAPHS", "1")  # is for resident images alone
    assert train(network, streamed, recipe).accuracy > 0.5


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_a_checkpoint_restores_optimiser_and_random_numbers(
    *,
    digits: ImageData,
    network: Architecture,
    recipe: Recipe,
    tmp_path: Path,
    graphs: bool,
    optimizer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint_module, "SECONDS_BEFORE_FIRST", 0.0)
    recipe = replace(recipe, optimizer=optimizer)
    data, file = on_device(digits, recipe, "cuda"), tmp_path / "checkpoint"
    rows = torch.arange(64, device=data.device)
    module = module_of(network, data, recipe)
    made = module.configure_optimizers()
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        module.learn([rows] * 6, made)
        Checkpoint(file, {}).save(Trainee(module.network, made, module.generator), progress=Progress((0.5,), 6))
        assert made.state  # which is put back
        module.learn([rows] * 3, made)
        module.close()

        other = module_of(network, data, recipe, seed=9)
        theirs = other.configure_optimizers()
        checkpoint = Checkpoint(file, {})
        assert checkpoint.progress() == Progress((0.5,), 6)
        assert checkpoint.holds(Trainee(other.network, theirs, other.generator))
        checkpoint.restore(Trainee(other.network, theirs, other.generator))
        assert all(value.is_cuda for state in theirs.state.values() for value in state.values() if value is not None)
        other.steps_done = 6
        other.learn([rows] * 3, theirs)
        other.close()
    assert torch.equal(module.generator.get_state(), other.generator.get_state())
    assert relative_distance(dict(other.network.named_parameters()), dict(module.network.named_parameters())) < 1e-3


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_an_interrupted_training_ends_like_an_undisturbed_one(
    *,
    digits: ImageData,
    network: Architecture,
    recipe: Recipe,
    tmp_path: Path,
    optimizer: str,
    graphs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint_every_epoch(monkeypatch)
    recipe = replace(recipe, optimizer=optimizer)
    data, file = on_device(digits, recipe, "cuda"), tmp_path / "checkpoint"
    restored: list[Trainee] = []
    restore = Checkpoint.restore

    def seen(self: Checkpoint, *trainees: Trainee) -> None:
        restored.extend(trainees)
        restore(self, *trainees)

    monkeypatch.setattr(Checkpoint, "restore", seen)
    undisturbed = train(network, data, recipe, seed=3)

    def interrupt(epoch: int, _: float) -> None:
        if epoch == 3:
            raise KeyError

    with pytest.raises(KeyError):
        train(network, data, recipe, seed=3, report=interrupt, checkpoint=file)
    resumed = train(network, data, recipe, seed=3, checkpoint=file)
    assert len(restored) == 1
    assert len(resumed.curve) == recipe.epochs
    assert resumed.curve[:2] == pytest.approx(undisturbed.curve[:2], abs=0.03)
    assert resumed.accuracy == pytest.approx(undisturbed.accuracy, abs=0.03)


@pytest.mark.parametrize(
    "stages",
    [
        (Stage(1, 24, 8, 16), Stage(1, 48, 16, 32)),  # three channels in each group
        (Stage(1, 32, 32, 16), Stage(1, 64, 64, 32)),  # depthwise
        (Stage(1, 16, 4, 16), Stage(1, 16, 4, 16), Stage(2, 16, 4, 16)),  # maps of 1×1
    ],
)
def test_odd_groups_and_tiny_maps_learn(
    digits: ImageData, recipe: Recipe, stages: tuple[Stage, ...], graphs: bool
) -> None:
    network = Architecture(Input(1, 8), 10, (StemConv(16),), stages)
    assert train(network, on_device(digits, recipe, "cuda"), recipe).accuracy > 0.5


def test_a_network_learns_from_another(
    digits: ImageData, network: Architecture, recipe: Recipe, tmp_path: Path, graphs: bool
) -> None:
    data = on_device(digits, recipe, "cuda")
    save_weights(tmp_path / "teacher", train(network, data, recipe).weights, network)
    misled = digits.train._replace(labels=np.random.default_rng(0).permutation(digits.train.labels))
    wrong = on_device(replace(digits, train=misled), recipe, "cuda")
    assert train(network, wrong, recipe, teachers=[Teacher(network, tmp_path / "teacher")]).accuracy > 0.5
    assert not CapturedStep.failed


def test_a_study_of_a_gpu_is_exported(tmp_path: Path, network: Architecture, recipe: Recipe) -> None:
    space = nas.SearchSpace.from_dict(
        {
            "name": "small",
            "input": {"channels": 1, "size": 8},
            "stem": [{"width": 16}],
            "stages": [{"depth": 1, "mid": [16, 32], "groups": [1, 4, 8], "out": 32}],
            "recipe": recipe.to_dict(),
        }
    )
    study = nas.search(space, "digits", trials=3, fidelities=1, runs=tmp_path, device="cuda")
    assert [record.state for record in study.records()] == ["complete"] * 3
    exported = nas.export(study, tmp_path / "out", formats=("safetensors", "python"))
    assert abs(exported.accuracy - exported.trained.accuracy) <= 1 / 287
