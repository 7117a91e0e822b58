"""Checkpoint: a training that was interrupted goes on after its last epoch, and ends as if it had not been.

A file of safetensors, never a pickle: the network, the optimiser, the state of the random generator; how far the
training has come stands in the header.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from nas.storage import write_whole

__all__ = ["Checkpoint", "Progress"]

SHARE_OF_TIME = 0.05
"""No more of a training's time than this is spent on writing: where epochs are short, some are left out."""


class Progress(NamedTuple):
    """How far a training has come: its accuracy after each epoch, and its steps."""

    curve: tuple[float, ...]
    step: int


class Checkpoint:
    """The file of one training. `identity` is whatever must be the same for a training to go on from it."""

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        self._path, self._identity = path, json.dumps(identity, sort_keys=True)
        self._not_before = 0.0

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, *, progress: Progress
    ) -> None:
        """Writes the state after an epoch, if it is time. Whole or not at all."""
        began = time.monotonic()
        if began < self._not_before:
            return
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
        tensors["generator"] = generator.get_state()
        header = {"identity": self._identity, "progress": json.dumps(progress)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        write_whole(self._path, safetensors.torch.save(whole, metadata=header))
        self._not_before = time.monotonic() + (time.monotonic() - began) / SHARE_OF_TIME

    def progress(self) -> Progress | None:
        """How far the training had come; None where there is no file, or one that is damaged or of another training."""
        try:
            with safetensors.safe_open(self._path, "pt") as file:
                header = file.metadata()
            curve, step = json.loads(header["progress"])
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError):
            return None
        return Progress(tuple(curve), step) if header.get("identity") == self._identity else None

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """Puts back what `save` wrote, where `progress` has found something."""
        tensors = safetensors.torch.load_file(self._path)
        network.load_state_dict(_part(tensors, "network"))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer").items():
            index, _, field = name.partition(".")
            parameter = parameters[int(index)]
            # Fused optimisers expect moments to lie in memory as their parameter does.
            like = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            states.setdefault(int(index), {})[field] = like
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        generator.set_state(tensors["generator"])

    def remove(self) -> None:
        """The training has come to its end."""
        self._path.unlink(missing_ok=True)


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
