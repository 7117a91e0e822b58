"""The final training of a network to take home: on which images, how long, and whether it learns from others.

    python -m benchmarks.final_training cifar10 fashion --seeds 3 --cifar10 FOLDER_OF_PARQUET_FILES

The networks are those that the kept runs `nas search`, seed 0, of `benchmarks.outcome` report at their end at most at
1, 3 and 8 M FLOPs. Each is trained by the search's recipe on the search's training images, as the search did, or on its
training and validation images, for as many epochs as the search's and for more, by the labels alone or taught by
others, and tested on 10,000 images that the search has not seen. The teachers are the three networks that the kept run
reports as its most accurate, trained as the search did. What was tested is kept in benchmarks/results/final_training
and printed again; `--kept` prints that alone.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import nas
from benchmarks.accuracy import found
from benchmarks.outcome import OURS, RESULTS, Setting, Trained, chosen, judged, ladder, record_of, setting
from nas import Architecture, ImageData, Recipe
from nas.architectures.weights import save_weights
from nas.data.images import train_on_all
from nas.training.objective import Teacher
from nas.training.train import on_device, train

KEPT = Path(__file__).parent / "results" / "final_training"
IMAGES = {"fashion": 4800, "cifar10": 8000}
MAX_FLOPS, SECONDS = 8_000_000, 1200
TEACHERS = 3


class Way(NamedTuple):
    """A way to train: how many times the search's epochs; by `train` images alone, all `labels`, or `distilled`."""

    times: int
    kind: str


WAYS = {
    "as in the search": Way(1, "train"),
    "all images": Way(1, "labels"),
    "twice the epochs": Way(2, "labels"),
    "four times": Way(4, "labels"),
    "taught": Way(1, "distilled"),
    "taught, twice": Way(2, "distilled"),
}


def _setting(name: str, cifar: Path | None) -> Setting:
    return setting(name, images=IMAGES[name], max_flops=MAX_FLOPS, seconds=SECONDS, cifar=cifar)


def _images(to: Setting) -> tuple[ImageData, Recipe]:
    data = nas.load_data(to.images, to.space.input, seed=0)
    return data, to.space.recipe.for_images(len(data.train.labels), to.space.input)


def networks(name: str, cifar: Path | None) -> list[Architecture]:
    """The networks that are trained, from the fewest FLOPs to the most."""
    return list(dict.fromkeys(found(_setting(name, cifar), f"{name}-{IMAGES[name]}")))


def teachers(name: str, to: Setting) -> list[Architecture]:
    """The networks that the search, seed 0, reports as its most accurate."""
    file = RESULTS / f"{name}-{IMAGES[name]}-20min-{OURS}-0.json"
    run = [Trained(**each) for each in json.loads(file.read_text())]
    places = chosen(run, to.space, ladder(to.space), estimated=True)
    front = dict.fromkeys(place for place in places if place is not None)
    return [record_of(place, run[place]).architecture for place in list(front)[-TEACHERS:]]


def taught_by(name: str, architecture: Architecture, file: Path, cifar: Path | None) -> Teacher:
    """Trains a teacher, and keeps its weights in the file."""
    import torch

    torch.set_num_threads(1)
    data, recipe = _images(_setting(name, cifar))
    result = train(architecture, on_device(data, recipe, "cpu"), recipe, seed=0)
    save_weights(file, result.weights, architecture)
    return Teacher(architecture, file)


def file_of(name: str, architecture: Architecture, seed: int, way: Way) -> Path:
    """Where the result of a training is kept."""
    return KEPT / f"{name}-{architecture.key}-{seed}-{way.times}-{way.kind}.json"


def tested(
    name: str, architecture: Architecture, seed: int, way: Way, *, taught: list[Teacher], cifar: Path | None
) -> None:
    """Trains a network and keeps its accuracy on the test images."""
    import torch

    torch.set_num_threads(1)
    to = _setting(name, cifar)
    data, recipe = _images(to)
    recipe = recipe.with_values(epochs=way.times * recipe.epochs)
    on = judged(data if way.kind == "train" else train_on_all(data), to.test)
    result = train(architecture, on_device(on, recipe, "cpu"), recipe, seed=seed, teachers=taught)
    file = file_of(name, architecture, seed, way)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"epochs": recipe.epochs, "accuracy": result.curve[-1]}))


def train_missing(name: str, seeds: int, cifar: Path | None) -> None:
    """Makes the trainings that are not kept, two at once."""
    missing = [
        (network, seed, way)
        for seed in range(1, seeds + 1)
        for way in WAYS.values()
        for network in reversed(networks(name, cifar))  # the longest training first
        if not file_of(name, network, seed, way).exists()
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
    ):
        taught: list[Teacher] = []
        if any(way.kind == "distilled" for *_, way in missing):
            to = _setting(name, cifar)
            made = [pool.submit(taught_by, name, each, Path(folder) / each.key, cifar) for each in teachers(name, to)]
            taught = [each.result() for each in made]
        begun = [
            pool.submit(tested, name, network, seed, way, taught=taught if way.kind == "distilled" else [], cifar=cifar)
            for network, seed, way in missing
        ]
        for each in begun:
            each.result()


def rows(name: str, seeds: int, cifar: Path | None) -> Iterator[str]:
    """The lines of the table: a network, and its accuracy by way: the mean ± the standard deviation of its seeds.

    Without ± only one seed is kept; – stands for none.
    """
    for network in networks(name, cifar):
        cells = []
        for way in WAYS.values():
            files = [file_of(name, network, seed, way) for seed in range(1, seeds + 1)]
            values = [100 * json.loads(file.read_text())["accuracy"] for file in files if file.exists()]
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{fmean(values):.1f}{spread}" if values else "–")
        yield f"| {name} | {nas.cost(network).flops / 1e6:.2f} M | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=list(IMAGES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--kept", action="store_true", help="train nothing")
    given = parser.parse_args()
    print(f"| data | FLOPs | {' | '.join(WAYS)} |\n|{'---|' * (2 + len(WAYS))}")
    for name in given.data:
        if not given.kept:
            train_missing(name, given.seeds, given.cifar10)
        for row in rows(name, given.seeds, given.cifar10):
            print(row, flush=True)


if __name__ == "__main__":
    main()
