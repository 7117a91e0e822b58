"""FLOPs against milliseconds: one grouped 3×3 convolution and one block, forward and backward, in ever more groups.

Each is timed as a replay of a CUDA graph, in bfloat16 and channels last, on a batch of 128. Groups are convolved as
torch does it (native), with the kernels that cuDNN finds fastest (benchmark), and merged into groups of at least 16
channels: the same weights on the diagonal of wider ones, zeros beside it.
"""

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu.kit import Kit
from nas.architectures.network import GroupResBlock
from nas.system.cuda_graph import TimedReplay

SECONDS = 60.0
BATCH, LEAST_CHANNELS = 128, 16
SHAPES = ((128, 16), (256, 8), (64, 32), (256, 16), (512, 8), (512, 4), (128, 32), (64, 16))
"""Width and side of the map, first those that a network for 32 pixels has."""
GROUPS = (1, 2, 4, 8, 16, 32)
WAYS = ("native", "benchmark", "merged")
REPLAYS = 20


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each shape, number of groups and way; of one group, the dense convolution, the merged is left out."""
    small = device == "cpu"
    for width, side in SHAPES[: 1 if small else None]:
        for groups in (*GROUPS, width)[: 2 if small else None]:
            for way in WAYS:
                for kind in ("layer", "block"):
                    key = f"{kind} {width}×{side} groups {groups} {way}"
                    if key in done or (way == "merged" and width // groups >= LEAST_CHANNELS):
                        continue
                    torch.backends.cudnn.benchmark = way == "benchmark"
                    module = _module(kind, width, groups, merged=way == "merged").to(device)
                    milliseconds = _milliseconds(module, width, side, 2 if small else BATCH, device)
                    flops = side**2 * 9 * width**2 // groups + (2 * side**2 * width**2 if kind == "block" else 0)
                    about = {"kind": kind, "width": width, "side": side, "groups": groups, "way": way}
                    yield {"key": key, **about, "flops": flops, "milliseconds": milliseconds}


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """For each shape milliseconds by groups, and the share of the dense one's that is left of FLOPs and of time."""
    yield "| what | groups | FLOPs of dense | native, ms | benchmark | merged | native of dense |"
    yield "|---|---|---|---|---|---|---|"
    times = {(row["kind"], row["width"], row["side"], row["groups"], row["way"]): row["milliseconds"] for row in rows}
    flops = {(row["kind"], row["width"], row["side"], row["groups"]): row["flops"] for row in rows}
    for (kind, width, side, groups), amount in flops.items():
        dense = times.get((kind, width, side, 1, "native"))
        shown = [times.get((kind, width, side, groups, way)) for way in WAYS]
        columns = " | ".join(f"{value:.3f}" if value is not None else "–" for value in shown)
        share = f"{shown[0] / dense:.0%}" if shown[0] is not None and dense else "–"
        of_dense = f"{amount / flops[kind, width, side, 1]:.1%}"
        yield f"| {kind} of {width} at {side}×{side} | {groups} | {of_dense} | {columns} | {share} |"


class Merged(nn.Module):
    """A grouped 3×3 convolution computed in fewer, wider groups; weights and result are the grouped one's.

    (N, width, H, W) → (N, width, ⌈H/stride⌉, ⌈W/stride⌉).
    """

    diagonal: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.merged = max(1, min(convolution.groups, convolution.in_channels // LEAST_CHANNELS))
        self.register_buffer("diagonal", torch.eye(convolution.groups // self.merged))

    def forward(self, x: Tensor) -> Tensor:
        """The same as the convolution's."""
        weight = self.convolution.weight
        out, narrow = weight.shape[:2]
        together = len(self.diagonal)
        apart = weight.view(self.merged, together, -1, 1, narrow, 3, 3)
        wide = apart * self.diagonal.view(1, together, 1, together, 1, 1, 1)
        wide = wide.reshape(out, together * narrow, 3, 3)
        return F.conv2d(x, wide, None, self.convolution.stride, self.convolution.padding, 1, self.merged)


def _module(kind: str, width: int, groups: int, *, merged: bool) -> nn.Module:
    if kind == "layer":
        convolution = nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False)
        return Merged(convolution) if merged else convolution
    block = GroupResBlock(width, width, mid=width, groups=groups)
    nn.init.ones_(cast("nn.BatchNorm2d", block.expand[1]).weight)  # as in training, where it is no layer of zeros
    if merged:
        grouped = block.grouped[0]
        assert isinstance(grouped, nn.Conv2d)
        block.grouped[0] = Merged(grouped)
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

    if device == "cpu":
        return min(_seconds(both) for _ in range(2)) * 1000
    timed = TimedReplay(both, torch.device(device))
    return statistics.median(timed() for _ in range(REPLAYS))


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
