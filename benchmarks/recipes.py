"""What each part of a recipe brings: one network a data set, equal epochs, accuracy on images that no training sees.

    python -m benchmarks.recipes [--cifar10 FOLDER_OF_PARQUET_FILES] [--only NAME ...]

The digits train on 1,149 of scikit-learn's images and are judged by the other 648. Fashion-MNIST, from the files of
Debian's package `dataset-fashion-mnist`, and CIFAR-10 train on 3,072 and 5,120 of the training images and are judged by
8,000 others; neither test set is read. Accuracies are in per cent, the mean over seeds and their standard deviation; a
cell that changes nothing for its data set is empty.
"""

import argparse
import gzip
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas import Architecture, ImageData, Input, Recipe, Stage, StemConv, cost, load_data
from nas.data.images import Split
from nas.training.train import on_device, train

FASHION = Path("/usr/share/datasets/fashion-mnist")
JUDGED_BY = 8000
CLASSES = tuple("0123456789")
AS_IT_IS = "follows from the data"
VARIANTS: dict[str, dict[str, Any]] = {
    "as of version 0.1": {"batch_size": 128, "learning_rate": 0.005, "optimizer": "adamw"},
    AS_IT_IS: {},
    "AdamW": {"optimizer": "adamw"},
    "Muon": {"optimizer": "muon"},
    "SGD": {"optimizer": "sgd"},
    "batches of 128": {"batch_size": 128},
    "half the peak rate": {"learning_rate": 0.005},
    "twice the peak rate": {"learning_rate": 0.02},
    "a fifth of the weight decay": {"weight_decay": 0.01},
    "a tenth of the steps before the peak": {"warmup": 0.1},
    "no label smoothing": {"label_smoothing": 0.0},
    "momentum of 0.95": {"momentum": 0.95},
    "no flip": {"flip": False},
    "flip": {"flip": True},
    "no crop": {"crop_padding": 0},
    "crop by 2": {"crop_padding": 2},
}
"""Changes to the recipe that follows from the data, of which the rest follows from what is changed."""


class Task(NamedTuple):
    """One data set with its network, epochs and number of seeds."""

    name: str
    architecture: Architecture
    epochs: int
    seeds: int


def _network(shape: Input, stem: tuple[int, ...], *stages: tuple[int, int, int, int]) -> Architecture:
    return Architecture(shape, 10, tuple(StemConv(width) for width in stem), tuple(Stage(1, *each) for each in stages))


TASKS = (
    Task("digits", _network(Input(1, 8), (8, 16), (8, 2, 16, 1), (16, 4, 32, 2), (32, 8, 64, 2)), 15, 5),
    Task("Fashion-MNIST", _network(Input(1, 28), (12,), (16, 2, 24, 2), (32, 4, 48, 2), (64, 8, 96, 2)), 15, 3),
    Task("CIFAR-10", _network(Input(3, 32), (12,), (16, 2, 24, 2), (32, 4, 48, 2), (64, 8, 96, 2)), 15, 3),
)
TRAINED_ON = {"digits": 1149, "Fashion-MNIST": 3072, "CIFAR-10": 5120}


def fashion_mnist(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of Fashion-MNIST; `part` is train or t10k."""
    files = [FASHION / f"{part}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1")]
    images, labels = (np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8) for file in files)
    return images[16:].reshape(-1, 28, 28, 1), labels[8:].astype(np.int64)


def pixels(name: str, cifar: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a data set's training part."""
    if name == "Fashion-MNIST":
        return fashion_mnist("train")
    shape = next(task.architecture.input for task in TASKS if task.name == name)
    data = load_data("digits" if name == "digits" else str(cifar), shape)
    splits = (data.train, data.validation, data.test) if name == "digits" else (data.train, data.validation)
    return (np.concatenate([split.images[:] for split in splits]), np.concatenate([split.labels for split in splits]))


def drawn(task: Task, cifar: Path | None) -> ImageData:
    """The training images, and those that judge, as its validation images."""
    images, labels = pixels(task.name, cifar)
    order, number = np.random.default_rng(7).permutation(len(labels)), TRAINED_ON[task.name]
    parts = [Split(images[rows], labels[rows]) for rows in (order[:number], order[number:][:JUDGED_BY])]
    return ImageData(task.name, CLASSES, parts[0], parts[1], parts[1])


def recipe_of(task: Task, variant: str) -> Recipe:
    """The recipe of a variant for a data set."""
    recipe = Recipe.from_dict({"epochs": task.epochs, **VARIANTS[variant]})
    return recipe.for_images(TRAINED_ON[task.name], task.architecture.input)


def accuracies(task: Task, variant: str, cifar: Path | None) -> list[float]:
    """The accuracy of a variant of the recipe by seed, in per cent."""
    import torch

    torch.set_num_threads(1)
    data, recipe = drawn(task, cifar), recipe_of(task, variant)
    prepared = on_device(data, recipe, "cpu")
    return [100 * train(task.architecture, prepared, recipe, seed=seed).accuracy for seed in range(task.seeds)]


def rows(tasks: list[Task], variants: Sequence[str], cifar: Path | None) -> Iterator[str]:
    """The lines of the table."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = {
            (variant, task.name): pool.submit(accuracies, task, variant, cifar)
            for variant in variants
            for task in tasks
            if variant == AS_IT_IS or recipe_of(task, variant) != recipe_of(task, AS_IT_IS)
        }
        for variant in variants:
            cells = []
            for task in tasks:
                values = found[variant, task.name].result() if (variant, task.name) in found else []
                cells.append(f"{fmean(values):.1f} ± {stdev(values):.1f}" if values else "")
            yield f"| {variant} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    given = parser.parse_args()
    there = {"digits": True, "Fashion-MNIST": FASHION.is_dir(), "CIFAR-10": given.cifar10 is not None}
    tasks = [task for task in TASKS if there[task.name]]
    heads = [f"{t.name}, {cost(t.architecture).flops / 1e6:.2f} M FLOPs, {t.epochs} epochs" for t in tasks]
    print(f"| recipe | {' | '.join(heads)} |\n|---|{'---|' * len(tasks)}")
    for row in rows(tasks, given.only, given.cifar10):
        print(row, flush=True)


if __name__ == "__main__":
    main()
