"""Saves and restores checkpoints: a resumed training ends as if it had never been interrupted.

A checkpoint is a safetensors file, never a pickle, with the states of network, optimiser and random generator, or of
each of several that are trained in turn; the progress is in the header.
"""

import copy
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from nas.errors import StudyError
from nas.system.files import why, write_whole
from nas.validation import integer, real

__all__ = ["Checkpoint", "Progress", "Trainee"]

SHARE_OF_TIME = 0.05
"""Maximum share of a training's time spent on checkpoints; short epochs are not all saved."""
SECONDS_BEFORE_FIRST = 2.0
"""No checkpoint is written before this: less training is repeated as quickly as a checkpoint is read."""


class Progress(NamedTuple):
    """The progress of a training: its accuracy after each epoch, and its number of steps."""

    curve: tuple[float, ...]
    step: int


class Trainee(NamedTuple):
    """A network in training, and what its training depends on."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


class Checkpoint:
    """The checkpoint file of one training, which only a training of the same `identity` can resume from.

    `seconds_before` is how long the training took until the state that was restored, if one was; `progress` reads it
    with all else that it validates.
    """

    def __init__(self, path: Path, identity: Mapping[str, object]) -> None:
        self._path, self._identity = path, json.dumps(identity, sort_keys=True)
        self._began = time.monotonic()
        self._not_before = self._began + SECONDS_BEFORE_FIRST
        self.seconds_before = self._seconds_there = 0.0

    def save(self, *trainees: Trainee, progress: Progress) -> None:
        """Writes the state after an epoch atomically, if a checkpoint is due.

        Raises:
            StudyError: the file cannot be written, which is not the training's fault.
        """
        began = time.monotonic()
        if began < self._not_before:
            return
        seconds = self.seconds_before + began - self._began
        header = {"identity": self._identity, "progress": json.dumps(progress), "seconds": f"{seconds:.3f}"}
        whole = {name: value.contiguous() for name, value in _tensors(trainees).items()}
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
            self._seconds_there = real(float(header.get("seconds", 0)), "seconds", minimum=0, maximum=1e9)
        except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RecursionError):
            return None
        return Progress(curve, step) if header.get("identity") == self._identity else None

    def holds(self, *trainees: Trainee) -> bool:
        """Returns whether the file has the complete, finite state of such a training, so that `restore` will not fail.

        The optimisers are those of the networks, before their first step.
        """
        try:
            tensors = safetensors.torch.load_file(self._path)
            for prefix, trainee in _named(trainees):
                torch.Generator(trainee.generator.device).set_state(tensors[f"{prefix}generator"])
        except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
            return False
        expected = _tensors([_stepped(trainee) for trainee in trainees])
        return {name: (value.shape, value.dtype) for name, value in tensors.items()} == {
            name: (value.shape, value.dtype) for name, value in expected.items()
        } and all(value.isfinite().all() for value in tensors.values())

    def restore(self, *trainees: Trainee) -> None:
        """Restores the saved state, in place; call only if `progress` is not None and `holds` is true."""
        tensors = safetensors.torch.load_file(self._path)
        for prefix, trainee in _named(trainees):
            _restore(trainee, tensors, prefix)
        self.seconds_before = self._seconds_there


def _named(trainees: Sequence[Trainee]) -> list[tuple[str, Trainee]]:
    """Returns the networks with the prefixes of their tensors' names, which one by itself does not have."""
    return [(f"{number}." if len(trainees) > 1 else "", trainee) for number, trainee in enumerate(trainees)]


def _stepped(trainee: Trainee) -> Trainee:
    """Returns a copy after one step, as an optimiser has no state before."""
    network, optimizer = copy.deepcopy((trainee.network, trainee.optimizer))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return Trainee(network, optimizer, trainee.generator)


def _restore(trainee: Trainee, tensors: Mapping[str, Tensor], prefix: str) -> None:
    network, optimizer, generator = trainee
    network.load_state_dict(_part(tensors, f"{prefix}network"))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, f"{prefix}optimizer").items():
        index, _, field = name.partition(".")
        parameter = parameters[int(index)]
        # Fused optimisers expect moments in the memory layout of their parameter.
        like = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        states.setdefault(int(index), {})[field] = like
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    generator.set_state(tensors[f"{prefix}generator"])


def _tensors(trainees: Sequence[Trainee]) -> dict[str, Tensor]:
    """Returns the state of a training, on the CPU, by its names in a checkpoint."""
    tensors: dict[str, Tensor] = {}
    for prefix, (network, optimizer, generator) in _named(trainees):
        tensors |= {f"{prefix}network.{name}": value for name, value in network.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            kept = {f"{prefix}optimizer.{index}.{name}": value for name, value in state.items() if value is not None}
            tensors |= kept
        tensors[f"{prefix}generator"] = generator.get_state()
    return {name: value.detach().cpu() for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
