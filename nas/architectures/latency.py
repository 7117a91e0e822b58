"""How long one forward pass of an architecture takes on this machine, where the time goes, and what memory it needs.

A network is measured as it is shipped: in eval mode, each BatchNorm folded into its convolution, channels last,
float32 (which torch convolves as TF32 on a GPU, unless told otherwise), with as many threads as torch has. Its weights
are fresh, as time and memory do not depend on training. On a GPU a pass is the replay of a CUDA graph, timed by the
GPU's own events: what Python takes to launch some hundred kernels is no property of the network.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
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
from nas.system.hardware import AUTO, device_of, in_words
from nas.validation import integer

__all__ = ["REST", "Latency", "measure_latency", "measure_together", "peak_memory", "time_by_kind", "time_by_layer"]

REST = "rest"
"""What is no layer: sums with skips, pooling, and Python between the layers."""
ROUNDS = 5
RUNS_PER_ROUND = 2
WARM_UP_RUNS, WARM_UP_SECONDS, CUDA_WARM_UP_SECONDS = 3, 0.05, 0.3
"""A GPU that was idle takes a while to reach its clock rate."""


class Latency(NamedTuple):
    """Milliseconds that one batch takes: the median of so many runs, and their quartiles. `device` is in words.

    `waited` is the share of the time, in [0, 1], that this process's threads had to wait for a core, as far as the
    system tells (Linux does). Where it is not near 0, other programs were in the way, and close quartiles are no
    sign of the contrary: a layer that threads share waits for the last of them.
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
        """Milliseconds of the median that one image of the batch takes."""
        return self.median / self.batch


def measure_latency(architecture: Architecture, *, device: str = AUTO, batch: int = 1, seconds: float = 0.3) -> Latency:
    """One forward pass of `batch` images, warmed up and then repeated for about `seconds`, at least 10 times.

    Raises:
        InvalidValue: the device is not to be had, or the batch is no positive number.
    """
    return measure_together([architecture], device=device, batch=batch, seconds=seconds)[0]


def measure_together(
    architectures: Sequence[Architecture], *, device: str = AUTO, batch: int = 1, seconds: float = 0.3
) -> list[Latency]:
    """The same of several architectures in turn, in five rounds, so that what slows the machine slows all alike.

    Each takes about `seconds`. Raises as `measure_latency`.
    """
    where = device_of(device)
    passes = [_Pass(architecture, where, batch) for architecture in architectures]
    times: list[list[float]] = [[] for _ in passes]
    with _undisturbed():
        for each in passes:
            _warm_up(each)
        start, waited = time.perf_counter(), _waited()
        for _ in range(ROUNDS):
            for each, so_far in zip(passes, times, strict=True):
                if len(passes) > 1:
                    each()  # its weights were driven out of the caches by the others
                so_far.extend(_repeat(each, least=RUNS_PER_ROUND, seconds=seconds / ROUNDS))
        share = (_waited() - waited) / (time.perf_counter() - start) / torch.get_num_threads()
    words, share = in_words(where), min(1.0, max(0.0, share))
    return [_latency(found, batch, device=words, waited=share) for found in times]


def time_by_layer(architecture: Architecture, *, device: str = AUTO, batch: int = 1) -> dict[str, float]:
    """The share of the time of a forward pass that each layer of `cost` takes, by its path, and `REST`; in sum 1.

    Each layer is a convolution with its ReLU, or the classifier. On CUDA each is timed by itself, as a graph of its
    own, so that what runs at once otherwise is counted apart. Raises as `measure_latency`.
    """
    each = _Pass(architecture, device_of(device), batch)
    paths = [layer.layer for layer in cost(architecture).layers]
    with _undisturbed():
        _warm_up(each)
        medians = _replayed_by_layer(each, paths) if each.device.type == "cuda" else _clocked_by_layer(each, paths)
    whole = sum(medians.values())
    return {path: value / whole for path, value in medians.items()}


def time_by_kind(architecture: Architecture, *, device: str = AUTO, batch: int = 1) -> dict[str, float]:
    """The shares of `time_by_layer` by kind of layer: stem, reduce, grouped, expand, projection, classifier, rest."""
    kinds = {layer.layer: layer.kind for layer in cost(architecture).layers}
    shares: dict[str, float] = {}
    for path, share in time_by_layer(architecture, device=device, batch=batch).items():
        kind = kinds.get(path, REST)
        shares[kind] = shares.get(kind, 0.0) + share
    return shares


def peak_memory(architecture: Architecture, *, device: str = AUTO, batch: int = 1) -> int:
    """The most bytes that weights, images and activations of a forward pass hold at one time.

    On CUDA that is what torch has allocated. On a CPU it is the sum of the tensors that are alive; what a kernel
    takes and gives back, such as copies in a layout that suits it, is not seen. Raises as `measure_latency`.
    """
    each = _Pass(architecture, device_of(device), batch)
    held = [*each.network.state_dict().values(), each.images]
    with torch.inference_mode():
        if each.device.type == "cuda":
            each.forward()  # what the libraries of the device set up once is no part of a pass
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
    """A network as it is shipped and a batch of noise, on their device; a call takes it through and times it."""

    def __init__(self, architecture: Architecture, device: torch.device, batch: int) -> None:
        integer(batch, "batch")
        seen = architecture.input
        with torch.random.fork_rng(devices=[]):  # measuring leaves no trace in the random numbers of others
            network = build_network(architecture)
            images = torch.rand(batch, seen.channels, seen.size, seen.size)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)  # a trained network has no layer of zeros, with which a GPU is quicker
        fold(network)
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = images.to(device, memory_format=torch.channels_last)
        self._replay: TimedReplay | None = None

    def forward(self) -> Tensor:
        """The logits, as Python runs the network."""
        logits: Tensor = self.network(self.images)
        return logits

    def __call__(self) -> float:
        """Milliseconds until the logits are there."""
        if self.device.type == "cuda":
            self._replay = self._replay or TimedReplay(self.forward, self.device)
            return self._replay()
        start = time.perf_counter()
        self.forward()
        return 1000 * (time.perf_counter() - start)


class _LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, follows which tensors are alive: those it was given and those that operators return."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._sizes: MutableMapping[Any, int] = WeakIdKeyDictionary()  # a storage leaves it when its last tensor dies
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
                storage = value.untyped_storage()  # which a view shares with what it shows
                self._sizes[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._sizes.values()))


def _clocked_by_layer(each: _Pass, paths: Sequence[str]) -> dict[str, float]:
    """Median milliseconds of each layer, and of the rest, by clocks around the layers of whole passes on a CPU."""
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
    """Median milliseconds of each layer, and of the rest, each layer replayed on what it is given in a whole pass."""
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
    """Has a module write how many milliseconds its last call took."""

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
    """What so many runs at least, and as many as the time allows, have returned."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        found.append(run())
    return found


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No gradients, and no collection of garbage in the middle of a run."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_enabled:
            gc.enable()


def _waited() -> float:
    """Seconds that the threads of this process were ready to run and had no core so far; 0 where nothing tells."""
    try:
        found = [file.read_text() for file in Path("/proc/self/task").glob("*/schedstat")]
    except OSError:  # a thread that has just ended
        return 0.0
    return sum(int(text.split()[1]) for text in found) / 1e9


def _latency(times: Sequence[float], batch: int, *, device: str, waited: float) -> Latency:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Latency(batch, median, low, high, len(times), device, waited)
