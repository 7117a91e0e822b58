"""What each augmentation brings where images are few: accuracy on 4,000 images that no training sees.

    python -m benchmarks.augmentation [--cifar10 FOLDER_OF_PARQUET_FILES] [--seeds 3]

Data and networks are those of `benchmarks.few_images`, and all else follows from the images: crops and flips of colour
images as well. Accuracies are in per cent, the mean over seeds and their standard deviation. What was trained is kept
in benchmarks/results/augmentation and printed again.
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
SETS = (("CIFAR-10", 1000, 100), ("CIFAR-10", 4000, 32), ("Fashion-MNIST", 1000, 100))
"""Data, number of training images, epochs."""
VARIANTS: dict[str, dict[str, Any]] = {
    "follows from the data": {},
    "no crop, no flip": {"flip": False, "crop_padding": 0},
    "flip_vertical": {"flip_vertical": True},
    "rotation: 15": {"rotation": 15},
    "color_jitter: 0.3": {"color_jitter": 0.3},
    "cutout: 0.5": {"cutout": 0.5},
    "mixup: 0.5": {"mixup": 0.5},
    "cutmix: 0.5": {"cutmix": 0.5},
    "random_augment: 0.5": {"random_augment": 0.5},
    "random_augment: 1": {"random_augment": 1},
    "random_augment: 1, cutmix: 0.5": {"random_augment": 1, "cutmix": 0.5},
}
"""Changes to the recipe that follows from the data."""


def accuracy(task: tuple[str, int, int], variant: str, seed: int, cifar: Path | None) -> float:
    """The accuracy in per cent: from its file, or of a training."""
    name, number, epochs = task
    key = "-".join(f"{field}-{value}" for field, value in VARIANTS[variant].items()) or "as-it-is"
    file = RESULTS / f"{name}-{number}-{epochs}-{key}-{seed}.json"
    if not file.exists():
        recipe = Recipe.from_dict({"epochs": epochs, **VARIANTS[variant]}).for_images(number, NETWORKS[name].input)
        keep(file, judged(name, number, recipe, seed=seed, cifar=cifar))
    return kept(file)


def rows(sets: Sequence[tuple[str, int, int]], seeds: int, cifar: Path | None) -> Iterator[str]:
    """The lines of the table."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = {
            (each, variant, seed): pool.submit(accuracy, each, variant, seed, cifar)
            for seed in range(seeds)
            for each in sets
            for variant in VARIANTS
        }
        for variant in VARIANTS:
            cells = []
            for each in sets:
                values = [found[each, variant, seed].result() for seed in range(seeds)]
                cells.append(f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if seeds > 1 else ""))
            yield f"| {variant} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sets = [each for each in SETS if given.cifar10 or each[0] != "CIFAR-10"]
    print(f"| recipe | {' | '.join(f'{name}, {number:,} images, {epochs} epochs' for name, number, epochs in sets)} |")
    print(f"|---|{'---|' * len(sets)}")
    for row in rows(sets, given.seeds, given.cifar10):
        print(row, flush=True)


if __name__ == "__main__":
    main()
