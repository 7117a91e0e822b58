"""Trained weights as safetensors: never a pickle, and the architecture travels in the header."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from nas.architecture import Architecture
from nas.errors import WeightsError
from nas.storage import write_whole

__all__ = ["load_weights", "save_weights"]


def save_weights(
    path: Path, weights: Mapping[str, Tensor], architecture: Architecture, *, notes: Mapping[str, str] | None = None
) -> None:
    """Writes the state of a `GroupConvNet`; `notes` join the architecture in the header. Whole or not at all."""
    header = {"format": "pt", "architecture": json.dumps(architecture.to_dict()), **(notes or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    write_whole(path, safetensors.torch.save(contiguous, metadata=header))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads what `save_weights` wrote.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: the weights cannot be read: {error}") from None
