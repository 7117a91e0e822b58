"""Profiles what an architecture's groups gain on a machine, in cost and latency, against two dense twins.

Groups that save FLOPs do not always save time. So an architecture is measured against the same network without groups,
and against a narrower one without groups that has about the same FLOPs.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nas.architectures.architecture import Architecture, Input
from nas.architectures.cost import LayerCost, cost
from nas.architectures.profile import AtSize, Measured, Part, Profile
from nas.errors import InvalidValue
from nas.system.hardware import AUTO, device_of, free_memory
from nas.units import memory_text
from nas.validation import integer, sequence

if TYPE_CHECKING:
    import torch

__all__ = ["dense_twin", "narrower_dense_twin", "profile", "usual_sizes"]

GROUPS, DENSE, NARROWER = "groups", "dense", "narrower dense"
USUAL_SIZES = (32, 64, 128, 224)
USUAL_BATCH, USUAL_GPU_BATCH = 64, 256
MOST_BATCH_FLOPS = 5 * 10**10
"""FLOPs per batch that already saturate a CPU; a larger batch would only take longer to measure."""
SHARE_OF_MEMORY = 1 / 4
BYTES = 4
"""Size of a float32."""
BISECTIONS = 50
SECONDS = 0.3
"""Measuring time for each network, image size and batch size."""


def dense_twin(architecture: Architecture) -> Architecture:
    """Returns the same network with one group in every stage."""
    return replace(architecture, stages=tuple(replace(stage, groups=1) for stage in architecture.stages))


def narrower_dense_twin(architecture: Architecture) -> Architecture:
    """Returns the network with one group per stage and every `mid` scaled by one factor to match the FLOPs closely.

    Widths are integers, so the FLOPs are seldom equal. The widths may suit kernels badly (27, say), which costs this
    twin a few percent of its time. A dense architecture is its own twin.
    """
    dense, wanted = dense_twin(architecture), cost(architecture).flops
    narrow, wide = 0.0, 1.0  # bracket the factor: FLOPs grow with it, in steps
    for _ in range(BISECTIONS):
        middle = (narrow + wide) / 2
        if cost(_scaled(dense, middle)).flops < wanted:
            narrow = middle
        else:
            wide = middle
    return min(_scaled(dense, narrow), _scaled(dense, wide), key=lambda twin: abs(cost(twin).flops - wanted))


def usual_sizes(architecture: Architecture) -> tuple[int, ...]:
    """Returns 32, 64, 128, 224 and the architecture's own size, ascending, without those too small for its strides."""
    return tuple(size for size in sorted({*USUAL_SIZES, architecture.input.size}) if _takes(architecture, size))


def profile(
    architecture: Architecture,
    *,
    sizes: Sequence[int],
    device: str = AUTO,
    batch: int | None = None,
    report: Callable[[int], None] | None = None,
) -> Profile:
    """Measures an architecture and its dense twins at each image size, one image at a time and in batches.

    The networks take turns.

    Args:
        sizes: shorter sides of the images in pixels; their proportions are those of the architecture's input.
        device: one of `nas.system.hardware.DEVICES`.
        batch: images per batch, by default 64, or 256 on a GPU. It is halved while its activations would take more than
            a quarter of the free memory, or, on a CPU, its FLOPs are more than saturate one.
        report: called with each size before it is measured, which may take many seconds.

    Raises:
        InvalidValue: a size is too small for the strides or too large for the memory; the device is not available.
    """
    where = device_of(device)
    pixels = sorted({integer(size, "sizes") for size in sequence(sizes, "sizes")})
    resized = [(size, _networks(architecture, size)) for size in pixels]
    batches = [_batch(networks.values(), where, batch) for _, networks in resized]
    stages, kinds = _parts(architecture, device)
    measured = []
    for (size, networks), count in zip(resized, batches, strict=True):
        if report is not None:
            report(size)
        sides = next(iter(networks.values())).input.sides
        measured.append(AtSize(sides, _measured(networks, device, count)))
    return Profile(architecture, stages, kinds, tuple(measured))


def _scaled(architecture: Architecture, factor: float) -> Architecture:
    stages = tuple(replace(stage, mid=max(1, round(factor * stage.mid))) for stage in architecture.stages)
    return replace(architecture, stages=stages)


def _at(architecture: Architecture, size: int) -> Architecture:
    """Returns the network for images of the same proportions whose shorter side is `size`."""
    shape = architecture.input
    sides = (max(1, round(side * size / shape.size)) for side in shape.sides)
    return replace(architecture, input=Input(shape.channels, *sides))


def _takes(architecture: Architecture, size: int) -> bool:
    try:
        _at(architecture, size)
    except InvalidValue:
        return False
    return True


def _networks(architecture: Architecture, size: int) -> dict[str, Architecture]:
    """Returns the networks to compare at a size, by name."""
    if not _takes(architecture, size):
        least = next(larger for larger in itertools.count(size) if _takes(architecture, larger))
        raise InvalidValue(f"sizes={size}: the strides of {architecture.name} use it up; nearest valid: {least}")
    mine = _at(architecture, size)
    if mine == dense_twin(mine):
        return {DENSE: mine}
    return {GROUPS: mine, DENSE: dense_twin(mine), NARROWER: narrower_dense_twin(mine)}


def _batch(networks: Iterable[Architecture], device: "torch.device", wanted: int | None) -> int:
    """Returns the batch size that all the networks share."""
    costs = [cost(network) for network in networks]
    on_gpu = device.type == "cuda"
    batch = integer(wanted, "batch") if wanted is not None else USUAL_GPU_BATCH if on_gpu else USUAL_BATCH
    free = _free_memory(device)
    needed = BYTES * max(each.activations for each in costs)
    if needed > free:
        size = costs[0].architecture.input.size
        raise InvalidValue(
            f"sizes={size}: the activations of one image take {memory_text(needed)}; {memory_text(free)} are free"
        )
    work = max(each.flops for each in costs)
    while batch > 1 and (batch * needed > SHARE_OF_MEMORY * free or (batch * work > MOST_BATCH_FLOPS and not on_gpu)):
        batch //= 2
    return batch


def _free_memory(device: "torch.device") -> int:
    if device.type != "cuda":
        return free_memory()
    import torch

    return torch.cuda.mem_get_info(device)[0]


def _measured(networks: dict[str, Architecture], device: str, batch: int) -> tuple[Measured, ...]:
    from nas.architectures.latency import measure_together, peak_memory

    members = list(networks.values())
    one = measure_together(members, device=device, seconds=SECONDS)
    many = measure_together(members, device=device, batch=batch, seconds=SECONDS) if batch > 1 else one
    return tuple(
        Measured(
            name,
            *(cost(network).flops, cost(network).params, cost(network).activations),
            single,
            several,
            peak_memory(network, device=device, batch=batch),
        )
        for (name, network), single, several in zip(networks.items(), one, many, strict=True)
    )


def _parts(architecture: Architecture, device: str) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Returns cost and time by stage and by kind, both with stem, classifier and rest, at the architecture's size."""
    from nas.architectures.latency import time_by_layer

    times = time_by_layer(architecture, device=device)
    stages: dict[str, list[LayerCost]] = {}
    kinds: dict[str, list[LayerCost]] = {}
    for layer in cost(architecture).layers:
        stages.setdefault(f"stage {layer.stage}" if layer.stage else layer.kind, []).append(layer)
        kinds.setdefault(layer.kind, []).append(layer)
    return _summed(stages, times), _summed(kinds, times)


def _summed(parts: dict[str, list[LayerCost]], times: dict[str, float]) -> tuple[Part, ...]:
    summed = [
        Part(
            name,
            sum(layer.flops for layer in layers),
            sum(layer.params for layer in layers),
            sum(layer.activations for layer in layers),
            sum(times[layer.layer] for layer in layers),
        )
        for name, layers in parts.items()
    ]
    rest = max(0.0, 1 - sum(part.time for part in summed))
    return (*summed, Part("rest", 0, 0, 0, rest))
