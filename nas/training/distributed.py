"""Trains one architecture data-parallel with several local processes, each on its own GPU.

Each process learns from its shard of every batch, and torch's DistributedDataParallel averages the gradients, so that
all take the same steps. They report to the process that started them, which also ends them all.
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
from nas.system.processes import METHOD, end_with_parent, exit_text, prepare
from nas.training.objective import Report, Teacher
from nas.training.recipe import Recipe

if TYPE_CHECKING:
    from nas.training.objective import TrainingResult

__all__ = ["equal_shares", "train_together"]

LEAST_SHARE = 16
"""Minimum shard: BatchNorm statistics are per process, and smaller ones cost accuracy (arXiv:1803.08494)."""
SECONDS_TO_SHOW = 2.0
"""How long to wait for the exit code of a killed process, once another has failed because of it."""
PATIENCE = timedelta(days=1)
"""Timeout of collectives: long, as deaths are detected by the parent, and a report may take a while."""


@dataclass(frozen=True)
class _Task:
    """The job of each process. `images` is a folder from `save_shared`, `meeting` the file of the rendezvous."""

    architecture: Architecture
    images: Path
    recipe: Recipe
    processes: int
    device: str
    seed: int
    checkpoint: Path | None
    teachers: Sequence[Teacher]
    meeting: Path


class _Epoch(NamedTuple):
    """Message from rank 0: an epoch is done, and it waits for a reply."""

    number: int
    accuracy: float


class _Failure(NamedTuple):
    """Message from a failed process; `make` creates the exception to raise."""

    make: Callable[[], Exception]


class _Member(NamedTuple):
    """A process and the pipe to it."""

    process: Any
    pipe: Connection


def equal_shares(recipe: Recipe, images: ImageData, most: int) -> int:
    """Returns the largest number of equal shards, up to `most`, of at least 16 images each, of a batch; at least 1.

    Networks of several folds are trained by one process.
    """
    if images.folds:
        return 1
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
    teachers: Sequence[Teacher] = (),
) -> "TrainingResult":
    """Trains like `nas.training.train.train`, with several processes: one per GPU, or several on the CPU.

    Batch size and learning rate are the recipe's; each process learns from an equal shard of every batch. A step equals
    one on the whole batch, with three exceptions: BatchNorm normalises each shard separately, with averaged running
    statistics; each process draws crops and mirrors for its shard; and class weights are relative to its images.
    Validation is sharded, too. A resumed training ends as if never interrupted, with more than two processes up to
    rounding.

    Args:
        architecture: the architecture to train.
        images: the data set.
        recipe: the training recipe.
        processes: maximum number of processes; the number used is that of `equal_shares`.
        device: one of `nas.system.hardware.DEVICES`.
        seed: the training seed.
        report: called in this process after every epoch, while the training waits.
        checkpoint: the checkpoint file; another number of processes may resume from it.
        teachers: networks that it also learns from.

    Raises:
        TrainingFailed: the loss was not finite (`not_finite`), or a process died (`worker_died`).
        RuntimeError: a process failed otherwise; its traceback is the message.
        KeyboardInterrupt: passed on, as is whatever `report` raises, once all processes have ended.
    """
    prepare()
    gpus = visible_gpus() if device != "cpu" else []
    number = equal_shares(recipe, images, min(processes, len(gpus)) if gpus else processes)
    context: Any = multiprocessing.get_context(METHOD)
    members: list[_Member] = []
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        meeting = Path(folder) / "meeting"
        shared = save_shared(images)
        task = _Task(architecture, shared, recipe, number, device, seed, checkpoint, teachers, meeting)
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
            for member in members:  # none exits by itself, and none has anything to clean up
                member.process.kill()
            for member in members:
                member.process.join()


def _attend(members: Sequence[_Member], report: Report | None) -> "TrainingResult":
    """Forwards the processes' reports until rank 0 sends the result."""
    from nas.training.objective import TrainingResult  # importing takes seconds, while the processes start

    sentinels = [member.process.sentinel for member in members]
    while True:
        ready = wait([*sentinels, *(member.pipe for member in members)])
        for pipe in [member.pipe for member in members if member.pipe in ready]:
            try:
                message: Any = pickle.loads(pipe.recv_bytes())
            except (EOFError, OSError):  # the process has ended
                raise _death(members) from None
            if isinstance(message, _Failure):
                failure = message.make()
                # If one process was killed, the others fail because of it, and may report first.
                raise failure if type(failure) is not RuntimeError else _death(members, failure) from None
            if isinstance(message, TrainingResult):
                return message
            if report:
                report(message.number, message.accuracy)
            with contextlib.suppress(OSError):  # the next wait() detects it
                pipe.send_bytes(b"go on")
        if set(sentinels) & set(ready):
            raise _death(members)


def _death(members: Sequence[_Member], otherwise: Exception | None = None) -> Exception:
    """Returns an error that names the process that died and how; `otherwise`, if given, when none is found."""
    wait([member.process.sentinel for member in members], SECONDS_TO_SHOW)
    for rank, member in enumerate(members):
        if (code := member.process.exitcode) is not None:
            how = exit_text(code)
            text = f"process {rank + 1} of the {len(members)} that trained together was ended by {how}"
            return TrainingFailed("worker_died", text)
    return otherwise or TrainingFailed("worker_died", "a process of those that trained together cannot be reached")


def _live(task: _Task, rank: int, gpu: str | None, pipe: Connection) -> None:
    """Runs a process, which lives until its parent kills it or ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all; the parent handles them
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is first used here
    message: Any
    try:
        message = _learn(task, rank, pipe)
    except BaseException as error:
        message = _Failure(_again(error))
    if rank == 0 or isinstance(message, _Failure):
        pipe.send_bytes(pickle.dumps(message))
    threading.Event().wait()  # exiting would make the others fail


def _learn(task: _Task, rank: int, pipe: Connection) -> "TrainingResult":
    """Runs this process's part of the training."""
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
        teachers=task.teachers,
    )


def _again(error: BaseException) -> Callable[[], Exception]:
    """Returns a picklable factory that recreates the exception in the parent."""
    if isinstance(error, TrainingFailed):
        return partial(TrainingFailed, error.reason, str(error))
    if isinstance(error, KeyboardInterrupt):
        return partial(TrainingFailed, "worker_died", "a process of those that trained together got a signal to end")
    if isinstance(error, Exception) and is_out_of_memory(error):
        return partial(type(error), str(error))
    return partial(RuntimeError, "".join(traceback.format_exception(error)))
