"""What the shortcuts of blocks bring, and other blocks that were tried, on the networks of `benchmarks.recipes`.

    python -m benchmarks.blocks [--cifar10 FOLDER_OF_PARQUET_FILES] [--only NAME ...]

Data, networks, epochs and judging images are those of `benchmarks.recipes`, with three seeds, by the recipe that
follows from the data; what is no option of nas is put into the networks from outside. A cell has the mean accuracy and
its standard deviation over seeds, in per cent, and by how much the block changes the network's FLOPs, as torch counts
them.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.recipes import AS_IT_IS, FASHION, TASKS, drawn, recipe_of
from nas import Architecture, build_network
from nas.architectures.architecture import MEAN, STRIDED
from nas.architectures.network import CBR, GroupConvNet, GroupResBlock
from nas.training import module as training
from nas.training.train import on_device, train

SEEDS = 3


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all say (Hu et al., arXiv:1709.01507)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H, W) to the same shape."""
        scale = self.expand(F.relu(self.reduce(x.mean(dim=(2, 3))))).sigmoid()
        scaled: Tensor = x * scale[:, :, None, None]
        return scaled


def _blocks(network: GroupConvNet) -> list[GroupResBlock]:
    return [module for module in network.modules() if isinstance(module, GroupResBlock)]


def squeezed(network: GroupConvNet) -> None:
    """Squeeze and excitation after the grouped convolution, a quarter as wide as the block's input, as in RegNetY."""
    for block in _blocks(network):
        reduce = cast("nn.Conv2d", block.reduce[0])
        block.grouped.append(SqueezeExcitation(reduce.out_channels, max(1, reduce.in_channels // 4)))


def activated(network: GroupConvNet, kind: type[nn.Module]) -> None:
    """Another activation in place of each ReLU."""
    for module in network.modules():
        if isinstance(module, CBR) and isinstance(module[2], nn.ReLU):
            module[2] = kind(inplace=True)
    last = kind(inplace=True)

    def forward(self: Any, x: Tensor) -> Tensor:
        result: Tensor = last(self.projection(self.pool(x)) + self.expand(self.grouped(self.reduce(x))))
        return result

    GroupResBlock.forward = forward  # type: ignore[method-assign]


BLOCKS: dict[str, tuple[str, tuple[Callable[[GroupConvNet], None], ...]]] = {
    "strided shortcuts": (STRIDED, ()),
    "shortcuts by the mean": (MEAN, ()),
    "squeeze and excitation": (STRIDED, (squeezed,)),
    "SiLU": (STRIDED, (partial(activated, kind=nn.SiLU),)),
    "shortcuts by the mean, squeeze and excitation, SiLU": (MEAN, (squeezed, partial(activated, kind=nn.SiLU))),
}
"""Shortcuts, and what is changed in a network that was built with them."""


def flops(network: GroupConvNet, architecture: Architecture) -> float:
    """Multiply–adds of one image in convolutions and linear layers."""
    shape = architecture.input
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, shape.channels, *shape.sides))
    return float(counter.get_total_flops()) / 2


def accuracy(block: str, number: int, seed: int, cifar: Path | None) -> tuple[float, float]:
    """Accuracy of a training with a block on data set `number` of `TASKS`, and the factor of its FLOPs."""
    torch.set_num_threads(1)
    task, (shortcuts, changes) = TASKS[number], BLOCKS[block]
    wanted = replace(task.architecture, shortcuts=shortcuts)

    def built(architecture: Architecture) -> GroupConvNet:
        network = build_network(architecture)
        for change in changes:
            change(network)
        return network

    factor = flops(built(wanted), wanted) / flops(build_network(wanted), wanted)
    setattr(training, "build_network", built)  # noqa: B010 - it is not one of the names that the module exports
    data, recipe = drawn(task, cifar), recipe_of(task, AS_IT_IS)
    return 100 * train(wanted, on_device(data, recipe, "cpu"), recipe, seed=seed).accuracy, factor


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--only", nargs="+", choices=BLOCKS, default=list(BLOCKS), metavar="NAME")
    given = parser.parse_args()
    there = {"digits": True, "Fashion-MNIST": FASHION.is_dir(), "CIFAR-10": given.cifar10 is not None}
    numbers = [number for number, task in enumerate(TASKS) if there[task.name]]
    heads = [f"{TASKS[number].name}, {TASKS[number].epochs} epochs" for number in numbers]
    print(f"| block | {' | '.join(heads)} |\n|---|{'---|' * len(numbers)}")
    # A process serves one training, as what is put into it stays.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        found = {
            (block, number): [pool.submit(accuracy, block, number, seed, given.cifar10) for seed in range(SEEDS)]
            for block in given.only
            for number in numbers
        }
        for block in given.only:
            cells = []
            for number in numbers:
                values = [future.result() for future in found[block, number]]
                accuracies = [each[0] for each in values]
                cells.append(f"{fmean(accuracies):.1f} ± {stdev(accuracies):.1f} ({values[0][1] - 1:+.1%})")
            print(f"| {block} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
