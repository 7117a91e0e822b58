"""The default objective of trials: built-in training, on a device shared with other workers or on several GPUs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from nas.architectures.architecture import Architecture
from nas.data.images import ImageData, folds_of
from nas.system.gpus import gpus
from nas.system.hardware import AUTO, device_id
from nas.system.logs import logger
from nas.system.memory import may_lack_memory, release_memory
from nas.training.device_lock import exclusive, shared
from nas.training.distributed import train_together
from nas.training.objective import Objective, Teacher, TrainingContext, TrainingResult
from nas.training.recipe import Recipe

__all__ = ["alone_if_needed", "default_objective", "shared_training"]

Result = TypeVar("Result")


def default_objective(
    images: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    device: str = AUTO,
    share: float = 1.0,
    teachers: Sequence[Teacher] = (),
) -> Objective:
    """Returns a search's default objective: training by `recipe` on images that are moved to the device once.

    A training that may have run out of device memory is retried with the device to itself, once the other workers have
    finished their current trainings on it.

    Args:
        images: the data set. If it has folds, each training is one of a network for each of them.
        recipe: the training recipe; each training sets its own epochs.
        seed: the default training seed.
        device: one of `nas.system.hardware.DEVICES`.
        share: this process's share of a GPU's free memory.
        teachers: networks that each training also learns from.
    """
    from nas.training.train import on_device, train

    parts = folds_of(images) if images.folds else [images]
    data = [on_device(part, recipe, device, share=share / len(parts)) for part in parts]
    taught = partial(train, teachers=teachers)
    return _objective(taught, data, recipe, seed=seed, devices=[device_id(data[0].device)])


def _objective(
    train: Callable[..., TrainingResult], data: Any, recipe: Recipe, *, seed: int, devices: Sequence[str]
) -> Objective:
    """Wraps a function with the signature of `train` as an objective; `devices` are the IDs of the data's devices."""

    def training(architecture: Architecture, context: TrainingContext) -> TrainingResult:
        attempt = partial(
            train,
            architecture,
            data,
            replace(recipe, epochs=context.epochs),
            seed=context.seed if context.seed is not None else seed,
            report=context.report,
            checkpoint=context.checkpoint,
        )
        return alone_if_needed(attempt, *devices)

    return training


def alone_if_needed(attempt: Callable[[], Result], *devices: str) -> Result:
    """Runs `attempt` on shared devices; if it may have run out of memory, again with exclusive access."""
    try:
        with shared(*devices):
            return _released(attempt)
    except Exception as error:
        if not may_lack_memory(error):
            raise
        logger.info("out of memory beside other workers; trying again alone: %s", str(error).partition("\n")[0])
    release_memory()
    with exclusive(*devices):
        return _released(attempt)


def _released(attempt: Callable[[], Result]) -> Result:
    """Releases memory while the devices are still locked: whoever waits for them needs it."""
    result = attempt()
    release_memory()
    return result


def shared_training(
    images: ImageData,
    recipe: Recipe,
    *,
    processes: int,
    seed: int,
    device: str = AUTO,
    teachers: Sequence[Teacher] = (),
) -> Objective:
    """Returns an objective like `default_objective` that trains with up to `processes` processes (`train_together`)."""
    train = partial(train_together, processes=processes, device=device, teachers=teachers)
    used = [gpu.id for gpu in gpus()[:processes]] if device != "cpu" else []
    return _objective(train, images, recipe, seed=seed, devices=used or ["cpu"])
