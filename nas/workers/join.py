"""Adds a worker to a running search, on this machine or another one."""

import math
from pathlib import Path
from typing import Any

from nas.errors import StudyError
from nas.study.config import BY_LATENCY
from nas.study.images import checked, images_of
from nas.study.plan import PATIENCE_STORAGE
from nas.study.search_state import SearchStatus
from nas.study.study import Study
from nas.system.hardware import AUTO
from nas.system.software import check_software
from nas.training.default_objective import default_objective
from nas.training.objective import CustomObjective, Evaluate
from nas.workers.listeners import Listener
from nas.workers.loop import run
from nas.workers.task import Task

__all__ = ["join", "work"]


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
    patience_storage: float = PATIENCE_STORAGE,
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
        patience_storage: seconds for which the worker waits for a database that cannot be used, from the first.
        listener: notified of this worker's progress.

    Returns:
        Why the worker ended, as `nas.workers.loop.run` does.

    Raises:
        NasError: the study cannot be opened, or the images here differ from the study's.
        KeyboardInterrupt: re-raised after the running trial has been requeued.
    """
    objective = CustomObjective(evaluate) if evaluate is not None else None
    task = Task(name, Path(runs), storage, None, objective, deadline, device, share, patience_storage)
    study = Study.open(name, runs, storage=storage, patience=patience_storage)
    study.workers.warn_of_clock()
    return _work_on(study, task, data, listener)


def work(task: Task) -> SearchStatus:
    """Runs a worker in this process until the search's budget is spent.

    Returns:
        Why the worker ended, as `nas.workers.loop.run` does.
    """
    study = Study.open(task.study, task.runs, storage=task.storage, patience=task.patience_storage)
    return _work_on(study, task, None, None)


def _work_on(study: Study, task: Task, data: Any, listener: Listener | None) -> SearchStatus:
    config, plan, objective = study.config, study.attributes.plan, task.objective
    if plan is None:
        raise StudyError(f"study '{study.name}': no search was begun on it; nas search begins one")
    if config.objective == BY_LATENCY and task.latency_on is None:
        raise StudyError(
            f"study '{study.name}': it weighs accuracy against latency, which is measured on an idle device, one "
            "network at a time: its search has one worker, and takes no others"
        )
    if objective is None:
        if config.teachers and not task.teachers:
            raise StudyError(
                f"study '{study.name}': its trainings learn from other networks; nas train goes on with it"
            )
        if task.images is not None:
            images = checked(task.images, config, source=config.data["source"])
        else:
            images = images_of(config, data)
        objective = default_objective(
            images,
            config.space.recipe,
            seed=config.seed,
            device=task.device,
            share=task.share,
            teachers=task.teachers,
        )
    check_software(plan.software)
    with study.heartbeat():
        return run(study, objective, plan, deadline=task.deadline, latency_on=task.latency_on, listener=listener)
