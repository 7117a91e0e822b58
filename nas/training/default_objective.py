"""The default objective of trials: built-in training, on a device shared with other workers or on several GPUs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.architectures.architecture import Architecture
from nas.data.images import ImageData
from nas.system.gpus import gpus
from nas.system.hardware import AUTO, device_id
from nas.system.logs import logger
from nas.system.memory import may_lack_memory, release_memory
from nas.training.device_lock import exclusive, shared
from nas.training.distributed import train_together
from nas.training.objective import Evaluate, Report
from nas.training.recipe import Recipe

__all__ = ["alone_if_needed", "as_evaluate", "our_training", "shared_training"]


def our_training(images: ImageData, recipe: Recipe, *, seed: int, device: str = AUTO, share: float = 1.0) -> Evaluate:
    """Returns a search's default objective: training by `recipe` on images that are moved to the device once.

    A training that may have run out of device memory is retried with the device to itself, once the other workers have
    finished their current trainings on it.

    Args:
        images: the data set.
        recipe: the training recipe; its epochs are the default.
        seed: the default training seed.
        device: one of `nas.system.hardware.DEVICES`.
        share: this process's share of a GPU's free memory.
    """
    from nas.training.train import on_device, train

    data = on_device(images, recipe, device, share=share)
    return as_evaluate(train, data, recipe, seed=seed, devices=[device_id(data.device)])


def as_evaluate(train: Callable[..., Any], data: Any, recipe: Recipe, *, seed: int, devices: Sequence[str]) -> Evaluate:
    """Wraps a function with the signature of `train` as an objective; `devices` are the IDs of the data's devices."""

    def training(
        architecture: Architecture,
        report: Report,
        *,
        epochs: int = recipe.epochs,
        seed: int = seed,
        checkpoint: Path | None = None,
    ) -> Any:
        told = replace(recipe, epochs=epochs)
        attempt = partial(train, architecture, data, told, seed=seed, report=report, checkpoint=checkpoint)
        return alone_if_needed(attempt, *devices)

    return training


def alone_if_needed(attempt: Callable[[], Any], *devices: str) -> Any:
    """Runs `attempt` on shared devices; if it may have run out of memory, again with exclusive access."""
    try:
        with shared(*devices):
            result = attempt()
            release_memory()  # before the lock is released, as a process that waits for exclusive access needs it
            return result
    except Exception as error:
        if not may_lack_memory(error):
            raise
        logger.info("out of memory beside other workers; trying again alone: %s", str(error).partition("\n")[0])
    release_memory()
    with exclusive(*devices):
        return attempt()


def shared_training(images: ImageData, recipe: Recipe, *, processes: int, seed: int, device: str = AUTO) -> Evaluate:
    """Returns an objective like `our_training`, which trains with up to `processes` processes (`train_together`)."""
    train = partial(train_together, processes=processes, device=device)
    used = [gpu.id for gpu in gpus()[:processes]] if device != "cpu" else []
    return as_evaluate(train, images, recipe, seed=seed, devices=used or ["cpu"])
