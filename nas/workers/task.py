"""Task: what a worker of a search needs to begin."""

import math
from dataclasses import dataclass
from pathlib import Path

from nas.data.images import ImageData
from nas.system.hardware import AUTO
from nas.training.objective import Objective, Teacher

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """The study to work on, what to train on, and until when; the same for every worker of a search.

    Attributes:
        study: the study's name; it need not exist yet.
        runs: the folder of studies.
        storage: the URL of the study's database. None: the journal in its folder.
        images: the images to train on. None: the study's own source.
        objective: a custom training. None: the default one, on the study's images by its recipe.
        deadline: no training starts after this time, in seconds since 1970.
        device: one of `nas.system.hardware.DEVICES`.
        share: the fraction of a GPU's memory for each worker.
        patience_storage: seconds to wait for a database that cannot be used.
        latency_on: a command that reaches the device on which latencies are measured; None: this machine's.
        teachers: networks that all trainings also learn from.
    """

    study: str
    runs: Path
    storage: str | None = None
    images: ImageData | None = None
    objective: Objective | None = None
    deadline: float = math.inf
    device: str = AUTO
    share: float = 1.0
    patience_storage: float = 0.0
    latency_on: str | None = None
    teachers: tuple[Teacher, ...] = ()
