"""Configures the Lightning Trainer for trials: bare, quiet, and in bfloat16 where that is faster."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import lightning
import torch

from nas.system.hardware import HALF_ON_CPU_FROM, cpu_multiplies_bfloat16

__all__ = ["Loader", "bare_trainer", "in_float32", "in_half", "quiet_lightning"]

T = TypeVar("T")


class Loader(Generic[T]):
    """A minimal stand-in for a DataLoader: a length, and a new iterator each epoch."""

    def __init__(self, length: int, iterate: Callable[[], Iterator[T]]) -> None:
        self._length, self._iterate = length, iterate

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return self._iterate()


def bare_trainer(device: torch.device, *, epochs: int, half: bool = False) -> lightning.Trainer:
    """Returns a Trainer without logger, checkpoints, progress bars, summary and sanity steps.

    The device is the CPU or the first CUDA device; with `half`, it trains in mixed precision (`in_half`).
    """
    return lightning.Trainer(
        accelerator=device.type,
        devices=1,
        precision="bf16-mixed" if half else "32-true",
        max_epochs=epochs,
        barebones=True,
    )


def in_half(device: torch.device, flops: int) -> bool:
    """Returns whether to train a network on a device in mixed precision: bfloat16 arithmetic, float32 weights."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and flops >= HALF_ON_CPU_FROM and cpu_multiplies_bfloat16()


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Computes in full float32, without autocast or TensorFloat-32: bfloat16 would flip about 0.4 % of predictions."""
    was_allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = was_allowed


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppresses Lightning's banners, tips and warnings, and makes Ctrl-C raise KeyboardInterrupt again."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SystemExit:  # raised by Lightning on Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        logger.setLevel(level)
