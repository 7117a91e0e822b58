"""Adds a worker to a running search, on this machine or another one."""

import math
from pathlib import Path
from typing import Any

from nas.errors import StudyError
from nas.study.config import BY_LATENCY
from nas.study.images import images_of
from nas.study.records import SearchStatus
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.training.default_objective import our_training
from nas.training.objective import Evaluate
from nas.workers.listeners import Listener
from nas.workers.loop import run

__all__ = ["join"]


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
) -> SearchStatus:
    """Trains trials of a study alongside its other workers until the search's budget is spent.

    Args:
        name: the study's name; `nas.search` must have started it.
        runs: the folder of studies; without a database, all workers of a study must share it.
        storage: the URL of the study's database, if it has one.
        data: the study's images if they have moved on this machine: their location, or an `ImageData`.
        evaluate: the custom training function, if the study was started with one.
        device: `auto`, `cpu` or `cuda`.
        share: fraction of the device's memory that this worker may use.
        deadline: no training starts after this time, in seconds since 1970.
        listener: notified of this worker's progress.

    Returns:
        Why the worker ended, as `nas.workers.loop.run` does.

    Raises:
        NasError: the study cannot be opened, or the images here differ from the study's.
        KeyboardInterrupt: re-raised after the running trial has been requeued.
    """
    study = Study.open(name, runs, storage=storage)
    config = study.config
    if (plan := study.attributes.plan) is None:
        raise StudyError(f"study '{name}': no search was begun on it; nas search begins one")
    if config.objective == BY_LATENCY:
        raise StudyError(
            f"study '{name}': it weighs accuracy against latency, which is measured on an idle device, one network at "
            "a time: its search has one worker, and takes no others"
        )
    if evaluate is None:
        images = images_of(config, data)
        evaluate = our_training(images, config.space.recipe, seed=config.seed, device=device, share=share)
    with study.heartbeat():
        return run(study, evaluate, plan, deadline=deadline, listener=listener)
