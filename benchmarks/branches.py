"""Short trainings as branches of a long one, against short trainings of their own.

    python -m benchmarks.branches cifar16-9 --data CIFAR10 --max-images 8000 [--networks 40 --seeds 2]

The rate of a long training stays at its peak, and a copy is annealed to 0 over the last fifth of each of the schedule's
lengths, by 1 − √ (Hägele et al., arXiv:2405.18392): a network that is promoted to the full length takes fewer epochs,
as few are trained twice. Random architectures of a table, against one-cycle trainings of each length; both are judged
by the validation images, and τ, the mean over seeds, is with the true accuracies of full one-cycle trainings
(`benchmarks.judge`).
"""

import argparse
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from benchmarks.judge import Judge
from benchmarks.search import TABLES
from nas import Architecture, load_data
from nas.training.batches import DeviceData
from nas.training.module import TrainingModule
from nas.training.train import evaluate, on_device, train
from nas.workflows.tabular_benchmark import Table

ANNEALED = 0.2


def branches(architecture: Architecture, data: DeviceData, table: Table, seed: int) -> list[float]:
    """Returns the validation accuracy of a branch at each of the table's lengths."""
    recipe = table.space.recipe
    torch.manual_seed(seed)
    module = TrainingModule(architecture, data, recipe, seed=seed, report=None)
    optimizer, batches = module.configure_optimizers(), _batches(module)
    steps = len(data.train) // recipe.batch_size
    warm = recipe.warmup * table.lengths[0] * steps
    found = []
    for length in table.lengths:
        end = length * steps
        begin = end - round(ANNEALED * end)
        with patch("nas.training.module.one_cycle", lambda *_: min(1.0, 0.04 + module.steps_done / warm)):
            _train(module, optimizer, batches, until=begin)
        kept = deepcopy((module.network.state_dict(), optimizer.state_dict(), module.generator.get_state()))
        with patch("nas.training.module.one_cycle", lambda *_, a=begin, b=end: _annealed(module.steps_done, a, b)):
            _train(module, optimizer, _batches(module), until=end)
        found.append(evaluate(architecture, module.weights(), data, recipe=recipe))
        module.network.load_state_dict(kept[0])
        optimizer.load_state_dict(kept[1])
        module.generator.set_state(kept[2])
        module.steps_done = begin
    return found


def _train(module: TrainingModule, optimizer: torch.optim.Optimizer, batches: Iterator[Tensor], *, until: int) -> None:
    module.train()
    while module.steps_done < until:
        module.learn([next(batches)], optimizer)


def _annealed(step: int, begin: int, end: int) -> float:
    return 1 - math.sqrt((step - begin) / (end - begin))


def _batches(module: TrainingModule) -> Iterator[Tensor]:
    while True:
        for run in module.train_dataloader():
            yield from run


def _job(job: tuple[int, int], name: str, data: str, max_images: int | None) -> tuple[list[float], list[float]]:
    """Returns the accuracies of branches, and of trainings alone."""
    torch.set_num_threads(1)
    table, (number, seed) = Table.load(TABLES / f"{name}.parquet"), job
    images = load_data(data, table.space.input, max_images=max_images)
    architecture, recipe = table.architectures[number], table.space.recipe
    on = on_device(images, recipe, "cpu")
    recipes = [replace(recipe, epochs=length) for length in table.lengths]
    alone = [train(architecture, on, each, seed=seed).accuracy for each in recipes]
    return branches(architecture, on, table, seed), alone


def main() -> None:
    """Prints a row for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="of benchmarks/tables")
    parser.add_argument("--data", required=True)
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    table = Table.load(TABLES / f"{options.table}.parquet")
    truth, full = Judge(table).truth, table.lengths[-1]
    chosen = np.random.default_rng(0).choice(len(table.architectures), options.networks, replace=False).tolist()
    run = partial(_job, name=options.table, data=options.data, max_images=options.max_images)
    jobs = [(number, seed) for seed in range(options.seeds) for number in chosen]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = np.array(list(pool.map(run, jobs))).reshape(options.seeds, options.networks, 2, len(table.lengths))
    true = [truth[table.architectures[number].key, full] for number in chosen]
    print("| epochs | branch | alone | τ, branch | τ, alone |\n|---|---|---|---|---|")
    for place, length in enumerate(table.lengths):
        both = (found[:, :, 0, place], found[:, :, 1, place])
        cells = [f"{100 * values.mean():.1f}" for values in both]
        cells += [f"{np.mean([kendalltau(each, true)[0] for each in values]):.2f}" for values in both]
        print(f"| {length} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
