"""The final training: test accuracy of networks trained on the validation images too, against without them.

    python -m benchmarks.all_images fashion cifar10 --seeds 2 --cifar10 FOLDER_OF_PARQUET_FILES

The networks are those that the kept runs `nas search`, seed 0, of `benchmarks.outcome` report at their end at most at
1, 3 and 8 M FLOPs. Each is trained by the search's recipe for the search's epochs, on the search's training images or
on its training and validation images, paired by seed, two trainings at once, and tested on 10,000 images that the
search has not seen. What was trained is kept in benchmarks/results/all_images and printed again.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev

import nas
from benchmarks.accuracy import found
from benchmarks.outcome import judged, setting
from nas import Architecture
from nas.data.images import train_on_all
from nas.training.train import on_device, train

RESULTS = Path(__file__).parent / "results" / "all_images"
IMAGES = {"fashion": 4800, "cifar10": 8000}
MAX_FLOPS, SECONDS = 8_000_000, 1200


def tested(name: str, architecture: Architecture, seed: int, on_all: bool, cifar: Path | None) -> float:
    """The accuracy on the test images, in [0, 1]: from its file, or of a training."""
    file = RESULTS / f"{name}-{architecture.key}-{seed}-{'all' if on_all else 'train'}.json"
    if not file.exists():
        import torch

        torch.set_num_threads(1)
        to = setting(name, images=IMAGES[name], max_flops=MAX_FLOPS, seconds=SECONDS, cifar=cifar)
        data = nas.load_data(to.images, to.space.input, seed=0)
        recipe = to.space.recipe.for_images(len(data.train.labels), to.space.input)
        data = judged(train_on_all(data) if on_all else data, to.test)
        result = train(architecture, on_device(data, recipe, "cpu"), recipe, seed=seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"images": len(data.train.labels), "accuracy": result.curve[-1]}))
    return float(json.loads(file.read_text())["accuracy"])


def rows(name: str, seeds: int, cifar: Path | None) -> Iterator[str]:
    """The lines of the table: a network with its gains by seed; below them, the mean gain and its standard error."""
    to, gains = setting(name, images=IMAGES[name], max_flops=MAX_FLOPS, seconds=SECONDS, cifar=cifar), []
    networks = list(dict.fromkeys(found(to, f"{name}-{IMAGES[name]}")))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        begun = {
            (network, seed, on_all): pool.submit(tested, name, network, seed, on_all, cifar)
            for seed in range(1, seeds + 1)
            for network in reversed(networks)  # the longest training first
            for on_all in (False, True)
        }
        for network in networks:
            values = [
                [100 * begun[network, seed, on_all].result() for seed in range(1, seeds + 1)]
                for on_all in (False, True)
            ]
            gains += [after - before for before, after in zip(*values, strict=True)]
            means = " | ".join(f"{fmean(each):.1f}" for each in values)
            yield f"| {name} | {nas.cost(network).flops / 1e6:.2f} M | {means} |"
    error = stdev(gains) / len(gains) ** 0.5
    yield f"| {name}, {len(gains)} pairs | | | {fmean(gains):+.1f} ± {error:.1f} points |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=list(IMAGES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cifar10", type=Path)
    given = parser.parse_args()
    print("| data | FLOPs | training images | and validation images |\n|---|---|---|---|")
    for name in given.data:
        for row in rows(name, given.seeds, given.cifar10):
            print(row, flush=True)


if __name__ == "__main__":
    main()
