"""Accuracy on all of Fashion-MNIST: networks that a search found, trained on the 60,000 images, tested on the 10,000.

    python -m benchmarks.accuracy --epochs 30 --seeds 3 [--images 48000]

The networks are those that the kept run `nas search`, seed 0, of `benchmarks.outcome fashion` reports at its end at
most at 1, 3 and 8 M FLOPs: the search saw 4,800 of the training images, or as many as are named. Each is trained by
the recipe that follows from 60,000 images, with flips, for the given epochs; the accuracy on the test images after the
last one is reported. Nothing is chosen by it. The trainings of seed 0 come first, two at once, each on one core. What
was trained is kept in benchmarks/results/accuracy and printed again; an interrupted training goes on after its last
epoch.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from benchmarks.outcome import OURS, Setting, Trained, chosen, record_of, setting
from benchmarks.outcome import RESULTS as OUTCOMES
from benchmarks.recipes import CLASSES, fashion_mnist
from nas import Architecture, ImageData, Recipe, cost
from nas.data.images import Split
from nas.training.train import on_device, train

RESULTS = Path(__file__).parent / "results" / "accuracy"
TARGETS = (1_000_000, 3_000_000, 8_000_000)


def found(to: Setting, name: str) -> list[Architecture]:
    """The networks that the search of seed 0 reports at most at each of the `TARGETS`; `name` is that of its data."""
    run = [Trained(**each) for each in json.loads((OUTCOMES / f"{name}-20min-{OURS}-0.json").read_text())]
    places = chosen(run, to.space, TARGETS, estimated=True)
    return [record_of(place, run[place]).architecture for place in places if place is not None]


def trained(architecture: Architecture, *, epochs: int, seed: int) -> float:
    """The accuracy on the test images, in [0, 1]: from its file, or of a training."""
    file = RESULTS / f"fashion-{architecture.key}-{epochs}-{seed}.json"
    if not file.exists():
        import torch

        torch.set_num_threads(1)
        images, test = Split(*fashion_mnist("train")), Split(*fashion_mnist("t10k"))
        data = ImageData("Fashion-MNIST", CLASSES, images, test, test)
        recipe = Recipe.from_dict({"epochs": epochs, "flip": True}).for_images(len(images.labels), architecture.input)
        file.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = file.with_suffix(".checkpoint")
        result = train(architecture, on_device(data, recipe, "cpu"), recipe, seed=seed, checkpoint=checkpoint)
        file.write_text(json.dumps({"architecture": architecture.to_dict(), "curve": result.curve}))
        checkpoint.unlink(missing_ok=True)
    return float(json.loads(file.read_text())["curve"][-1])


def rows(networks: Sequence[Architecture], *, epochs: int, seeds: int) -> Iterator[str]:
    """The lines of the table: a network, its cost, and its accuracy by seed."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        begun = {
            (seed, network): pool.submit(trained, network, epochs=epochs, seed=seed)
            for seed in range(seeds)
            for network in sorted(networks, key=lambda each: -cost(each).flops)  # the longest training first
        }
        for network in networks:
            values = [100 * begun[seed, network].result() for seed in range(seeds)]
            amounts = f"{cost(network).flops / 1e6:.2f} M | {cost(network).params:,}"
            yield f"| {network.name} | {amounts} | {fmean(values):.2f} | {', '.join(f'{v:.2f}' for v in values)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4800)
    given = parser.parse_args()
    to = setting("fashion", images=given.images, max_flops=8_000_000, seconds=1200, cifar=None)
    print("| network | FLOPs | parameters | test accuracy | by seed |\n|---|---|---|---|---|")
    for row in rows(found(to, f"fashion-{given.images}"), epochs=given.epochs, seeds=given.seeds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
