"""Workers as processes of this machine, forked from one that has imported what they need."""

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
from nas.system.hardware import AUTO, visible_gpus
from nas.system.processes import METHOD, worker_named
from nas.system.signals import interrupt_on_sigterm
from nas.training.objective import Evaluate
from nas.workers.join import join
from nas.workers.supervisor import WorkerExit, WorkerHandle

__all__ = ["ProcessPool", "Task", "work"]

SECONDS_TO_END = 3.0
"""For workers to put back what they train; then there is time left to end within five (`nas.system.signals`)."""
FIRST_TO_GO = "500"


@dataclass(frozen=True)
class Task:
    """What each worker is told: which study, how to train, on what.

    `images` is a folder of `save_shared`; None: the study's own source. `threads` are those that a worker
    may use, `gpus` how many GPUs the workers share, `share` how much of one's memory each may count on.
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
    """A crew of processes."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._context: Any = multiprocessing.get_context(METHOD)

    def start(self, number: int) -> "_Process":
        """One more, on the GPU whose turn it is where there are several."""
        receiver, sender = self._context.Pipe(duplex=False)
        gpu = visible_gpus()[number % self._task.gpus] if self._task.gpus else None
        process = self._context.Process(target=_live, args=(self._task, gpu, sender), name=f"nas worker {number}")
        process.start()
        sender.close()
        return _Process(process, receiver)

    def wait(self, members: Sequence[WorkerHandle], seconds: float) -> None:
        """Until one of them has ended, or for so long."""
        sentinels = [member.process.sentinel for member in members if isinstance(member, _Process)]
        if sentinels:
            wait(sentinels, seconds)
        else:
            time.sleep(seconds)

    def dismiss(self, members: Sequence[WorkerHandle]) -> None:
        """Asks them to end, which puts back what they train, and ends those that do not within seconds."""
        processes = [member.process for member in members if isinstance(member, _Process)]
        until = time.monotonic() + SECONDS_TO_END
        try:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(max(0.0, until - time.monotonic()))
        finally:  # also where a second Ctrl-C cuts the wait short
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
        code = self.process.exitcode
        killed = f"signal {-code} ({signal.strsignal(-code)})" if code and code < 0 else f"exit code {code}"
        return WorkerExit(died=killed)


def work(task: Task, images: ImageData | None = None) -> str:
    """What each worker does in its process, wherever that is; returns why it ended."""
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
    """The life of a process: it ends with its work, with SIGTERM, or with the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the supervisor says what it means
    interrupt_on_sigterm()
    with contextlib.suppress(OSError):  # where memory runs out Linux is to end a worker, which is replaced, no other
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is first used here
    try:
        end = WorkerExit(reason=work(task))
    except KeyboardInterrupt:
        end = WorkerExit(died="a signal to end")
    except DeviceLost as error:  # another process can use it
        end = WorkerExit(died=str(error))
    except NasError as error:
        end = WorkerExit(error=str(error))
    with contextlib.suppress(OSError):  # nobody listens any more
        sender.send(end)


def _end_with_parent() -> None:
    """A supervisor that was killed cannot say so: its workers look after themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(SECONDS_TO_END)
        os._exit(1)
