"""Saves and loads trained weights as safetensors, never pickles, with the architecture in the header."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from nas.architectures.architecture import Architecture
from nas.errors import WeightsError
from nas.system.files import write_whole
from nas.validation import shown

__all__ = ["load_weights", "put_into", "save_weights"]


def save_weights(
    path: Path, weights: Mapping[str, Tensor], architecture: Architecture, *, notes: Mapping[str, str] | None = None
) -> None:
    """Writes the weights of a `GroupConvNet` atomically.

    Args:
        path: the file; its folder is created if missing.
        weights: the network's state dict.
        architecture: the network's architecture, stored in the header.
        notes: further entries of the header.
    """
    header = {"format": "pt", "architecture": json.dumps(architecture.to_dict()), **(notes or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    write_whole(path, safetensors.torch.save(contiguous, metadata=header))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads the weights that `save_weights` wrote.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise WeightsError(f"{path}: the weights cannot be read: it is not a file")
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: the weights cannot be read: {error}") from None


def put_into(network: nn.Module, weights: Mapping[str, Tensor], *, of: str) -> None:
    """Loads trained weights into a network; `of` names the network in error messages.

    Raises:
        WeightsError: the weights are those of another network.
    """
    expected, found = (_shapes(tensors) for tensors in (network.state_dict(), weights))
    if other := [name for name in {**expected, **found} if expected.get(name) != found.get(name)]:
        raise WeightsError(
            f"{of}: the weights are not those of its network: {shown(other[0])} has another name, shape or type"
        )
    network.load_state_dict(dict(weights))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
