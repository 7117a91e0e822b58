"""A worker pool of local processes, forked from one that has already imported the heavy dependencies."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from nas.data.cache import open_shared
from nas.data.images import ImageData
from nas.errors import DeviceLost, InvalidValue, NasError
from nas.study.records import SearchStatus
from nas.system.hardware import AUTO, visible_gpus
from nas.system.logs import show_log
from nas.system.processes import METHOD, end_with_parent, exit_text, worker_named
from nas.system.signals import interrupt_on_sigterm
from nas.training.objective import Evaluate
from nas.workers.join import join
from nas.workers.supervisor import WorkerExit

__all__ = ["ProcessPool", "Task", "work"]

SECONDS_TO_END = 3.0
"""Grace period for workers to requeue their trials; short enough to exit within five seconds (`nas.system.signals`)."""
FIRST_TO_GO = "500"


@dataclass(frozen=True)
class Task:
    """The instructions for each worker: the study, how to train, and on what data and hardware.

    `images` is a folder written by `save_shared` (None: the study's own source). `threads` is the number of threads per
    worker, `gpus` the number of GPUs that the workers share, `share` the fraction of a GPU's memory for each of them.

    Raises:
        InvalidValue: the task cannot be pickled, as `evaluate` is not a module-level function.
    """

    study: str
    runs: Path
    storage: str | None
    deadline: float
    device: str = AUTO
    images: Path | None = None
    evaluate: Evaluate | None = None
    threads: int = 1
    gpus: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        try:
            pickle.dumps(self)
        except Exception as error:
            raise InvalidValue(
                f"evaluate={self.evaluate!r}: cannot be handed to other processes ({error}); with several workers it "
                "must be a function at the top of a module"
            ) from None


class ProcessPool:
    """A pool of worker processes on this machine."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._context: Any = multiprocessing.get_context(METHOD)

    def start(self, number: int) -> "_Process":
        """Starts a worker; with several GPUs, they are assigned round-robin by `number`."""
        receiver, sender = self._context.Pipe(duplex=False)
        gpu = visible_gpus()[number % self._task.gpus] if self._task.gpus else None
        process = self._context.Process(target=_live, args=(self._task, gpu, sender), name=f"nas worker {number}")
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


def work(task: Task, images: ImageData | None = None) -> SearchStatus:
    """Runs one worker in the current process, local or remote, and returns why it ended."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(task.threads)
    with threadpool_limits(task.threads):
        return join(
            task.study,
            runs=task.runs,
            storage=task.storage,
            data=open_shared(task.images) if task.images else images,
            evaluate=task.evaluate,
            device=task.device,
            share=task.share,
            deadline=task.deadline,
        )


def _live(task: Task, gpu: str | None, sender: Connection) -> None:
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
        end = WorkerExit(reason=work(task))
    except KeyboardInterrupt:
        end = WorkerExit(died="a signal to end")
    except DeviceLost as error:  # a new process can still use the device
        end = WorkerExit(died=str(error))
    except NasError as error:
        end = WorkerExit(error=str(error))
    with contextlib.suppress(OSError):  # the supervisor is gone
        sender.send(end)
