"""A worker pool of Ray actors on a cluster (https://docs.ray.io)."""

import contextlib
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nas.data.images import ImageData, Split
from nas.errors import DeviceLost, MissingExtra, NasError, StudyError
from nas.system.logs import show_log
from nas.system.processes import this_worker
from nas.workers.join import work
from nas.workers.process_pool import limited_threads, refuse_local_functions
from nas.workers.supervisor import WorkerExit
from nas.workers.task import Task

__all__ = ["RayPool"]

try:
    import ray
except ImportError:
    raise MissingExtra("searching on a cluster", "ray") from None

SECONDS_TO_ANSWER = 10.0


class RayPool:
    """A pool of worker actors on a Ray cluster.

    The images are put into Ray's object store, so that they are decoded only once and held in memory once per machine.

    Args:
        task: the workers' task; without images, each worker loads the study's own source.
        address: the cluster's address; `auto` for the one that this machine belongs to.
        cpus: CPUs reserved per worker.
        gpus: GPUs reserved per worker; a fraction lets several workers share one.

    Raises:
        InvalidValue: the task's objective cannot be pickled.
        StudyError: no cluster answers at `address`.
    """

    def __init__(self, task: Task, address: str, *, cpus: float, gpus: float) -> None:
        refuse_local_functions(task)
        self._joined = not ray.is_initialized()  # otherwise the caller shuts Ray down
        try:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise StudyError(
                f"ray={address}: no cluster answers ({error}); `ray start --head` starts one on this machine"
            ) from None
        share = gpus if 0 < gpus < 1 else 1.0
        self._images = ray.put(_whole(task.images)) if task.images is not None and task.objective is None else None
        self._task, self._threads = replace(task, images=None, share=share), max(1, int(cpus))
        self._cpus, self._gpus = cpus, gpus
        self._actor: Any = ray.remote(max_restarts=0)(_Worker)  # the supervisor replaces it, as it does processes

    def room(self) -> int:
        """Returns how many workers the cluster's resources allow, at least one."""
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        wanted = {"CPU": self._cpus, "GPU": self._gpus}
        return max(1, min(int(has.get(kind, 0) / share) for kind, share in wanted.items() if share > 0))

    def start(self, number: int) -> "_Actor":
        """Starts a worker wherever the cluster has room for it."""
        actor: Any = self._actor.options(num_cpus=self._cpus, num_gpus=self._gpus).remote()
        return _Actor(actor, actor.name.remote(), actor.work.remote(self._task, self._images, self._threads))

    def wait(self, handles: Sequence["_Actor"], seconds: float) -> None:
        """Blocks until one of the workers has ended, or for `seconds`."""
        going = [handle.result for handle in handles]
        if going:
            ray.wait(going, timeout=seconds)
        else:
            time.sleep(seconds)

    def dismiss(self, handles: Sequence["_Actor"]) -> None:
        """Kills the workers; the supervisor requeues their trials."""
        for handle in handles:
            ray.kill(handle.actor)

    def close(self) -> None:
        """Leaves the cluster, if the pool has joined it."""
        if self._joined:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fails fast if nothing listens at the address, as Ray itself would retry for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()


def _whole(images: ImageData) -> ImageData:
    """Copies the training and validation images into memory, as memory maps are useless on other machines."""
    train, validation = (Split(split.images[:], split.labels) for split in (images.train, images.validation))
    return replace(images, train=train, validation=validation, test=validation)


class _Worker:
    """The actor that runs on the cluster."""

    def name(self) -> str:
        """Returns the worker's name as recorded in its trials."""
        return this_worker()

    def work(self, task: Task, images: ImageData | None, threads: int) -> WorkerExit:
        """Trains trials until the search ends."""
        show_log()
        try:
            with limited_threads(threads):
                return WorkerExit(reason=work(replace(task, images=images)))
        except DeviceLost as error:  # a new process can still use the device
            return WorkerExit(died=str(error))
        except NasError as error:
            return WorkerExit(error=f"on {this_worker()}: {error}")


class _Actor:
    def __init__(self, actor: Any, name: Any, result: Any) -> None:
        self.actor, self._name, self.result = actor, name, result
        self._worker: str | None = None

    @property
    def worker(self) -> str:
        """The worker's name as recorded in its trials; empty until the actor has started."""
        if self._worker is None and ray.wait([self._name], timeout=0)[0]:
            with contextlib.suppress(ray.exceptions.RayError):
                self._worker = ray.get(self._name)
        return self._worker or ""

    def kill(self) -> None:
        """Kills the actor."""
        ray.kill(self.actor)

    def end(self) -> WorkerExit | None:
        """Returns how the worker ended, or None while it works or waits for resources."""
        _ = self.worker  # resolved while the actor can still answer
        if not ray.wait([self.result], timeout=0)[0]:
            return None
        try:
            end: WorkerExit = ray.get(self.result)
        except ray.exceptions.RayError as error:
            return WorkerExit(died=next(iter(str(error).strip().splitlines()), type(error).__name__))
        return end
