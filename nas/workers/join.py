"""join(): one more worker for a search that was begun, on this machine or on another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.architectures.architecture import Architecture
from nas.data.images import ImageData
from nas.data.loading import load_data
from nas.errors import DataError, StudyError
from nas.spaces.search_space import SearchSpace
from nas.study.config import BY_LATENCY, StudyConfig
from nas.study.plan import SearchPlan
from nas.study.study import Study
from nas.system.hardware import AUTO, device_id
from nas.system.memory import give_all_back, may_lack_memory
from nas.training.device_lock import alone, beside_others
from nas.training.recipe import Recipe
from nas.workers.loop import run
from nas.workers.trial import Evaluate, Listener, Report

__all__ = ["as_evaluate", "images_of", "join", "our_training"]


def join(
    name: str,
    *,
    runs: str | Path = "runs",
    storage: str | None = None,
    data: Any = None,
    evaluate: Evaluate | None = None,
    device: str = AUTO,
    share: float = 1.0,
    deadline: float = math.inf,
    listener: Listener | None = None,
) -> str:
    """Works on a study until it has spent what its search was told to: asks, trains, tells, beside other workers.

    Args:
        name: of the study, which `nas.search` has begun.
        runs: the folder of studies; all workers of a study without a database must reach the same.
        storage: the URL of the study's database, if it has one.
        data: where the study's images are on this machine, if elsewhere, or the `ImageData`.
        evaluate: one's own training, if the study was begun with one.
        device: `auto`, `cpu` or `cuda`.
        share: of the device's memory that this worker may count on.
        deadline: no training is begun after it, in seconds since 1970.
        listener: is told what this worker does.

    Returns why it ended, as `nas.workers.loop.run`.

    Raises:
        NasError: the study cannot be opened, or the images here are not its.
        KeyboardInterrupt: passed on, once the running trial is put back to be trained again.
    """
    study = Study.open(name, runs, storage=storage)
    plan, config = SearchPlan.from_dict(study.plan()), study.config
    if config.objective == BY_LATENCY:
        raise StudyError(
            f"study '{name}': it weighs accuracy against latency, which is measured on an idle device, one network at "
            "a time: its search has one worker, and takes no others"
        )
    if evaluate is None:
        images = images_of(config, data)
        evaluate = our_training(images, config.space, seed=config.seed, device=device, share=share)
    with study.attending():
        return run(study, evaluate, plan, deadline=deadline, listener=listener)


def images_of(config: StudyConfig, data: Any = None) -> ImageData:
    """A study's images, split as they were when it was begun; `data` says where they are now, if elsewhere.

    An `ImageData` is taken as it is: it was split already.

    Raises:
        DataError: they cannot be had, or are others now.
    """
    if isinstance(data, ImageData):
        return data
    source = data if data is not None else config.data["source"]
    if source in ("arrays", "evaluate"):
        raise DataError(f"data: the study was searched from Python ({source}); go on there, with the same data=")
    images = load_data(
        source, config.space.input, seed=config.seed, max_images=config.data.get("max_images"), skip_bad_images=True
    )
    if images.fingerprint != config.data.get("fingerprint", images.fingerprint):
        raise DataError(
            f"{source}: its images are not those of the study; they have changed since the search, or are others"
        )
    return images


def our_training(
    images: ImageData, space: SearchSpace, *, seed: int, device: str = AUTO, share: float = 1.0
) -> Evaluate:
    """The training of a search, as `evaluate` takes it: by the recipe, on images that are moved to the device once.

    A training for which the device's memory is too small is tried again alone, once the other workers that train on
    the device have ended what they train.
    """
    from nas.training.train import on_device, train

    data = on_device(images, space.recipe, device, share=share)
    return as_evaluate(train, data, space.recipe, seed=seed, devices=[device_id(data.device)])


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
        with beside_others(*devices):
            result = attempt()
            give_all_back()  # before the turn ends: who waits to be alone needs what this process keeps for later
            return result
    except Exception as error:
        if not may_lack_memory(error):
            raise
    give_all_back()
    with alone(*devices):
        return attempt()
