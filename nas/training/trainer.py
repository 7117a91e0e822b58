"""The Lightning Trainer as trials use it: bare, quiet, in bfloat16 where a GPU has it; alone or as one of a team."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import lightning
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["ALONE", "Loader", "Team", "bare_trainer", "in_float32", "in_half", "quiet_lightning"]

T = TypeVar("T")
Parts = TypeVar("Parts", Tensor, list[slice])


class Loader(Generic[T]):
    """What Lightning takes in place of a DataLoader: a length, and a fresh iterator each epoch."""

    def __init__(self, length: int, iterate: Callable[[], Iterator[T]]) -> None:
        self._length, self._iterate = length, iterate

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return self._iterate()


@dataclass(frozen=True)
class Team:
    """This process, the `rank`-th from 0, among those that share one training; they have met in torch.distributed.

    All of them do the same steps in the same order, since each waits for the others where something is exchanged. One
    process alone exchanges nothing.
    """

    rank: int = 0
    processes: int = 1

    def share(self, whole: Parts) -> Parts:
        """What is this process's to work on; together the shares are the whole."""
        return whole[self.rank :: self.processes]

    def own(self, generator: torch.Generator) -> torch.Generator:
        """Random numbers for this process's share, from a generator that is in the same state in all of the team."""
        if self.processes == 1:
            return generator
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device).item())
        return torch.Generator(generator.device).manual_seed(seed + self.rank)

    def averaging(self, network: nn.Module) -> nn.Module:
        """The network as it is called to learn: each process's gradients come out as the average over the team."""
        # Buffers are left alone: no step uses BatchNorm's running statistics, and `average` mends them once an epoch.
        return DistributedDataParallel(network, broadcast_buffers=False) if self.processes > 1 else network

    def average(self, measured: Iterable[Tensor]) -> None:
        """In place; what is no fraction is a count of steps, which is the same everywhere."""
        for tensor in measured:
            if self.processes > 1 and tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor.div_(self.processes)

    def add_up(self, counts: Tensor) -> None:
        """In place."""
        if self.processes > 1:
            distributed.all_reduce(counts)


ALONE = Team()


def bare_trainer(device: torch.device, *, epochs: int) -> lightning.Trainer:
    """A Trainer without logger, checkpoints, bars, summary and sanity steps; bfloat16 where a GPU has it.

    The device is the CPU, or the first CUDA device.
    """
    return lightning.Trainer(
        accelerator=device.type,
        devices=1,
        precision="bf16-mixed" if in_half(device) else "32-true",
        max_epochs=epochs,
        barebones=True,
    )


def in_half(device: torch.device) -> bool:
    """Whether arithmetic on a device is in bfloat16, with float32 weights."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Computes in full float32, without autocast and TensorFloat-32: bfloat16 would flip some 0.4 % of the answers."""
    was_allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = was_allowed


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's banners, tips and warnings out of a search, and gives Ctrl-C its usual meaning."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SystemExit:  # how Lightning answers Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        logger.setLevel(level)
