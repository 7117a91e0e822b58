"""What each augmentation brings where images are few: accuracy on 4,000 images that no training sees.

    python -m benchmarks.augmentation [--cifar10 FOLDER_OF_PARQUET_FILES]

Data and networks are those of `benchmarks.few_images`, and all else follows from the images: crops and flips of colour
images as well. Accuracies are in per cent: of one seed, or the mean and standard deviation of three where nas chooses
the augmentation by itself. What was trained is kept in benchmarks/results/augmentation and printed again.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.few_images import NETWORKS, judged, keep, kept
from nas import Recipe

RESULTS = Path(__file__).parent / "results" / "augmentation"
SETS = {
    ("CIFAR-10", 300, 100): False,
    ("CIFAR-10", 1000, 65): False,
    ("CIFAR-10", 1000, 100): True,
    ("CIFAR-10", 2000, 65): False,
    ("CIFAR-10", 4000, 32): True,
    ("Fashion-MNIST", 1000, 100): False,
}
"""Data, number of training images, epochs; and whether all variants are tried."""
CROPS, CHOSEN, SEEDS = "crops and flips alone", "random_augment: 1", 3
VARIANTS: dict[str, dict[str, Any]] = {
    CROPS: {},
    "no crop, no flip": {"flip": False, "crop_padding": 0},
    "flip_vertical": {"flip_vertical": True},
    "rotation: 15": {"rotation": 15},
    "color_jitter: 0.3": {"color_jitter": 0.3},
    "cutout: 0.5": {"cutout": 0.5},
    "mixup: 0.5": {"mixup": 0.5},
    "cutmix: 0.5": {"cutmix": 0.5},
    "random_augment: 0.5": {"random_augment": 0.5},
    CHOSEN: {"random_augment": 1},
    "random_augment: 1, cutmix: 0.5": {"random_augment": 1, "cutmix": 0.5},
}
"""Changes to the recipe that follows from the data, without `random_augment`."""


def accuracy(task: tuple[str, int, int], variant: str, seed: int, cifar: Path | None) -> float:
    """The accuracy in per cent: from its file, or of a training."""
    name, number, epochs = task
    key = "-".join(f"{field}-{value}" for field, value in VARIANTS[variant].items()) or "as-it-is"
    file = RESULTS / f"{name}-{number}-{epochs}-{key}-{seed}.json"
    if not file.exists():
        recipe = Recipe.from_dict({"epochs": epochs, "random_augment": 0, **VARIANTS[variant]})
        recipe = recipe.for_images(number, NETWORKS[name].input)
        keep(file, judged(name, number, recipe, seed=seed, cifar=cifar))
    return kept(file)


def seeds_of(task: tuple[str, int, int], variant: str) -> range:
    """The seeds on which a variant is trained for a data set; none where it is not tried."""
    return range(SEEDS if variant in (CROPS, CHOSEN) else int(SETS[task]))


def rows(tasks: Sequence[tuple[str, int, int]], cifar: Path | None) -> Iterator[str]:
    """The lines of the table."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = {
            (task, variant): [pool.submit(accuracy, task, variant, seed, cifar) for seed in seeds_of(task, variant)]
            for task in tasks
            for variant in VARIANTS
        }
        for variant in VARIANTS:
            cells = []
            for task in tasks:
                values = [future.result() for future in found[task, variant]]
                mean = f"{fmean(values):.1f}" if values else ""
                cells.append(mean + (f" ± {stdev(values):.1f}" if len(values) > 1 else ""))
            yield f"| {variant} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    cifar = parser.parse_args().cifar10
    tasks = [task for task in SETS if cifar or task[0] != "CIFAR-10"]
    print(f"| recipe | {' | '.join(f'{name}, {number:,} images, {epochs} epochs' for name, number, epochs in tasks)} |")
    print(f"|---|{'---|' * len(tasks)}")
    for row in rows(tasks, cifar):
        print(row, flush=True)


if __name__ == "__main__":
    main()
