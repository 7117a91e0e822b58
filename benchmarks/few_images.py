"""How long to train, and in which batches, where images are few: accuracy on 4,000 images that no training sees.

    python -m benchmarks.few_images [--cifar10 FOLDER_OF_PARQUET_FILES]

The networks are those of `benchmarks.recipes`, which trains on thousands of images. All else follows from the images.
Accuracies are in per cent, the mean over seeds and their standard deviation. What was trained is kept in
benchmarks/results/few_images and printed again; the time that an epoch takes by batch size is measured each time.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from benchmarks.recipes import CLASSES, TASKS, pixels
from nas import ImageData, Input, Recipe
from nas.architectures.architecture import STRIDED
from nas.data.images import Split
from nas.training.train import evaluate, on_device, train

RESULTS = Path(__file__).parent / "results" / "few_images"
JUDGED_BY = 4000
SEEDS = 3
LENGTHS = {
    300: ((100, 32), (100, 16), (100, 8), (200, 32), (200, 16), (300, 32)),
    1000: ((100, 32), (100, 16), (50, 16)),
    4000: ((32, 32), (32, 16), (16, 16)),
}
"""Epochs and batch sizes, by number of training images."""
TIMED_EPOCHS = 5
NETWORKS = {task.name: replace(task.architecture, shortcuts=STRIDED) for task in TASKS}  # as what is kept has


def drawn(name: str, number: int, seed: int, cifar: Path | None) -> tuple[ImageData, Split]:
    """Training images, with ten for validation, which take no time; and the images that judge."""
    images, labels = pixels(name, cifar)
    order = np.random.default_rng(100 + seed).permutation(len(labels))
    training, judging = (Split(images[rows], labels[rows]) for rows in (order[:number], order[-JUDGED_BY:]))
    return ImageData(name, CLASSES, training, Split(judging.images[:10], judging.labels[:10]), judging), judging


def recipe_of(number: int, length: tuple[int, int], shape: Input) -> Recipe:
    """The recipe that follows from the images, with this length and batch size, and crops and flips alone."""
    epochs, batch = length
    return Recipe.from_dict({"epochs": epochs, "batch_size": batch, "random_augment": 0}).for_images(number, shape)


def trained(name: str, number: int, length: tuple[int, int], seed: int, cifar: Path | None) -> float:
    """The accuracy in per cent: from its file, or of a training."""
    epochs, batch = length
    file = RESULTS / f"{name}-{number}-{epochs}-{batch}-{seed}.json"
    if not file.exists():
        recipe = recipe_of(number, length, NETWORKS[name].input)
        keep(file, judged(name, number, recipe, seed=seed, cifar=cifar))
    return kept(file)


def judged(name: str, number: int, recipe: Recipe, *, seed: int, cifar: Path | None) -> float:
    """Trains the network of a data set on one core, and returns its accuracy on the images that judge, in per cent."""
    import torch

    torch.set_num_threads(1)
    network, (data, judging) = NETWORKS[name], drawn(name, number, seed, cifar)
    result = train(network, on_device(data, recipe, "cpu"), recipe, seed=seed)
    there = on_device(replace(data, validation=judging), recipe, "cpu")
    return 100 * evaluate(network, result.weights, there, recipe=recipe)


def keep(file: Path, accuracy: float) -> None:
    """Writes an accuracy to its file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"accuracy": round(accuracy, 3)}))


def kept(file: Path) -> float:
    """Reads an accuracy from its file."""
    return float(json.loads(file.read_text())["accuracy"])


def seconds_of_an_epoch(batch: int) -> float:
    """The processor's time for an epoch of 1,000 images of Fashion-MNIST on one core: the lowest of three."""
    import torch

    torch.set_num_threads(1)
    network, (data, _) = NETWORKS["Fashion-MNIST"], drawn("Fashion-MNIST", 1000, 0, None)
    recipe = recipe_of(1000, (TIMED_EPOCHS, batch), network.input)
    prepared, found = on_device(data, recipe, "cpu"), []
    for _ in range(3):
        begun = time.process_time()
        train(network, prepared, recipe)
        found.append((time.process_time() - begun) / TIMED_EPOCHS)
    return min(found)


def rows(names: Sequence[str], cifar: Path | None) -> Iterator[str]:
    """The lines of the table."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = {
            (name, number, length, seed): pool.submit(trained, name, number, length, seed, cifar)
            for number, lengths in LENGTHS.items()
            for seed in range(SEEDS)
            for name in names
            for length in lengths
        }
        for number, lengths in LENGTHS.items():
            for length in lengths:
                cells = []
                for name in names:
                    values = [found[name, number, length, seed].result() for seed in range(SEEDS)]
                    cells.append(f"{fmean(values):.1f} ± {stdev(values):.1f}")
                yield f"| {number:,} | {length[0]} | {length[1]} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    cifar = parser.parse_args().cifar10
    names = ["Fashion-MNIST", *(["CIFAR-10"] if cifar else [])]
    print(f"| images | epochs | batch | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}")
    for row in rows(names, cifar):
        print(row, flush=True)
    times = ", ".join(f"{seconds_of_an_epoch(batch):.2f} s in batches of {batch}" for batch in (32, 16, 8))
    print(f"\nAn epoch of 1,000 images of Fashion-MNIST takes {times}.")


if __name__ == "__main__":
    main()
