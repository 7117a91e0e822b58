"""Trains one architecture with Lightning: train(architecture, data, recipe) → TrainingResult.

Lightning's overhead is per step, not per epoch: a training step here is a run of batches with manual optimisation, and
batches are gathered from images already in memory, so a trial runs at close to the speed of a bare loop.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.architectures.weights import put_into
from nas.data.images import ImageData
from nas.system.cuda_graph import WARM_UP_STEPS, is_wanted
from nas.system.hardware import AUTO, device_of
from nas.training.batches import DeviceData, DeviceImages
from nas.training.checkpoint import Checkpoint
from nas.training.data_parallel import ALONE, ProcessGroup
from nas.training.folds import FoldsModule
from nas.training.module import TrainingModule
from nas.training.objective import Report, Teacher, TrainingResult
from nas.training.recipe import Recipe
from nas.training.trainer import bare_trainer, in_half, quiet_lightning

__all__ = ["evaluate", "on_device", "steps", "threads_for", "train"]

CPU_PROBE_FLOPS = 20 * 10**9
SMALL_STEP_FLOPS = 10**9


def on_device(data: ImageData, recipe: Recipe, device: str = AUTO, *, share: float = 1.0) -> DeviceData:
    """Prepares the training and validation images for a device, once for a whole search.

    On a CPU they are used in place, so that processes that map the same files share them. A GPU gets a copy; if that
    would exceed half of this process's share of its free memory, batches are streamed instead.

    Args:
        data: the data set.
        recipe: the training recipe, for its crop padding.
        device: one of `DEVICES`.
        share: this process's share of a GPU's free memory.

    Raises:
        InvalidValue: `device` is not one of `DEVICES`, or there is no CUDA device.
    """
    chosen = device_of(device)
    streamed = not _fits(data, chosen, share)
    return DeviceData(
        DeviceImages(data.train, data.normalization, chosen, padding=recipe.crop_padding, streamed=streamed),
        DeviceImages(data.validation, data.normalization, chosen, streamed=streamed),
        chosen,
    )


def _fits(data: ImageData, device: torch.device, share: float) -> bool:
    """Returns whether the images fit in half of this share of a GPU's free memory; always true on a CPU."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    size = sum(math.prod(split.images.shape) for split in (data.train, data.validation))
    return size <= share * free / 2


def train(
    architecture: Architecture,
    data: DeviceData | Sequence[DeviceData],
    recipe: Recipe,
    *,
    seed: int = 0,
    report: Report | None = None,
    checkpoint: Path | None = None,
    group: ProcessGroup = ALONE,
    teachers: Sequence[Teacher] = (),
) -> TrainingResult:
    """Trains an architecture from scratch, or resumes from a checkpoint; on a CPU training is deterministic for a seed.

    Args:
        architecture: the architecture to train.
        data: the images, from `on_device`; or those of each fold of a cross-validation, for each of which a network is
            trained. The weights are those of the first fold's network then.
        recipe: the training recipe.
        seed: seeds the weights, the order of the images and their augmentation.
        report: called after every epoch.
        checkpoint: a file written after epochs. If it exists and matches, the training resumes from it, repeats its
            reports, and ends as if never interrupted. The caller deletes it once the result is stored.
        group: the processes that train together (`nas.training.distributed`); all make the same call, and rank 0 writes
            the checkpoint. Not for folds.
        teachers: networks that it also learns from (`nas.training.distillation`). Not for folds.

    Raises:
        TrainingFailed: the loss was not finite (`not_finite`).
        WeightsError: the weights of a teacher cannot be used.
        KeyboardInterrupt: passed on, where Lightning by itself would exit the process.
    """
    folds = [data] if isinstance(data, DeviceData) else list(data)
    device = folds[0].device
    with (
        quiet_lightning(),
        threads_for(architecture, recipe),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        module: TrainingModule | FoldsModule
        if len(folds) > 1:
            module = FoldsModule(architecture, folds, recipe, seed=seed, report=report)
        else:
            options: dict[str, Any] = {"seed": seed, "report": report, "group": group, "teachers": teachers}
            module = TrainingModule(architecture, folds[0], recipe, **options)
        resumed: Checkpoint | None = None
        if checkpoint is not None:
            identity = {"architecture": architecture.to_dict(), "recipe": recipe.to_dict(), "seed": seed}
            identity |= {"teachers": [teacher.architecture.to_dict() for teacher in teachers]} if teachers else {}
            identity |= {"images": sum(len(fold.train) for fold in folds), "device": device.type}
            resumed = Checkpoint(checkpoint, identity)
            module.go_on_from(resumed)
        half = in_half(device, cost(architecture).flops)
        trainer = bare_trainer(device, epochs=recipe.epochs - len(module.curve), half=half)
        try:
            trainer.fit(module)
        finally:
            module.close()
    return TrainingResult(
        module.curve[-1],
        tuple(module.curve),
        module.weights(),
        confusion=module.evaluation.confusion,
        predictions=module.evaluation.predictions,
        seconds_before=resumed.seconds_before if resumed is not None else 0.0,
    )


def evaluate(architecture: Architecture, weights: Mapping[str, Tensor], data: DeviceData, *, recipe: Recipe) -> float:
    """Returns the validation accuracy, in [0, 1], of trained weights, by the same code as in a trial.

    Raises:
        WeightsError: the weights do not fit the architecture.
    """
    module = TrainingModule(architecture, data, recipe, seed=0, report=None)
    put_into(module.network, weights, of=architecture.name)
    with quiet_lightning(), threads_for(architecture, recipe):
        bare_trainer(data.device, epochs=1).validate(module, verbose=False)
    return module.curve[-1]


def steps(architecture: Architecture, data: DeviceData, recipe: Recipe) -> Iterator[int]:
    """Trains endlessly, optimiser included, and yields the batch size after each step; the first one is a warm-up.

    If steps are captured as a CUDA graph, the warm-up includes the capture.

    The batch is all of `data.train` on a GPU; on a CPU at most what takes about a second per step.
    """
    module = TrainingModule(architecture, data, recipe, seed=0, report=None)
    optimizer = module.configure_optimizers()
    affordable = len(data.train) if data.device.type == "cuda" else CPU_PROBE_FLOPS // (3 * cost(architecture).flops)
    rows = torch.arange(max(2, min(affordable, len(data.train))), device=data.device)
    run = [rows] * (WARM_UP_STEPS + 1) if is_wanted(data.device) else [rows]
    half = in_half(data.device, cost(architecture).flops)
    while True:
        with (
            quiet_lightning(),
            threads_for(architecture, recipe),
            torch.autocast(data.device.type, torch.bfloat16, enabled=half, cache_enabled=False),
        ):
            module.learn(run, optimizer)
        module.wait()
        run = [rows]
        yield len(rows)


@contextmanager
def threads_for(architecture: Architecture, recipe: Recipe) -> Iterator[None]:
    """Uses one CPU thread if training steps are small, and all threads otherwise.

    On small steps a second thread gains little, but under contention for the cores, threads that synchronise at every
    operation take several times as long as one (docs/benchmarks.md).
    """
    threads = torch.get_num_threads()
    if 3 * cost(architecture).flops * recipe.batch_size < SMALL_STEP_FLOPS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
