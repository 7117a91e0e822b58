"""join(): adds a worker to a search that is running, on this machine or another."""

import math
from pathlib import Path
from typing import Any

from nas.errors import StudyError
from nas.study.config import BY_LATENCY
from nas.study.images import images_of
from nas.study.plan import SearchPlan
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
        evaluate = our_training(images, config.space.recipe, seed=config.seed, device=device, share=share)
    with study.heartbeat():
        return run(study, evaluate, plan, deadline=deadline, listener=listener)
