"""Workers as Ray actors, on the machines of a cluster (https://docs.ray.io)."""

import contextlib
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nas.data.images import ImageData, Split
from nas.errors import DeviceLost, MissingExtra, NasError, StudyError
from nas.system.processes import this_worker
from nas.workers.process_pool import Task, work
from nas.workers.supervisor import WorkerExit, WorkerHandle

__all__ = ["RayPool"]

try:
    import ray
except ImportError:
    raise MissingExtra("searching on a cluster", "ray") from None

SECONDS_TO_ANSWER = 10.0


class RayPool:
    """A crew on the Ray cluster of an address; `auto`: the one that this machine is part of.

    Each worker takes `cpus` and `gpus` of the cluster; a fraction of a GPU, where several are to share one. The images
    are put into Ray's object store, so that they are decoded once, and once in the memory of each machine.

    Raises:
        StudyError: there is no such cluster.
    """

    def __init__(self, task: Task, images: ImageData | None, address: str, *, cpus: float, gpus: float) -> None:
        self._joined = not ray.is_initialized()  # else it is the caller's to leave
        try:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise StudyError(
                f"ray={address}: no cluster answers ({error}); `ray start --head` starts one on this machine"
            ) from None
        share = gpus if 0 < gpus < 1 else 1.0
        self._task = replace(task, share=share, threads=max(1, int(cpus)))
        self._images = ray.put(_whole(images)) if images is not None and task.evaluate is None else None
        self._cpus, self._gpus = cpus, gpus
        self._actor: Any = ray.remote(max_restarts=0)(_Worker)  # the supervisor restarts it, as it does processes

    def room(self) -> int:
        """How many workers the cluster has room for; at least one."""
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        wanted = {"CPU": self._cpus, "GPU": self._gpus}
        return max(1, min(int(has.get(kind, 0) / share) for kind, share in wanted.items() if share > 0))

    def start(self, number: int) -> "_Actor":
        """One more, wherever the cluster has room for it."""
        actor: Any = self._actor.options(num_cpus=self._cpus, num_gpus=self._gpus).remote()
        return _Actor(actor, actor.name.remote(), actor.work.remote(self._task, self._images))

    def wait(self, members: Sequence[WorkerHandle], seconds: float) -> None:
        """Until one of them has ended, or for so long."""
        going = [member.result for member in members if isinstance(member, _Actor)]
        if going:
            ray.wait(going, timeout=seconds)
        else:
            time.sleep(seconds)

    def dismiss(self, members: Sequence[WorkerHandle]) -> None:
        """Ends them at once; what they train is put back by the supervisor."""
        for member in members:
            if isinstance(member, _Actor):
                ray.kill(member.actor)
        if self._joined:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fails at once where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()


def _whole(images: ImageData) -> ImageData:
    """The images that a search reads as arrays of their own: a map of files is of no use on another machine."""
    train, validation = (Split(split.images[:], split.labels) for split in (images.train, images.validation))
    return replace(images, train=train, validation=validation, test=validation)


class _Worker:
    """What runs on the cluster."""

    def name(self) -> str:
        """As its trials name it."""
        return this_worker()

    def work(self, task: Task, images: ImageData | None) -> WorkerExit:
        """Works until the search ends."""
        try:
            return WorkerExit(reason=work(task, images))
        except DeviceLost as error:  # another process can use it
            return WorkerExit(died=str(error))
        except NasError as error:
            return WorkerExit(error=f"on {this_worker()}: {error}")


class _Actor:
    def __init__(self, actor: Any, name: Any, result: Any) -> None:
        self.actor, self._name, self.result = actor, name, result
        self._worker: str | None = None

    @property
    def worker(self) -> str:
        """Who it is; empty while it is still to be started somewhere."""
        if self._worker is None and ray.wait([self._name], timeout=0)[0]:
            with contextlib.suppress(ray.exceptions.RayError):
                self._worker = ray.get(self._name)
        return self._worker or ""

    def kill(self) -> None:
        """Ends it at once."""
        ray.kill(self.actor)

    def end(self) -> WorkerExit | None:
        """How it ended; None while it works, or waits for room."""
        _ = self.worker  # asked for while it can answer
        if not ray.wait([self.result], timeout=0)[0]:
            return None
        try:
            end: WorkerExit = ray.get(self.result)
        except ray.exceptions.RayError as error:
            return WorkerExit(died=next(iter(str(error).strip().splitlines()), type(error).__name__))
        return end
