"""FLOPs against milliseconds: one grouped 3×3 convolution and one block, forward and backward, in ever more groups.

Each is timed as a replay of a CUDA graph, in bfloat16 and channels last, on a batch of 128. Groups are convolved as
torch does it (native), with the kernels that cuDNN finds fastest (benchmark), and merged into groups of at least 16
channels: the same weights on the diagonal of wider ones, zeros beside it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, cast

import torch
from torch import nn

from benchmarks.gpu.kit import Kit, milliseconds
from nas.architectures.network import MERGED_TO, GroupResBlock, MergedConv

SECONDS = 25.0
BATCH = 128
SHAPES = ((128, 16), (256, 8), (64, 32), (256, 16), (512, 8), (512, 4), (128, 32), (64, 16))
"""Width and side of the map, first those that a network for 32 pixels has."""
GROUPS = (1, 2, 4, 8, 16, 32)
WAYS = ("native", "merged", "benchmark")


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each shape, number of groups and way, each way in a process of its own.

    For torch keeps the kernels that it chose for a shape, however it chose them, as long as a process lasts.
    """
    for way in WAYS:
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
            for width, side in SHAPES[: 1 if device == "cpu" else None]:
                yield from process.submit(_rows, way, width, side, device=device, done=done).result()


def _rows(way: str, width: int, side: int, *, device: str, done: Collection[str]) -> list[dict[str, Any]]:
    """The missing rows of a shape and way; those of one group, the dense convolution, have nothing to merge."""
    small, rows = device == "cpu", []
    torch.backends.cudnn.benchmark = way == "benchmark"
    for groups in (*GROUPS, width)[: 2 if small else None]:
        for kind in ("layer", "block"):
            key = f"{kind} {width}×{side} groups {groups} {way}"
            if key in done or (way == "merged" and width // groups >= MERGED_TO):
                continue
            module = _module(kind, width, groups, merged=way == "merged").to(device)
            taken = _milliseconds(module, width, side, 2 if small else BATCH, device)
            flops = side**2 * 9 * width**2 // groups + (2 * side**2 * width**2 if kind == "block" else 0)
            about = {"kind": kind, "width": width, "side": side, "groups": groups, "way": way}
            rows.append({"key": key, **about, "flops": flops, "milliseconds": taken})
    return rows


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """For each shape and way the milliseconds by groups."""
    yield "| what | way | " + " | ".join(["1 group", *map(str, GROUPS[1:]), "depthwise"]) + " |"
    yield "|---" * (len(GROUPS) + 3) + "|"
    times: dict[tuple[str, int, int, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        times[row["kind"], row["width"], row["side"], row["way"]][row["groups"]] = row["milliseconds"]
    for kind, width, side, way in sorted(times, key=lambda key: (*key[:3], WAYS.index(key[3]))):
        by_groups = times[kind, width, side, way]
        cells = [f"{by_groups[groups]:.2f}" if groups in by_groups else "" for groups in (*GROUPS, width)]
        yield f"| {kind} of {width} at {side}×{side} | {way} | {' | '.join(cells)} |"


def _module(kind: str, width: int, groups: int, *, merged: bool) -> nn.Module:
    convolution = (MergedConv if merged else nn.Conv2d)(width, width, 3, padding=1, groups=groups, bias=False)
    if kind == "layer":
        return convolution
    block = GroupResBlock(width, width, mid=width, groups=groups)
    nn.init.ones_(cast("nn.BatchNorm2d", block.expand[1]).weight)  # as in training, where it is no layer of zeros
    block.grouped[0] = convolution
    return block


def _milliseconds(module: nn.Module, width: int, side: int, batch: int, device: str) -> float:
    """The median of a pass forward and backward, to the input as well as to the weights."""
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(batch, width, side, side, device=device).to(memory_format=torch.channels_last).requires_grad_()
    upstream = torch.randn(batch, width, side, side, device=device).to(memory_format=torch.channels_last)

    def both() -> None:
        x.grad = None
        module.zero_grad()
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):
            y = module(x)
        y.backward(upstream.to(y.dtype))

    return milliseconds(both, device)
