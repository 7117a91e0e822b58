"""The network to take home: test accuracy of the final training, taught by the search's best networks or not.

    python -m benchmarks.distillation fashion cifar10 --seeds 1 --cifar10 FOLDER_OF_PARQUET_FILES

The networks are those of `benchmarks.all_images`, trained on the search's training and validation images, for as many
epochs as the search's and for twice as many, by the labels alone or with distillation, and tested on 10,000 images that
the search has not seen. The teachers are the three networks that the kept run reports as its most accurate, trained as
the search did: by its recipe, on its training images. What was tested is kept in benchmarks/results/distillation and
printed again.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import nas
from benchmarks.accuracy import found
from benchmarks.all_images import IMAGES, MAX_FLOPS, SECONDS
from benchmarks.outcome import OURS, RESULTS, Setting, Trained, chosen, judged, ladder, record_of, setting
from nas import Architecture, ImageData, Recipe
from nas.architectures.weights import save_weights
from nas.data.images import train_on_all
from nas.training.objective import Teacher
from nas.training.train import on_device, train

KEPT = Path(__file__).parent / "results" / "distillation"
TEACHERS = 3
TIMES = (1, 2)
"""How many times the search's epochs."""


def _setting(name: str, cifar: Path | None) -> Setting:
    return setting(name, images=IMAGES[name], max_flops=MAX_FLOPS, seconds=SECONDS, cifar=cifar)


def _images(to: Setting) -> tuple[ImageData, Recipe]:
    data = nas.load_data(to.images, to.space.input, seed=0)
    return data, to.space.recipe.for_images(len(data.train.labels), to.space.input)


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


def file_of(name: str, architecture: Architecture, *, seed: int, times: int, distilled: bool) -> Path:
    """Where the result of a training is kept."""
    return KEPT / f"{name}-{architecture.key}-{seed}-{times}-{'distilled' if distilled else 'labels'}.json"


def tested(
    name: str, architecture: Architecture, *, seed: int, times: int, taught: list[Teacher] | None, cifar: Path | None
) -> float:
    """The accuracy on the test images, in [0, 1]: from its file, or of a training."""
    file = file_of(name, architecture, seed=seed, times=times, distilled=taught is not None)
    if not file.exists():
        import torch

        torch.set_num_threads(1)
        to = _setting(name, cifar)
        data, recipe = _images(to)
        recipe = recipe.with_values(epochs=times * recipe.epochs)
        on = on_device(judged(train_on_all(data), to.test), recipe, "cpu")
        result = train(architecture, on, recipe, seed=seed, teachers=taught or ())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"epochs": recipe.epochs, "accuracy": result.curve[-1]}))
    return float(json.loads(file.read_text())["accuracy"])


def rows(name: str, seeds: int, cifar: Path | None) -> Iterator[str]:
    """The lines of the table: a network, and its accuracy by epochs and way."""
    to = _setting(name, cifar)
    networks = list(dict.fromkeys(found(to, f"{name}-{IMAGES[name]}")))
    ways = [(times, distilled) for times in TIMES for distilled in (False, True)]
    trainings = [(network, seed, *way) for seed in range(1, seeds + 1) for way in ways for network in networks]
    missing = [
        (network, seed, times, distilled)
        for network, seed, times, distilled in trainings
        if not file_of(name, network, seed=seed, times=times, distilled=distilled).exists()
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
    ):
        taught: list[Teacher] = []
        if any(distilled for *_, distilled in missing):
            chosen_ones = [
                pool.submit(taught_by, name, each, Path(folder) / each.key, cifar) for each in teachers(name, to)
            ]
            taught = [each.result() for each in chosen_ones]
        begun = {
            training: pool.submit(
                tested,
                name,
                training[0],
                seed=training[1],
                times=training[2],
                taught=taught if training[3] else None,
                cifar=cifar,
            )
            for training in trainings
        }
        for network in networks:
            values = [fmean(100 * begun[network, seed, *way].result() for seed in range(1, seeds + 1)) for way in ways]
            yield f"| {name} | {nas.cost(network).flops / 1e6:.2f} M | {' | '.join(f'{v:.1f}' for v in values)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=list(IMAGES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cifar10", type=Path)
    given = parser.parse_args()
    print("| data | FLOPs | by the labels | taught | twice the epochs | taught, twice the epochs |")
    print("|---|---|---|---|---|---|")
    for name in given.data:
        for row in rows(name, given.seeds, given.cifar10):
            print(row, flush=True)


if __name__ == "__main__":
    main()
