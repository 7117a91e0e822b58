"""Our own training as the objective of trials: on one device beside other workers, or shared by several GPUs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.architectures.architecture import Architecture
from nas.data.images import ImageData
from nas.system.gpus import gpus
from nas.system.hardware import AUTO, device_id
from nas.system.memory import may_lack_memory, release_memory
from nas.training.device_lock import exclusive, shared
from nas.training.distributed import train_together
from nas.training.objective import Evaluate, Report
from nas.training.recipe import Recipe

__all__ = ["alone_if_needed", "as_evaluate", "our_training", "shared_training"]


def our_training(images: ImageData, recipe: Recipe, *, seed: int, device: str = AUTO, share: float = 1.0) -> Evaluate:
    """The training of a search, as `evaluate` takes it: by the recipe, on images that are moved to the device once.

    A training for which the device's memory is too small is tried again alone, once the other workers that train on
    the device have ended what they train.
    """
    from nas.training.train import on_device, train

    data = on_device(images, recipe, device, share=share)
    return as_evaluate(train, data, recipe, seed=seed, devices=[device_id(data.device)])


def as_evaluate(train: Callable[..., Any], data: Any, recipe: Recipe, *, seed: int, devices: Sequence[str]) -> Evaluate:
    """A training of the shape of `train`, on data that are on the devices of these names, for trials."""

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
    """What the attempt gives beside other workers on the devices; alone, if it may have run out of memory there."""
    try:
        with shared(*devices):
            result = attempt()
            release_memory()  # before the turn ends: who waits to be alone needs what this process keeps for later
            return result
    except Exception as error:
        if not may_lack_memory(error):
            raise
    release_memory()
    with exclusive(*devices):
        return attempt()


def shared_training(images: ImageData, recipe: Recipe, *, processes: int, seed: int, device: str = AUTO) -> Evaluate:
    """As `our_training`, but each training is that of `train_together`."""
    train = partial(train_together, processes=processes, device=device)
    used = [gpu.id for gpu in gpus()[:processes]] if device != "cpu" else []
    return as_evaluate(train, images, recipe, seed=seed, devices=used or ["cpu"])
