"""Parts of recipes that were tried and left out: each added to the recipe that follows from the data.

    python -m benchmarks.left_out [--cifar10 FOLDER_OF_PARQUET_FILES] [--only NAME ...]

Data, networks, epochs and judging images are those of `benchmarks.recipes`, with three seeds. None of these is an
option of nas: the script puts them into its training from outside. Accuracies are in per cent, the mean and standard
deviation over seeds; a cell that changes nothing for its data set repeats the first line's.
"""

import argparse
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.recipes import AS_IT_IS, FASHION, TASKS, drawn, recipe_of
from nas.training import module as training
from nas.training.train import on_device, train

SEEDS = 3
Module = training.TrainingModule


def averaged(decay: float) -> None:
    """An exponential average of the weights and of BatchNorm's statistics, judged after the last epoch."""
    descend, begin = Module._descend, Module.on_validation_epoch_start

    def descend_and_average(self: Any, rows: Tensor, *, optimizer: torch.optim.Optimizer) -> None:
        descend(self, rows, optimizer=optimizer)
        state = {name: value for name, value in self.network.state_dict().items() if value.is_floating_point()}
        if not hasattr(self, "averages"):
            self.averages = {name: value.clone() for name, value in state.items()}
        weight = 1 - min(decay, (1 + self.steps_done) / (10 + self.steps_done))
        for name, value in state.items():
            self.averages[name].lerp_(value, weight)

    def begin_with_average(self: Any) -> None:
        if self._is_last_epoch:
            self.network.load_state_dict(self.averages, strict=False)
        begin(self)

    _put(descend_and_average, "_descend")
    _put(begin_with_average, "on_validation_epoch_start")


def mirrored() -> None:
    """The mean logits of an image and its mirror image, where training mirrors too (test-time augmentation)."""
    judge = Module.validation_step

    def judge_both(self: Any, rows: slice) -> None:
        network = self.network
        if self._recipe.flip:
            self.network = _Both(network)
        try:
            judge(self, rows)
        finally:
            self.network = network

    _put(judge_both, "validation_step")


class _Both(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = (self.network(images) + self.network(images.flip(3))) / 2
        return logits


def undecayed() -> None:
    """No weight decay of biases and of BatchNorm's parameters."""
    configure = Module.configure_optimizers

    def configured(self: Any) -> torch.optim.Optimizer:
        optimizer = configure(self)
        group = optimizer.param_groups[0]
        plain = [parameter for parameter in group["params"] if parameter.ndim == 1]
        group["params"] = [parameter for parameter in group["params"] if parameter.ndim > 1]
        others = {name: value for name, value in group.items() if name not in ("params", "weight_decay")}
        optimizer.add_param_group({"params": plain, "weight_decay": 0.0, **others})
        return optimizer

    _put(configured, "configure_optimizers")


def trapezoid() -> None:
    """A constant rate after a fifth of the warm-up, annealed by 1 − √ over the last fifth (arXiv:2405.18392)."""

    def rate(progress: float, warmup: float) -> float:
        if progress < warmup / 5:
            return 0.04 + 0.96 * progress / (warmup / 5)
        return 1.0 if progress < 0.8 else 1 - math.sqrt((progress - 0.8) / 0.2)

    training.one_cycle = rate


def _put(method: Callable[..., Any], name: str) -> None:
    setattr(Module, name, method)


PARTS: dict[str, Callable[[], None]] = {
    AS_IT_IS: lambda: None,
    "average of the weights": partial(averaged, 0.99),
    "mirrored at test time": mirrored,
    "no decay of biases and BatchNorm": undecayed,
    "a constant rate, annealed over the last fifth": trapezoid,
}


def accuracy(part: str, number: int, seed: int, cifar: Path | None) -> float:
    """The accuracy of a training with a part added, on data set `number` of `TASKS`, in per cent."""
    torch.set_num_threads(1)
    PARTS[part]()
    task = TASKS[number]
    data, recipe = drawn(task, cifar), recipe_of(task, AS_IT_IS)
    return 100 * train(task.architecture, on_device(data, recipe, "cpu"), recipe, seed=seed).accuracy


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    given = parser.parse_args()
    there = {"digits": True, "Fashion-MNIST": FASHION.is_dir(), "CIFAR-10": given.cifar10 is not None}
    numbers = [number for number, task in enumerate(TASKS) if there[task.name]]
    heads = [f"{TASKS[number].name}, {TASKS[number].epochs} epochs" for number in numbers]
    print(f"| recipe | {' | '.join(heads)} |\n|---|{'---|' * len(numbers)}")
    # A process serves one training, as what is put into it stays.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        found = {
            (part, number): [pool.submit(accuracy, part, number, seed, given.cifar10) for seed in range(SEEDS)]
            for part in given.only
            for number in numbers
        }
        for part in given.only:
            values = [[future.result() for future in found[part, number]] for number in numbers]
            print(f"| {part} | {' | '.join(f'{fmean(each):.1f} ± {stdev(each):.1f}' for each in values)} |", flush=True)


if __name__ == "__main__":
    main()
