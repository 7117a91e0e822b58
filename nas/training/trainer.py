"""The Lightning Trainer as trials use it: bare, quiet, in bfloat16 where a GPU has it; alone or as one of a group."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import lightning
import torch

__all__ = ["Loader", "bare_trainer", "in_float32", "in_half", "quiet_lightning"]

T = TypeVar("T")


class Loader(Generic[T]):
    """What Lightning takes in place of a DataLoader: a length, and a fresh iterator each epoch."""

    def __init__(self, length: int, iterate: Callable[[], Iterator[T]]) -> None:
        self._length, self._iterate = length, iterate

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return self._iterate()


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
