"""ScalingConfig: how many workers a search has, and where; and what they are to do."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas.data.cache import save_shared
from nas.data.images import ImageData
from nas.errors import InvalidValue
from nas.spaces.search_space import SearchSpace
from nas.study.plan import SearchPlan
from nas.study.study import Study
from nas.system.hardware import AUTO, DEVICES, cores, gpu_count, usual_workers, workers_asked_for
from nas.system.processes import prepare
from nas.training.default_objective import our_training
from nas.training.objective import Evaluate
from nas.validation import one_of, real
from nas.workers.listeners import Listener
from nas.workers.loop import run
from nas.workers.process_pool import ProcessPool, Task
from nas.workers.supervisor import WorkerPool, supervise

__all__ = ["ScalingConfig", "sole_worker"]


def sole_worker(workers: int | str, ray: str | None) -> int:
    """The one worker of a search that measures latencies, if nothing else was asked for.

    Raises:
        InvalidValue: more workers were, or others.
    """
    asked = workers_asked_for(workers, "workers")
    if ray is not None or asked not in (None, 1):
        given = f"ray={ray!r}" if ray is not None else f"workers={asked}"
        raise InvalidValue(
            f"{given}: latency is measured on an idle device, one network at a time, so objectives=accuracy,latency "
            "takes workers=1"
        )
    return 1


@dataclass(frozen=True)
class ScalingConfig:
    """What was asked for, as `nas.search` takes it.

    Raises:
        InvalidValue: a value is not allowed, or there is no such device.
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
        """Whether all is trained in this process, one training after the other."""
        return self.ray is None and (
            self._asked == 1
            or (self._asked is None and (self.device == "cpu" or gpu_count() == 0) and usual_workers() == 1)
        )

    @property
    def together(self) -> int:
        """How many processes may share a training that is the only one: one a GPU, and no more than workers asked for.

        1 where nothing is to be shared.
        """
        if self.ray is not None or self.device == "cpu" or self._asked in (0, 1):
            return 1
        gpus = gpu_count()
        return max(1, gpus if self._asked is None else min(self._asked, gpus))

    @property
    def _asked(self) -> int | None:
        return workers_asked_for(self.workers, "workers")

    def work(
        self,
        name: str,
        runs: str | Path,
        *,
        space: SearchSpace,
        plan: SearchPlan,
        images: ImageData | None,
        seed: int,
        evaluate: Evaluate | None = None,
        storage: str | None = None,
        deadline: float = math.inf,
        listener: Listener | None = None,
    ) -> Callable[[Study], str]:
        """Readies what is to be done on the study of that name, which need not be there yet; given it, does it.

        That returns why it ended, as `nas.workers.loop.run`.
        """
        if self.alone and plan.trial_timeout is None:  # a training that hangs can only be ended from outside
            if evaluate is None:
                assert images is not None  # there is one or the other
                evaluate = our_training(images, space.recipe, seed=seed, device=self.device)
            return partial(run, evaluate=evaluate, plan=plan, deadline=deadline, device=self.device, listener=listener)
        task = Task(name, Path(runs).absolute(), storage, deadline, self.device, evaluate=evaluate)
        pool, number = self.pool(task, space, images, most=plan.trials)
        return partial(supervise, pool=pool, plan=plan, workers=number, deadline=deadline, listener=listener)

    def pool(self, task: Task, space: SearchSpace, images: ImageData | None, *, most: int) -> tuple[WorkerPool, int]:
        """The workers for a task, and how many to start: no more than there are trainings, `most`."""
        if self.ray is not None:
            from nas.workers.ray_pool import RayPool

            actors = RayPool(task, images, self.ray, cpus=self.cpus_per_worker, gpus=self.gpus_per_worker)
            return actors, min(most, self._asked if self._asked is not None else actors.room())
        if images is not None and task.evaluate is None:
            task = replace(task, images=save_shared(images))
        gpus = gpu_count() if self.device != "cpu" and task.evaluate is None else 0
        workers = self._asked if self._asked is not None else self._usual(space, gpus)
        workers = min(workers, most)
        if gpus:
            task = replace(task, gpus=gpus, share=1 / math.ceil(max(workers, 1) / gpus))
        return ProcessPool(replace(task, threads=max(1, cores() // max(workers, 1)))), workers

    def _usual(self, space: SearchSpace, gpus: int) -> int:
        if not gpus:
            return usual_workers()
        per_gpu = workers_asked_for(self.workers_per_gpu, "workers_per_gpu")
        if per_gpu is None:
            from nas.workers.throughput import best_per_gpu

            per_gpu = best_per_gpu(space)
        return gpus * per_gpu
