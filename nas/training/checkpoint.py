"""Saves and restores checkpoints: a resumed training ends as if it had never been interrupted.

A checkpoint is a safetensors file, never a pickle, with the states of network, optimiser and random generator; the
progress is in the header.
"""

import copy
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from nas.errors import StudyError
from nas.system.files import why, write_whole
from nas.validation import integer, real

__all__ = ["Checkpoint", "Progress"]

SHARE_OF_TIME = 0.05
"""Maximum share of a training's time spent on checkpoints; short epochs are not all saved."""
SECONDS_BEFORE_FIRST = 2.0
"""No checkpoint is written before this: less training is repeated as quickly as a checkpoint is read."""


class Progress(NamedTuple):
    """The progress of a training: its accuracy after each epoch, and its number of steps."""

    curve: tuple[float, ...]
    step: int


class Checkpoint:
    """The checkpoint file of one training, which only a training of the same `identity` can resume from."""

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        self._path, self._identity = path, json.dumps(identity, sort_keys=True)
        self._not_before = time.monotonic() + SECONDS_BEFORE_FIRST

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, *, progress: Progress
    ) -> None:
        """Writes the state after an epoch atomically, if a checkpoint is due.

        Raises:
            StudyError: the file cannot be written, which is not the training's fault.
        """
        began = time.monotonic()
        if began < self._not_before:
            return
        header = {"identity": self._identity, "progress": json.dumps(progress)}
        whole = {name: value.contiguous() for name, value in _tensors(network, optimizer, generator).items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, safetensors.torch.save(whole, metadata=header))
        except OSError as error:
            raise StudyError(f"{self._path}: cannot be written: {why(error)}") from None
        self._not_before = time.monotonic() + (time.monotonic() - began) / SHARE_OF_TIME

    def progress(self) -> Progress | None:
        """Returns the stored progress; None if the file is missing, damaged or of another training."""
        try:
            if not self._path.is_file():  # opening a pipe would block
                return None
            with safetensors.safe_open(self._path, "pt") as file:
                header = file.metadata()
            curve, step = json.loads(header["progress"])
            curve = tuple(real(accuracy, "curve", minimum=0, maximum=1) for accuracy in curve)
            step = integer(step, "step", minimum=0, maximum=10**15)
        except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RecursionError):
            return None
        return Progress(curve, step) if header.get("identity") == self._identity else None

    def holds(self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> bool:
        """Returns whether the file has the complete, finite state of such a training, so that `restore` will not fail.

        `optimizer` is the network's, before its first step.
        """
        try:
            tensors = safetensors.torch.load_file(self._path)
            torch.Generator(generator.device).set_state(tensors["generator"])
        except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
            return False
        rehearsed, stepped = copy.deepcopy((network, optimizer))
        for parameter in rehearsed.parameters():
            parameter.grad = torch.zeros_like(parameter)
        stepped.step()  # an optimiser has no state before its first step
        expected = _tensors(rehearsed, stepped, generator)
        return {name: (value.shape, value.dtype) for name, value in tensors.items()} == {
            name: (value.shape, value.dtype) for name, value in expected.items()
        } and all(value.isfinite().all() for value in tensors.values())

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """Restores the saved state, in place; call only if `progress` is not None and `holds` is true."""
        tensors = safetensors.torch.load_file(self._path)
        network.load_state_dict(_part(tensors, "network"))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer").items():
            index, _, field = name.partition(".")
            parameter = parameters[int(index)]
            # Fused optimisers expect moments in the memory layout of their parameter.
            like = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            states.setdefault(int(index), {})[field] = like
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        generator.set_state(tensors["generator"])


def _tensors(network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> dict[str, Tensor]:
    """Returns the state of a training, on the CPU, by its names in a checkpoint."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
    tensors["generator"] = generator.get_state()
    return {name: value.detach().cpu() for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
