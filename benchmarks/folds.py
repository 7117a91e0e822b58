"""How well networks are told apart where images are few: by one validation set, by more seeds, or by five folds.

    python -m benchmarks.folds [--cifar10 FOLDER_OF_PARQUET_FILES]

Of 300 images a fifth is held out for validation. Networks of the space that nas makes for the images, spread over its
FLOPs, are trained as a search would train them, and ranked by their accuracy: of one training; the mean of five, which
cost as much as folds; or on five folds. The truth is the mean accuracy, on 4,000 images that no training sees, of five
trainings on the other 240. Shown are Kendall's rank correlation with the truth, and how much less accurate than the
best the highest-ranked network is, means over three draws of the 300 images. What was trained is kept in
benchmarks/results/folds and printed again.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import kendalltau

import nas
from benchmarks.few_images import JUDGED_BY
from benchmarks.recipes import CLASSES, pixels
from nas import ImageData, Input, Recipe
from nas.architectures.architecture import STRIDED
from nas.data.images import Split, arrays_as_images, folds_of
from nas.data.splitting import split_images
from nas.spaces.generation import generate_space
from nas.training.train import evaluate, on_device, train

RESULTS = Path(__file__).parent / "results" / "folds"
INPUTS = {"Fashion-MNIST": Input(1, 28), "CIFAR-10": Input(3, 32)}
IMAGES, FOLDS, SEEDS, NETWORKS, DRAWS = 300, 5, 5, 10, 3
EPOCHS, MOST_FLOPS = 30, 2_000_000


class Found(NamedTuple):
    """Of one network: its accuracies by seed on the validation images, on the images that judge, and by folds."""

    validated: list[float]
    judged: list[float]
    folded: float


def drawn(name: str, draw: int, cifar: Path | None, **options: Any) -> tuple[ImageData, Split]:
    """Images to train on and validate with, and those that judge."""
    images, labels = pixels(name, cifar)
    order = np.random.default_rng(draw).permutation(len(labels))
    few, judging = (Split(images[rows], labels[rows]) for rows in (order[:IMAGES], order[-JUDGED_BY:]))
    raw = arrays_as_images(few.images, few.labels)._replace(classes=CLASSES, test=judging)
    return split_images(raw, seed=draw, **options), judging


def found(name: str, draw: int, number: int, cifar: Path | None) -> Found:
    """What is found of one network: from its file, or by training it."""
    import torch

    torch.set_num_threads(1)
    file = RESULTS / f"{name}-{draw}-{number}.json"
    if file.exists():
        return Found(**json.loads(file.read_text()))
    data, judging = drawn(name, draw, cifar)
    space = generate_space(INPUTS[name], len(CLASSES), max_flops=MOST_FLOPS)
    space = space.with_changes(shortcuts=STRIDED)  # as what is kept has
    rng = np.random.default_rng(0)
    some = sorted(
        (space.architecture(space.sample(rng)) for _ in range(400)), key=lambda network: nas.cost(network).flops
    )
    network = some[round((number + 0.5) * len(some) / NETWORKS)]
    recipe = Recipe.from_dict({"epochs": EPOCHS}).for_images(len(data.train.labels), INPUTS[name])
    on, there = (on_device(each, recipe, "cpu") for each in (data, nas_judged(data, judging)))
    validated, judged = [], []
    for seed in range(SEEDS):
        result = train(network, on, recipe, seed=seed)
        validated.append(round(result.accuracy, 5))
        judged.append(round(evaluate(network, result.weights, there, recipe=recipe), 5))
    folds = [on_device(fold, recipe, "cpu") for fold in folds_of(drawn(name, draw, cifar, folds=FOLDS)[0])]
    each = Found(validated, judged, round(train(network, folds, recipe, seed=0).accuracy, 5))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(each._asdict()))
    return each


def nas_judged(data: ImageData, judging: Split) -> ImageData:
    """The data with the images that judge in place of those for validation."""
    return ImageData(data.source, data.classes, data.train, judging, judging)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path)
    cifar = parser.parse_args(arguments).cifar10
    names = [name for name in INPUTS if cifar or name != "CIFAR-10"]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        futures = {
            (name, draw): [pool.submit(found, name, draw, number, cifar) for number in range(NETWORKS)]
            for draw in range(DRAWS)
            for name in names
        }
        print("| data | ranked by | rank correlation | points lost by the choice |\n|---|---|---|---|", flush=True)
        for name in names:
            draws = [[future.result() for future in futures[name, draw]] for draw in range(DRAWS)]
            scores = {
                "one training": [[each.validated[0] for each in networks] for networks in draws],
                f"the mean of {SEEDS} seeds": [[fmean(each.validated) for each in networks] for networks in draws],
                f"{FOLDS} folds": [[each.folded for each in networks] for networks in draws],
            }
            for way, by_draw in scores.items():
                truths = [[fmean(each.judged) for each in networks] for networks in draws]
                taus = [float(kendalltau(*pair).statistic) for pair in zip(by_draw, truths, strict=True)]
                lost = [
                    100 * (max(truth) - truth[int(np.argmax(score))])
                    for score, truth in zip(by_draw, truths, strict=True)
                ]
                cells = (name, way, f"{fmean(taus):.2f} ± {stdev(taus):.2f}", f"{fmean(lost):.1f} ± {stdev(lost):.1f}")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
