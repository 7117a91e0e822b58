"""Computes the FLOPs, parameters and activations of an architecture, in total and per layer, without building it.

FLOPs are multiply–adds of convolutions and linear layers, as in the ResNeXt (arXiv:1611.05431) and RegNet
(arXiv:2003.13678) papers; `torch.utils.flop_counter` counts each of them as two. Activations are the output
elements of the convolutions and the classifier, as the RegNet paper counts them. Both are for one image.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from nas.architectures.architecture import Architecture, Input, Sides, Stage, StemConv, strided

__all__ = ["Amounts", "Cost", "LayerCost", "cost", "peak_activations", "stage_cost", "stem_cost"]


class Amounts(NamedTuple):
    """FLOPs (multiply–adds), parameters and activations of a part of a network, for one image."""

    flops: int
    params: int
    activations: int


class LayerCost(NamedTuple):
    """One convolution with its BatchNorm, or the classifier.

    `layer` is the path of the module in `GroupConvNet`; `kind` is stem, reduce, grouped, expand, projection or
    classifier; `stage` counts from 1 and is 0 outside the stages.
    """

    layer: str
    kind: str
    stage: int
    flops: int
    params: int
    activations: int


@dataclass(frozen=True)
class Cost:
    """The total cost of an architecture for one image, and its cost per layer in the order of the forward pass."""

    architecture: Architecture
    flops: int
    params: int
    activations: int

    @cached_property
    def layers(self) -> tuple[LayerCost, ...]:
        """The cost of every convolution and of the classifier; they sum to the totals."""
        return tuple(_layers(self.architecture))


def cost(architecture: Architecture) -> Cost:
    """Computes the cost of an architecture in tens of microseconds, without building it."""
    cin, sides = architecture.stem[-1].width, architecture.input.sides
    for conv in architecture.stem:
        sides = strided(sides, conv.stride)
    parts = [stem_cost(architecture.stem, architecture.input)]
    for stage in architecture.stages:
        parts.append(stage_cost(stage, cin, sides))
        cin, sides = stage.out, strided(sides, stage.stride)
    parts.append(_linear(cin, architecture.classes))
    return Cost(architecture, *(sum(column) for column in zip(*parts, strict=True)))


def peak_activations(architecture: Architecture) -> int:
    """Returns the most elements that a forward pass of one image must hold at once, with BatchNorm folded.

    A layer needs its input and output, and in a block the block's input and its projection wait for the sum. What small
    devices must have room for (MCUNet, arXiv:2007.10319).
    """
    channels, sides = architecture.input.channels, architecture.input.sides
    peak = 0
    for conv in architecture.stem:
        before, sides = channels * math.prod(sides), strided(sides, conv.stride)
        channels = conv.width
        peak = max(peak, before + channels * math.prod(sides))
    for stage in architecture.stages:
        for stride in (stage.stride, 1) if stage.depth > 1 else (stage.stride,):  # all later blocks are alike
            pixels, sides = math.prod(sides), strided(sides, stride)
            after = math.prod(sides)
            waiting = channels * pixels
            if stride != 1 or channels != stage.out:
                waiting += stage.out * after
            reduced, grouped, expanded = stage.mid * pixels, stage.mid * after, stage.out * after
            peak = max(peak, waiting + max(reduced + grouped, grouped + expanded))
            channels = stage.out
    return peak


def stem_cost(stem: Sequence[StemConv], shape: Input) -> Amounts:
    """Computes the cost of a stem on images of this shape."""
    cin, sides, parts = shape.channels, shape.sides, []
    for conv in stem:
        sides = strided(sides, conv.stride)
        parts.append(_conv(cin, conv.width, sides, kernel=3))
        cin = conv.width
    return Amounts(*(sum(column) for column in zip(*parts, strict=True)))


def stage_cost(stage: Stage, cin: int, sides: Sides) -> Amounts:
    """Computes the cost of a stage whose input has `cin` channels and these sides in pixels.

    The blocks after the first are identical, so depth is a factor instead of a loop.
    """
    flops = params = activations = 0
    for _, layer in _block(stage, cin, sides, stride=stage.stride):
        flops, params, activations = flops + layer[0], params + layer[1], activations + layer[2]
    for _, layer in _block(stage, stage.out, strided(sides, stage.stride), stride=1) if stage.depth > 1 else ():
        repeats = stage.depth - 1
        flops += repeats * layer[0]
        params += repeats * layer[1]
        activations += repeats * layer[2]
    return Amounts(flops, params, activations)


def _block(stage: Stage, cin: int, sides: Sides, *, stride: int) -> list[tuple[str, Amounts]]:
    """Returns the layers of a bottleneck block by kind: 1×1 reduce, strided 3×3 grouped, 1×1 expand, any projection."""
    out = strided(sides, stride)
    layers = [
        ("reduce", _conv(cin, stage.mid, sides)),
        ("grouped", _conv(stage.mid, stage.mid, out, kernel=3, groups=stage.groups)),
        ("expand", _conv(stage.mid, stage.out, out)),
    ]
    if stride != 1 or cin != stage.out:
        layers.append(("projection", _conv(cin, stage.out, out)))
    return layers


def _conv(cin: int, cout: int, out: Sides, *, kernel: int = 1, groups: int = 1) -> Amounts:
    """Returns the cost of a convolution without bias, and of its BatchNorm's scale and shift."""
    weights = cout * (cin // groups) * kernel * kernel
    pixels = out[0] * out[1]
    return Amounts(weights * pixels, weights + 2 * cout, cout * pixels)


def _linear(cin: int, classes: int) -> Amounts:
    """Returns the cost of the classifier, whose bias adds parameters but no multiply–adds."""
    return Amounts(cin * classes, cin * classes + classes, classes)


def _layers(architecture: Architecture) -> Iterator[LayerCost]:
    cin, sides = architecture.input.channels, architecture.input.sides
    for index, conv in enumerate(architecture.stem):
        sides = strided(sides, conv.stride)
        yield LayerCost(f"stem.{index}", "stem", 0, *_conv(cin, conv.width, sides, kernel=3))
        cin = conv.width
    for index, stage in enumerate(architecture.stages):
        for block in range(stage.depth):
            stride = stage.stride if block == 0 else 1
            for kind, amounts in _block(stage, cin, sides, stride=stride):
                yield LayerCost(f"stages.{index}.{block}.{kind}", kind, index + 1, *amounts)
            cin, sides = stage.out, strided(sides, stride)
    yield LayerCost("classifier", "classifier", 0, *_linear(cin, architecture.classes))
