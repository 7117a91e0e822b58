"""Imbalanced classes: what class weights and balanced sampling bring, on subsets whose classes differ up to fiftyfold.

    python -m benchmarks.imbalance cifar10 fashion --seeds 3 --cifar10 FOLDER_OF_PARQUET_FILES

Class k of ten has MOST / 50^(k/9) images. One network of the space that nas makes for the images, trained by the recipe
that follows from them, with each treatment and on the same seeds; judged by the balanced accuracy on the data set's
10,000 test images, which have all classes equally often. Shown are the means over the seeds, the standard deviation,
and the accuracy on the three rarest classes. Trainings are kept in benchmarks/results/imbalance and printed again.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

import nas
from benchmarks.outcome import Setting, judged, setting
from nas import Recipe
from nas.data.images import ImageData, Split
from nas.training.train import evaluate, on_device, train

RESULTS = Path(__file__).parent / "results" / "imbalance"
TREATMENTS: dict[str, dict[str, str]] = {
    "as they are": {},
    "class_weights: balanced": {"class_weights": "balanced"},
    "class_weights: effective": {"class_weights": "effective"},
    "sampling: balanced": {"sampling": "balanced"},
}
MOST, RATIO, RAREST = 2000, 50, 3
FLOPS = 800_000
VALIDATED = 500


def imbalanced(images: ImageData, *, seed: int) -> ImageData:
    """Leaves class k of K with MOST / RATIO^(k/(K-1)) training images, and few validation images, which cost time."""
    rng, labels = np.random.default_rng(seed), images.train.labels
    classes = len(images.classes)
    rows = [
        rng.permutation(np.flatnonzero(labels == label))[: round(MOST / RATIO ** (label / (classes - 1)))]
        for label in range(classes)
    ]
    chosen, few = np.sort(np.concatenate(rows)), np.arange(VALIDATED)
    training = Split(images.train.images[chosen], labels[chosen])
    validation = Split(images.validation.images[few], images.validation.labels[few])
    return ImageData(images.source, images.classes, training, validation, images.test)


def scores(name: str, words: str, seed: int, cifar: Path | None) -> tuple[float, float]:
    """Returns the balanced test accuracy, and the accuracy on the rarest classes: from their file, or of a training."""
    file = RESULTS / f"{name}-{words.replace(': ', '-').replace(' ', '-')}-{seed}.json"
    if not file.exists():
        to = setting(name, images=40_000, max_flops=8_000_000, seconds=0, cifar=cifar)
        whole, rare = trained(to, TREATMENTS[words], seed=seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"balanced_accuracy": round(whole, 5), "of_the_rarest": round(rare, 5)}))
    found = json.loads(file.read_text())
    return found["balanced_accuracy"], found["of_the_rarest"]


def trained(to: Setting, treatment: dict[str, str], *, seed: int) -> tuple[float, float]:
    """Returns the balanced test accuracy of a training, and the accuracy on the rarest classes."""
    data = imbalanced(nas.load_data(to.images, to.space.input, seed=seed), seed=seed)
    recipe = Recipe.from_dict({"metric": "balanced_accuracy", **treatment})
    recipe = recipe.for_images(len(data.train.labels), to.space.input)
    rng = np.random.default_rng(0)
    networks = [to.space.architecture(to.space.sample(rng)) for _ in range(200)]
    network = min(networks, key=lambda each: abs(np.log(nas.cost(each).flops / FLOPS)))
    result = train(network, on_device(data, recipe, "cpu"), recipe, seed=seed)
    rare = np.flatnonzero(to.test.labels >= len(data.classes) - RAREST)
    whole, part = (
        evaluate(network, result.weights, on_device(judged(data, test), recipe, "cpu"), recipe=recipe)
        for test in (to.test, Split(to.test.images[rare], to.test.labels[rare]))
    )
    return whole, part


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="+", choices=("cifar10", "fashion"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cifar10", type=Path)
    options = parser.parse_args(arguments)
    tasks = [(name, words, seed) for name in options.sets for seed in range(options.seeds) for words in TREATMENTS]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = {task: pool.submit(scores, *task, options.cifar10) for task in tasks}
        for name in options.sets:
            print(f"\n| {name}: training | balanced accuracy | of the {RAREST} rarest classes |\n|---|---|---|")
            for words in TREATMENTS:
                runs = [found[name, words, seed].result() for seed in range(options.seeds)]
                values, rare = zip(*runs, strict=True)
                spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
                print(f"| {words} | {100 * fmean(values):.1f}{spread} | {100 * fmean(rare):.1f} |", flush=True)


if __name__ == "__main__":
    main()
