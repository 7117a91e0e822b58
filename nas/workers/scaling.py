"""How many workers a search has, where they run, and how their work is set up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict

from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.plan import SearchPlan
from nas.study.search_state import SearchStatus
from nas.study.study import Study
from nas.system.hardware import AUTO, DEVICES, gpu_count, usual_workers, workers_asked_for
from nas.system.processes import prepare
from nas.training.default_objective import default_objective
from nas.validation import one_of, real
from nas.workers.listeners import Listener
from nas.workers.loop import run
from nas.workers.process_pool import ProcessPool
from nas.workers.supervisor import WorkerPool, supervise
from nas.workers.task import Task

__all__ = ["ScalingConfig", "ScalingOptions", "sole_worker"]


def sole_worker(workers: int | str, ray: str | None) -> int:
    """Returns 1, the only number of workers allowed for a search that measures latency.

    Raises:
        InvalidValue: several workers or a Ray cluster were requested.
    """
    asked = workers_asked_for(workers, "workers")
    if ray is not None or asked not in (None, 1):
        given = f"ray={ray!r}" if ray is not None else f"workers={asked}"
        raise InvalidValue(
            f"{given}: latency is measured on an idle device, one network at a time, so objectives=accuracy,latency "
            "takes workers=1"
        )
    return 1


class ScalingOptions(TypedDict, total=False):
    """The fields of `ScalingConfig` as keyword arguments."""

    workers: int | str
    workers_per_gpu: int | str
    device: str
    ray: str | None
    cpus_per_worker: float
    gpus_per_worker: float


@dataclass(frozen=True)
class ScalingConfig:
    """The requested workers and devices; the fields are the arguments of the same names of `nas.search`.

    Raises:
        InvalidValue: a value is not allowed, or the device does not exist.
    """

    workers: int | str = 1
    workers_per_gpu: int | str = AUTO
    device: str = AUTO
    ray: str | None = None
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        one_of(self.device, "device", DEVICES)
        if workers_asked_for(self.workers_per_gpu, "workers_per_gpu") == 0:
            raise InvalidValue("workers_per_gpu=0: must be at least 1; nearest valid: 1")
        real(self.cpus_per_worker, "cpus_per_worker", minimum=0, maximum=10_000)
        real(self.gpus_per_worker, "gpus_per_worker", minimum=0, maximum=10_000)
        if not self.alone:
            if self.device == "cuda" and not self.ray and gpu_count() == 0:
                raise InvalidValue(
                    "device='cuda': this machine has no CUDA device that torch can use; allowed: auto, cpu"
                )
            if not self.ray and self._asked != 0:
                prepare()

    @property
    def alone(self) -> bool:
        """Whether all trials are trained sequentially in this process."""
        return self.ray is None and (
            self._asked == 1
            or (self._asked is None and (self.device == "cpu" or gpu_count() == 0) and usual_workers() == 1)
        )

    @property
    def together(self) -> int:
        """The number of processes that may share a single training: at most one per GPU and the requested workers.

        1 if the training is not to be shared.
        """
        if self.ray is not None or self.device == "cpu" or self._asked in (0, 1):
            return 1
        gpus = gpu_count()
        return max(1, gpus if self._asked is None else min(self._asked, gpus))

    @property
    def _asked(self) -> int | None:
        return workers_asked_for(self.workers, "workers")

    def work(
        self, config: StudyConfig, plan: SearchPlan, task: Task, *, listener: Listener | None = None
    ) -> Callable[[Study], SearchStatus]:
        """Prepares the workers of a search, and returns the function that runs it.

        Args:
            config: the study's configuration; the study need not exist yet.
            plan: the search's budget and strategy.
            task: the workers' task; the device is this configuration's, and its patience the plan's.
            listener: notified of the search's progress.

        Returns:
            A function that runs the search on the open study and returns why it ended, as `nas.workers.loop.run` does.
        """
        task = replace(task, device=self.device, patience_storage=plan.patience_storage)
        if not self.alone or plan.trial_timeout is not None:  # only a training in another process can be killed
            pool, number = self._pool(config.space, task, most=plan.trials)
            return partial(supervise, pool=pool, plan=plan, workers=number, deadline=task.deadline, listener=listener)
        objective = task.objective
        if objective is None:
            assert task.images is not None  # one of the two is given
            recipe, seed = config.space.recipe, config.seed
            objective = default_objective(task.images, recipe, seed=seed, device=self.device, teachers=task.teachers)
        return partial(
            run,
            objective=objective,
            plan=plan,
            deadline=task.deadline,
            device=self.device,
            latency_on=task.latency_on,
            listener=listener,
        )

    def _pool(self, space: SearchSpace, task: Task, *, most: int) -> tuple[WorkerPool[Any], int]:
        """Returns the worker pool for a task, and how many workers to start, at most `most`."""
        if self.ray is not None:
            from nas.workers.ray_pool import RayPool

            actors = RayPool(task, self.ray, cpus=self.cpus_per_worker, gpus=self.gpus_per_worker)
            return actors, min(most, self._asked if self._asked is not None else actors.room())
        gpus = gpu_count() if self.device != "cpu" and task.objective is None else 0
        workers = min(most, self._asked if self._asked is not None else self._usual(space, gpus))
        return ProcessPool(task, workers=workers, gpus=gpus), workers

    def _usual(self, space: SearchSpace, gpus: int) -> int:
        if not gpus:
            return usual_workers()
        per_gpu = workers_asked_for(self.workers_per_gpu, "workers_per_gpu")
        if per_gpu is None:
            from nas.workers.throughput import best_per_gpu

            per_gpu = best_per_gpu(space)
        return gpus * per_gpu
