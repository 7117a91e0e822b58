"""train_together(): one training by several processes of this machine, each on a GPU of its own.

Each learns from its share of every batch, and torch's DistributedDataParallel averages the gradients, so that all of
them take the same steps. What they have to say reaches the process that started them, which ends them all.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.architectures.architecture import Architecture
from nas.data.cache import open_shared, save_shared
from nas.data.images import ImageData
from nas.errors import TrainingFailed
from nas.system.hardware import AUTO, cores, visible_gpus
from nas.system.memory import is_out_of_memory
from nas.system.processes import METHOD, prepare
from nas.training.objective import Report
from nas.training.recipe import Recipe

if TYPE_CHECKING:
    from nas.training.objective import TrainingResult

__all__ = ["equal_shares", "train_together"]

LEAST_SHARE = 16
"""Each process has BatchNorm's statistics from its own share; on fewer images accuracy suffers (arXiv:1803.08494)."""
SECONDS_TO_SHOW = 2.0
"""How soon a process that was killed is seen to be, once the others have failed for it."""
PATIENCE = timedelta(days=1)
"""How long processes wait for each other: a death is noticed from outside, and a report may take its time."""


@dataclass(frozen=True)
class _Task:
    """What each process is told. `images` is a folder of `save_shared`, `meeting` the file by which all meet."""

    architecture: Architecture
    images: Path
    recipe: Recipe
    processes: int
    device: str
    seed: int
    checkpoint: Path | None
    meeting: Path


class _Epoch(NamedTuple):
    """The first process has ended an epoch, and waits for an answer."""

    number: int
    accuracy: float


class _Failure(NamedTuple):
    """A process cannot go on; `make` gives the exception that says why."""

    make: Callable[[], Exception]


class _Member(NamedTuple):
    """One process, and the pipe that ends in it."""

    process: Any
    pipe: Connection


def equal_shares(recipe: Recipe, images: ImageData, most: int) -> int:
    """Into how many equal shares of at least 16 images the recipe's batch can be divided; at most so many, or 1."""
    batch = min(recipe.batch_size, len(images.train.labels))
    most = min(most, batch // LEAST_SHARE, len(images.validation.labels))
    return max((number for number in range(1, most + 1) if batch % number == 0), default=1)


def train_together(
    architecture: Architecture,
    images: ImageData,
    recipe: Recipe,
    *,
    processes: int,
    device: str = AUTO,
    seed: int = 0,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> "TrainingResult":
    """As `nas.training.train.train`, by at most so many processes: one a GPU, or several on the CPU.

    The batch and the learning rate are the recipe's, and each process learns from an equal share of each batch
    (`equal_shares` of them). A step is that on the whole batch, but for two things: BatchNorm normalises each share by
    itself, its running statistics being the average; and each process draws crops and mirrors for its share.
    All validate, each a share of the images. `report` is called here, and the training waits for it. A training that
    goes on from its checkpoint ends as if undisturbed, with more than two processes but for rounding; another number
    of them may go on from it, too.

    Raises:
        TrainingFailed: the loss was not finite (`not_finite`), or a process was ended from outside (`worker_died`).
        RuntimeError: a process failed otherwise; its traceback is the message.
        KeyboardInterrupt: passed on, as is whatever `report` raises, once all the processes are ended.
    """
    prepare()
    gpus = visible_gpus() if device != "cpu" else []
    number = equal_shares(recipe, images, min(processes, len(gpus)) if gpus else processes)
    context: Any = multiprocessing.get_context(METHOD)
    members: list[_Member] = []
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        meeting = Path(folder) / "meeting"
        task = _Task(architecture, save_shared(images), recipe, number, device, seed, checkpoint, meeting)
        try:
            for rank in range(number):
                here, there = context.Pipe()
                gpu = gpus[rank] if gpus else None
                process = context.Process(target=_live, args=(task, rank, gpu, there), name=f"nas training {rank}")
                process.start()
                there.close()
                members.append(_Member(process, here))
            return _attend(members, report)
        finally:
            for member in members:  # none ends by itself, and none has anything to put back
                member.process.kill()
            for member in members:
                member.process.join()


def _attend(members: Sequence[_Member], report: Report | None) -> "TrainingResult":
    """Hands on what the processes say until the first of them has the result."""
    from nas.training.objective import TrainingResult  # which takes seconds, as the processes do to start

    sentinels = [member.process.sentinel for member in members]
    while True:
        ready = wait([*sentinels, *(member.pipe for member in members)])
        for pipe in [member.pipe for member in members if member.pipe in ready]:
            try:
                said: Any = pickle.loads(pipe.recv_bytes())
            except (EOFError, OSError):  # its process has ended
                raise _death(members) from None
            if isinstance(said, _Failure):
                failure = said.make()
                # Where one process was killed the others fail for it, and may say so first.
                raise failure if type(failure) is not RuntimeError else _death(members, failure) from None
            if isinstance(said, TrainingResult):
                return said
            if report:
                report(said.number, said.accuracy)
            with contextlib.suppress(OSError):  # the next look tells
                pipe.send_bytes(b"go on")
        if set(sentinels) & set(ready):
            raise _death(members)


def _death(members: Sequence[_Member], otherwise: Exception | None = None) -> Exception:
    """Which process was ended from outside, and how; if none is seen to be, the other explanation."""
    wait([member.process.sentinel for member in members], SECONDS_TO_SHOW)
    for rank, member in enumerate(members):
        if (code := member.process.exitcode) is not None:
            how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
            text = f"process {rank + 1} of the {len(members)} that trained together was ended by {how}"
            return TrainingFailed("worker_died", text)
    return otherwise or TrainingFailed("worker_died", "a process of those that trained together cannot be reached")


def _live(task: _Task, rank: int, gpu: str | None, pipe: Connection) -> None:
    """The life of a process: it is ended by the one that started it, or when that has ended."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they go to all: the process that started this says what they mean
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is first used here
    said: Any
    try:
        said = _learn(task, rank, pipe)
    except BaseException as error:
        said = _Failure(_again(error))
    if rank == 0 or isinstance(said, _Failure):
        pipe.send_bytes(pickle.dumps(said))
    threading.Event().wait()  # one that went away would make the others fail


def _learn(task: _Task, rank: int, pipe: Connection) -> "TrainingResult":
    """One process's part in the training."""
    import torch

    from nas.training.data_parallel import ProcessGroup
    from nas.training.train import on_device, train

    def report(epoch: int, accuracy: float) -> None:
        pipe.send_bytes(pickle.dumps(_Epoch(epoch, accuracy)))
        pipe.recv_bytes()

    torch.set_num_threads(max(1, cores() // task.processes))
    data = on_device(open_shared(task.images), task.recipe, task.device)
    nccl = data.device.type == "cuda" and torch.distributed.is_nccl_available()
    torch.distributed.init_process_group(
        "nccl" if nccl else "gloo",
        store=torch.distributed.FileStore(str(task.meeting), task.processes),  # type: ignore[attr-defined]
        rank=rank,
        world_size=task.processes,
        timeout=PATIENCE,
    )
    return train(
        task.architecture,
        data,
        task.recipe,
        seed=task.seed,
        report=report if rank == 0 else None,
        checkpoint=task.checkpoint,
        group=ProcessGroup(rank, task.processes),
    )


def _again(error: BaseException) -> Callable[[], Exception]:
    """What makes an exception like this one in another process."""
    if isinstance(error, TrainingFailed):
        return partial(TrainingFailed, error.reason, str(error))
    if isinstance(error, KeyboardInterrupt):
        return partial(TrainingFailed, "worker_died", "a process of those that trained together got a signal to end")
    if isinstance(error, Exception) and is_out_of_memory(error):
        return partial(type(error), str(error))
    return partial(RuntimeError, "".join(traceback.format_exception(error)))


def _end_with_parent() -> None:
    """The process that started this one may be killed, and cannot say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
