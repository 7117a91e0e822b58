"""The Lightning Trainer as trials use it: bare, quiet, and in bfloat16 where a GPU has it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning
import torch

__all__ = ["bare_trainer", "in_half", "quiet_lightning"]


def bare_trainer(accelerator: str, *, epochs: int) -> lightning.Trainer:
    """A Trainer without logger, checkpoints, bars, summary and sanity steps; bfloat16 where a GPU has it."""
    half = in_half(torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"))
    return lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision="bf16-mixed" if half else "32-true",
        max_epochs=epochs,
        barebones=True,
    )


def in_half(device: torch.device) -> bool:
    """Whether arithmetic on a device is in bfloat16, with float32 weights."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


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
