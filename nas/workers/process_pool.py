"""A worker pool of local processes, forked from one that has already imported the heavy dependencies."""

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nas.data.cache import open_shared, save_shared
from nas.errors import DeviceLost, InvalidValue, NasError
from nas.system.hardware import cores, visible_gpus
from nas.system.logs import show_log
from nas.system.processes import METHOD, end_with_parent, exit_text, worker_named
from nas.system.signals import interrupt_on_sigterm
from nas.workers.join import work
from nas.workers.supervisor import WorkerExit
from nas.workers.task import Task

__all__ = ["ProcessPool", "limited_threads", "refuse_local_functions"]

SECONDS_TO_END = 3.0
"""Grace period for workers to requeue their trials; short enough to exit within five seconds (`nas.system.signals`)."""
FIRST_TO_GO = "500"


@dataclass(frozen=True)
class _Job:
    """What each process receives: the task, the folder of its images (`save_shared`), and its number of threads."""

    task: Task
    images: Path | None
    threads: int


class ProcessPool:
    """A pool of worker processes on this machine, which share its GPUs and its images in memory.

    Args:
        task: the workers' task.
        workers: how many will run at once.
        gpus: number of GPUs that they share.

    Raises:
        InvalidValue: the task's objective cannot be pickled, as it is not a module-level function.
    """

    def __init__(self, task: Task, *, workers: int, gpus: int = 0) -> None:
        images = save_shared(task.images) if task.images is not None and task.objective is None else None
        share = 1 / math.ceil(max(workers, 1) / gpus) if gpus else 1.0
        threads = max(1, cores() // max(workers, 1))
        self._job, self._gpus = _Job(replace(task, images=None, share=share), images, threads), gpus
        refuse_local_functions(task)
        self._context: Any = multiprocessing.get_context(METHOD)

    def start(self, number: int) -> "_Process":
        """Starts a worker; with several GPUs, they are assigned round-robin by `number`."""
        receiver, sender = self._context.Pipe(duplex=False)
        gpu = visible_gpus()[number % self._gpus] if self._gpus else None
        process = self._context.Process(target=_live, args=(self._job, gpu, sender), name=f"nas worker {number}")
        process.start()
        sender.close()
        return _Process(process, receiver)

    def wait(self, handles: Sequence["_Process"], seconds: float) -> None:
        """Blocks until one of the workers has ended, or for `seconds`."""
        sentinels = [handle.process.sentinel for handle in handles]
        if sentinels:
            wait(sentinels, seconds)
        else:
            time.sleep(seconds)

    def dismiss(self, handles: Sequence["_Process"]) -> None:
        """Terminates the workers, which requeue their trials, and kills those still alive after the grace period."""
        processes = [handle.process for handle in handles]
        until = time.monotonic() + SECONDS_TO_END
        try:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(max(0.0, until - time.monotonic()))
        finally:  # also when a second Ctrl-C cuts the wait short
            for process in processes:
                process.kill()
                process.join()

    def close(self) -> None:
        """There is nothing to give back."""


class _Process:
    def __init__(self, process: Any, receiver: Connection) -> None:
        self.process = process
        self.worker = worker_named(process.pid)
        self._receiver = receiver

    def kill(self) -> None:
        self.process.kill()

    def end(self) -> WorkerExit | None:
        if self.process.is_alive():
            return None
        with contextlib.suppress(EOFError, OSError):
            if self._receiver.poll():
                end: WorkerExit = self._receiver.recv()
                return end
        return WorkerExit(died=exit_text(self.process.exitcode))


def refuse_local_functions(task: Task) -> None:
    """Rejects an objective that other processes cannot receive.

    Raises:
        InvalidValue: it cannot be pickled, as it is not a module-level function.
    """
    try:
        pickle.dumps(task.objective)
    except Exception as error:
        given = getattr(task.objective, "evaluate", task.objective)
        raise InvalidValue(
            f"evaluate={given!r}: cannot be sent to other processes ({error}); with several workers it must be a "
            "function at the top of a module"
        ) from None


@contextlib.contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Limits the threads of torch and of numerical libraries in this process."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(number)
    with threadpool_limits(number):
        yield


def _live(job: _Job, gpu: str | None, sender: Connection) -> None:
    """Entry point of a worker process, which ends when its work is done, on SIGTERM, or with its parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the supervisor handles it
    interrupt_on_sigterm()
    with contextlib.suppress(OSError):  # so that the OOM killer picks a (replaceable) worker first
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    threading.Thread(target=end_with_parent, args=(SECONDS_TO_END,), daemon=True).start()
    show_log()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is initialized in this process
    try:
        with limited_threads(job.threads):
            images = open_shared(job.images) if job.images else None
            end = WorkerExit(reason=work(replace(job.task, images=images)))
    except KeyboardInterrupt:
        end = WorkerExit(died="a signal to end")
    except DeviceLost as error:  # a new process can still use the device
        end = WorkerExit(died=str(error))
    except NasError as error:
        end = WorkerExit(error=str(error))
    with contextlib.suppress(OSError):  # the supervisor is gone
        sender.send(end)
