"""Measures the latency of an architecture's forward pass on this machine, by layer too, and its peak memory.

A network is measured as deployed: in eval mode, each BatchNorm folded into its convolution, channels last, float32
(which torch convolves as TF32 on a GPU by default), with torch's number of threads. Its weights are untrained, as time
and memory do not depend on training. On a GPU a pass is the replay of a CUDA graph, timed by GPU events: the time that
Python takes to launch hundreds of kernels is not a property of the network.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost
from nas.architectures.network import build_network, fold
from nas.system.cuda_graph import TimedReplay
from nas.system.hardware import AUTO, device_of, in_words, seconds_waited
from nas.validation import integer

__all__ = ["REST", "Latency", "measure_latency", "measure_together", "peak_memory", "time_by_layer"]

REST = "rest"
"""The time outside the layers: skip additions, pooling, and Python between the layers."""
ROUNDS = 5
RUNS_PER_ROUND = 2
WARM_UP_RUNS, WARM_UP_SECONDS, CUDA_WARM_UP_SECONDS = 3, 0.05, 0.3
"""A GPU needs longer, as it takes a while to reach its clock rate from idle."""


class Latency(NamedTuple):
    """The latency of one batch in milliseconds: median and quartiles (`low`, `high`) over `runs` runs.

    `device` is a readable name. `waited` is the share of the time, in [0, 1], that this process's threads waited for a
    core, where the system reports it (Linux does). Unless it is near 0, other programs interfered; close quartiles do
    not rule that out, as a multi-threaded layer waits for its slowest thread.
    """

    batch: int
    median: float
    low: float
    high: float
    runs: int
    device: str
    waited: float = 0.0

    @property
    def per_image(self) -> float:
        """Median milliseconds per image of the batch."""
        return self.median / self.batch


def measure_latency(architecture: Architecture, *, device: str = AUTO, batch: int = 1, seconds: float = 0.3) -> Latency:
    """Measures a forward pass of `batch` images, warmed up and then repeated for about `seconds`, at least 10 times.

    Raises:
        InvalidValue: the device is not available, or `batch` is not a positive whole number.
    """
    return measure_together([architecture], device=device, batch=batch, seconds=seconds)[0]


def measure_together(
    architectures: Sequence[Architecture], *, device: str = AUTO, batch: int = 1, seconds: float = 0.3
) -> list[Latency]:
    """Measures several architectures in turn, in five rounds, so that a slowdown of the machine affects all alike.

    Each takes about `seconds`. Raises the same as `measure_latency`.
    """
    where = device_of(device)
    passes = [_Pass(architecture, where, batch) for architecture in architectures]
    times: list[list[float]] = [[] for _ in passes]
    with _undisturbed():
        for each in passes:
            _warm_up(each)
        start, waited = time.perf_counter(), seconds_waited()
        for _ in range(ROUNDS):
            for each, so_far in zip(passes, times, strict=True):
                if len(passes) > 1:
                    each()  # the others evicted its weights from the caches
                so_far.extend(_repeat(each, least=RUNS_PER_ROUND, seconds=seconds / ROUNDS))
        share = (seconds_waited() - waited) / (time.perf_counter() - start) / torch.get_num_threads()
    words, share = in_words(where), min(1.0, max(0.0, share))
    return [_latency(found, batch, device=words, waited=share) for found in times]


def time_by_layer(architecture: Architecture, *, device: str = AUTO, batch: int = 1) -> dict[str, float]:
    """Returns the share of a forward pass's time for each layer of `cost`, by path, and for `REST`; they sum to 1.

    A layer is a convolution with its ReLU, or the classifier. On CUDA each is timed separately, as its own graph, so
    layers that otherwise overlap are counted separately. Raises the same as `measure_latency`.
    """
    each = _Pass(architecture, device_of(device), batch)
    paths = [layer.layer for layer in cost(architecture).layers]
    with _undisturbed():
        _warm_up(each)
        medians = _replayed_by_layer(each, paths) if each.device.type == "cuda" else _clocked_by_layer(each, paths)
    whole = sum(medians.values())
    return {path: value / whole for path, value in medians.items()}


def peak_memory(architecture: Architecture, *, device: str = AUTO, batch: int = 1) -> int:
    """Returns the peak memory, in bytes, of the weights, images and activations of a forward pass.

    On CUDA that is the memory allocated by torch. On a CPU it is the total of the live tensors, without temporary
    buffers of kernels, such as copies in another layout. Raises the same as `measure_latency`.
    """
    each = _Pass(architecture, device_of(device), batch)
    held = [*each.network.state_dict().values(), each.images]
    with torch.inference_mode():
        if each.device.type == "cuda":
            each.forward()  # excludes the one-time set-up of the device's libraries
            before = torch.cuda.memory_allocated(each.device)
            torch.cuda.reset_peak_memory_stats(each.device)
            each.forward()
            taken = int(torch.cuda.max_memory_allocated(each.device)) - before
            return taken + int(sum(tensor.nbytes for tensor in held))
        memory = _LiveMemory(held)
        with memory:
            each()
    return memory.peak


class _Pass:
    """A network as deployed and a batch of noise, on a device; a call runs and times a forward pass."""

    def __init__(self, architecture: Architecture, device: torch.device, batch: int) -> None:
        integer(batch, "batch")
        seen = architecture.input
        with torch.random.fork_rng(devices=[]):  # measuring does not affect the global random state
            network = build_network(architecture)
            images = torch.rand(batch, seen.channels, *seen.sides)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)  # a trained network has no all-zero layers, which run faster on a GPU
        fold(network)
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = images.to(device, memory_format=torch.channels_last)
        self._replay: TimedReplay | None = None

    def forward(self) -> Tensor:
        """Returns the logits, computed eagerly."""
        logits: Tensor = self.network(self.images)
        return logits

    def __call__(self) -> float:
        """Runs a forward pass and returns its milliseconds."""
        if self.device.type == "cuda":
            self._replay = self._replay or TimedReplay(self.forward, self.device)
            return self._replay()
        start = time.perf_counter()
        self.forward()
        return 1000 * (time.perf_counter() - start)


class _LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the memory of live tensors while entered: those given and those returned by operators."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._sizes: MutableMapping[Any, int] = WeakIdKeyDictionary()  # a storage is dropped with its last tensor
        self._see(held)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._see(tree_leaves(result))
        return result

    def _see(self, values: Sequence[Any]) -> None:
        for value in values:
            if isinstance(value, Tensor):
                storage = value.untyped_storage()  # shared between a view and its base
                self._sizes[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._sizes.values()))


def _clocked_by_layer(each: _Pass, paths: Sequence[str]) -> dict[str, float]:
    """Returns the median milliseconds of each layer and of the rest, from hooks on full CPU passes."""
    spent = dict.fromkeys(paths, 0.0)
    for path in paths:
        _clock(each.network.get_submodule(path), path, spent=spent)
    runs: list[dict[str, float]] = []

    def run() -> float:
        whole = each()
        runs.append({**spent, REST: max(0.0, whole - sum(spent.values()))})
        return whole

    _repeat(run, least=ROUNDS * RUNS_PER_ROUND, seconds=0.3)
    return {path: statistics.median(found[path] for found in runs) for path in runs[0]}


def _replayed_by_layer(each: _Pass, paths: Sequence[str]) -> dict[str, float]:
    """Returns the median milliseconds of each layer and of the rest, from replaying each layer on its own input."""
    given: dict[str, Tensor] = {}

    def remember(path: str) -> Callable[..., None]:
        return lambda _, inputs: given.update({path: inputs[0].clone()})

    layers = {path: each.network.get_submodule(path) for path in paths}
    hooks = [layer.register_forward_pre_hook(remember(path)) for path, layer in layers.items()]
    each.forward()
    for hook in hooks:
        hook.remove()
    runs: dict[str, Callable[[], float]] = {
        path: TimedReplay(partial(layer, given[path]), each.device) for path, layer in layers.items()
    }
    medians = {
        path: statistics.median(_repeat(run, least=ROUNDS * RUNS_PER_ROUND, seconds=0.3 / len(runs)))
        for path, run in runs.items()
    }
    whole = statistics.median(_repeat(each, least=ROUNDS * RUNS_PER_ROUND, seconds=0.3))
    return {**medians, REST: max(0.0, whole - sum(medians.values()))}


def _clock(module: nn.Module, path: str, *, spent: dict[str, float]) -> None:
    """Makes a module record the milliseconds of its last call in `spent[path]`."""

    def begin(*_: Any) -> None:
        spent[path] = -1000 * time.perf_counter()

    def end(*_: Any) -> None:
        spent[path] += 1000 * time.perf_counter()

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)


def _warm_up(each: _Pass) -> None:
    seconds = CUDA_WARM_UP_SECONDS if each.device.type == "cuda" else WARM_UP_SECONDS
    _repeat(each, least=WARM_UP_RUNS, seconds=seconds)


def _repeat(run: Callable[[], float], *, least: int, seconds: float) -> list[float]:
    """Calls `run` for `seconds`, at least `least` times, and returns the results."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        found.append(run())
    return found


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Disables gradients and garbage collection."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_enabled:
            gc.enable()


def _latency(times: Sequence[float], batch: int, *, device: str, waited: float) -> Latency:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Latency(batch, median, low, high, len(times), device, waited)
