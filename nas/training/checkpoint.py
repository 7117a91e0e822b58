"""Checkpoint: a training that was interrupted goes on after its last epoch, and ends as if it had not been.

A file of safetensors, never a pickle: the network, the optimiser, the state of the random generator; how far the
training has come stands in the header.
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
"""No more of a training's time than this is spent on writing: where epochs are short, some are left out."""
SECONDS_BEFORE_FIRST = 2.0
"""What took less is trained again as soon as it is read."""


class Progress(NamedTuple):
    """How far a training has come: its accuracy after each epoch, and its steps."""

    curve: tuple[float, ...]
    step: int


class Checkpoint:
    """The file of one training. `identity` is whatever must be the same for a training to go on from it."""

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        self._path, self._identity = path, json.dumps(identity, sort_keys=True)
        self._not_before = time.monotonic() + SECONDS_BEFORE_FIRST

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, *, progress: Progress
    ) -> None:
        """Writes the state after an epoch, if it is time. Whole or not at all.

        Raises:
            StudyError: it cannot be written, which is no fault of the training.
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
        """How far the training had come; None where there is no file, or one that is damaged or of another training."""
        try:
            if not self._path.is_file():  # a pipe would be waited for
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
        """Whether the file has the whole state of such a training, so that `restore` will not fail halfway.

        `optimizer` is that of the network, and has not taken a step yet.
        """
        try:
            tensors = safetensors.torch.load_file(self._path)
            torch.Generator(generator.device).set_state(tensors["generator"])
        except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
            return False
        rehearsed, stepped = copy.deepcopy((network, optimizer))
        for parameter in rehearsed.parameters():
            parameter.grad = torch.zeros_like(parameter)
        stepped.step()  # only then an optimiser has a state
        expected = _tensors(rehearsed, stepped, generator)
        return {name: (value.shape, value.dtype) for name, value in tensors.items()} == {
            name: (value.shape, value.dtype) for name, value in expected.items()
        } and all(value.isfinite().all() for value in tensors.values())

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> None:
        """Puts back what `save` wrote, where `progress` has found something and it `holds`."""
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


def _tensors(network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> dict[str, Tensor]:
    """The state of a training, on the CPU, by the names that a checkpoint has for it."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
    tensors["generator"] = generator.get_state()
    return {name: value.detach().cpu() for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
