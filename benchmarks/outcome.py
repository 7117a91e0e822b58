"""Time to front: what a person takes home after a time, from `nas search` as it comes and from a script by hand.

    python -m benchmarks.outcome fashion --minutes 20 --seeds 3
    python -m benchmarks.outcome cifar10 --images 8000 --minutes 20 --seeds 3 --cifar10 FOLDER_OF_PARQUET_FILES
    python -m benchmarks.outcome digits --minutes 5 --seeds 3

Both sides get the same images, split by the same seed, and search the same space: the one that nas makes for them, or
the ready one for the digits, of which there are 1,438. The script is `benchmarks.by_hand`: Optuna's default sampler,
Lightning with a DataLoader, AdamW under one cycle with its peak at 0.003, batches of 64, 10 epochs; nas has its
defaults and `--workers auto`. At each moment a side reports its front, the script by validation accuracy and nas by its
estimates; it is judged by the accuracy of those networks on the data set's test images, which neither side sees:
10,000, or 359 digits. `nas search` is there twice: with strided shortcuts, as the script and as all its runs of before
29 November 2026, and with shortcuts by the mean, its default since. The value is the mean of that accuracy over log
FLOPs, in per cent, from a thirtieth of the budget, or the space's cheapest network, to all of it: at each FLOPs counts
the network that a person would take, the most accurate one within them by that side's report; where there is none,
chance. The script's clock stands still while a network is tested.

Each run is kept as a file in benchmarks/results/outcome, so that the table can be filled bit by bit and reprinted;
`--only` takes one side and seed.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import nas
from benchmarks.recipes import FASHION, fashion_mnist
from nas import Architecture, Input, Recipe, SearchSpace
from nas.architectures.architecture import MEAN, STRIDED
from nas.data.images import ImageData, Split
from nas.spaces.built_in import load_space
from nas.spaces.generation import generate_space
from nas.study.estimates import estimates
from nas.study.records import TrialRecord, TrialState

CLASSES = 10
MOST_FOR_DIGITS = 600_000
BY_HAND = Recipe(epochs=10, batch_size=64, learning_rate=0.003, weight_decay=0.01, label_smoothing=0.0, warmup=0.3)
MOMENTS = (1 / 30, 1 / 15, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the time at which fronts are judged."""
IMAGES = 1000
"""About as many validation images; only the width of estimates' intervals depends on it."""
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Trained(NamedTuple):
    """One training: when it was complete, in seconds from the start, its FLOPs, and its accuracies in [0, 1].

    `key` names the architecture, of which only the longest training so far counts.
    """

    seconds: float
    flops: int
    key: str
    epochs: int
    validation: float
    test: float
    architecture: dict[str, Any] | None = None


class Setting(NamedTuple):
    """The images of both sides, the test images that judge, the space, and the seconds."""

    images: Arrays
    test: Split
    space: SearchSpace
    flip: bool
    seconds: float


def setting(name: str, *, images: int, max_flops: int, seconds: float, cifar: Path | None) -> Setting:
    """Draws the images of a data set's training part, the same in every run."""
    if name == "fashion":
        (x, y), (test_x, test_y) = fashion_mnist("train"), fashion_mnist("t10k")
    else:
        data = nas.load_data("digits", Input(1, 8)) if name == "digits" else nas.load_data(str(cifar), Input(3, 32))
        x, y = (np.concatenate([split[at][:] for split in (data.train, data.validation)]) for at in (0, 1))
        test_x, test_y = data.test.images[:], data.test.labels
    rows = np.random.default_rng(0).permutation(len(y))[:images]
    if name == "digits":
        space = load_space("digits").with_changes(max_flops=MOST_FOR_DIGITS)
    else:
        space = generate_space(Input(x.shape[3], x.shape[1]), CLASSES, max_flops=max_flops)
    space = space.with_changes(shortcuts=STRIDED)  # of all sides but the last, as in the kept runs
    return Setting((x[rows], y[rows]), Split(test_x, test_y), space, name == "cifar10", seconds)


def judged(data: ImageData, test: Split) -> ImageData:
    """The data with the test images in place of the validation images."""
    return ImageData(data.source, data.classes, data.train, test, test)


def by_hand(to: Setting, seed: int) -> list[Trained]:
    """The script's trainings."""
    import optuna
    import torch

    from benchmarks import by_hand as script
    from nas.training.train import evaluate, on_device

    script.quiet()
    data = nas.load_data(to.images, to.space.input, seed=seed)
    recipe = BY_HAND.with_values(flip=to.flip)
    module, on = script.Data(data, recipe), on_device(judged(data, to.test), recipe, "cpu")
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed))
    found: list[Trained] = []
    start, paused = time.monotonic(), 0.0
    while (taken := time.monotonic() - start - paused) < to.seconds:
        trial = study.ask()
        architecture = script.suggest(trial, to.space, CLASSES)
        flops = nas.cost(architecture).flops
        if flops > (to.space.max_flops or math.inf):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        torch.manual_seed(seed)
        network = script.Classifier(architecture, recipe)
        validation = script.fit(network, module)
        study.tell(trial, [validation, flops])
        taken, before = time.monotonic() - start - paused, time.monotonic()
        weights = {name: value.detach() for name, value in network.network.state_dict().items()}
        test = evaluate(architecture, weights, on, recipe=recipe)
        whole = architecture.to_dict()
        found.append(Trained(taken, flops, architecture.key, recipe.epochs, validation, test, whole))
        paused += time.monotonic() - before
    return found


def ours(to: Setting, seed: int) -> list[Trained]:
    """The trainings of `nas search` by its defaults."""
    from nas.architectures.weights import load_weights
    from nas.training.train import evaluate, on_device

    with tempfile.TemporaryDirectory() as runs:
        start = time.time()
        study = nas.search(
            to.space,
            to.images,
            trials=100_000,
            timeout=to.seconds,
            name="s",
            runs=runs,
            seed=seed,
            workers="auto",
            keep="all",
            device="cpu",
        )
        data, recipe = nas.load_data(to.images, to.space.input, seed=seed), study.config.space.recipe
        on = on_device(judged(data, to.test), recipe, "cpu")
        found = []
        for record in study.records():
            if record.trained and record.ended is not None and record.accuracy is not None:
                weights = load_weights(study.weights_file(record.trial))
                test = evaluate(record.architecture, weights, on, recipe=recipe)
                length = record.length or recipe.epochs
                key = record.architecture.key
                seconds, whole = record.ended - start, record.architecture.to_dict()
                found.append(Trained(seconds, record.flops, key, length, record.accuracy, test, whole))
    return found


def ours_by_means(to: Setting, seed: int) -> list[Trained]:
    """The trainings of `nas search` by its defaults, of networks whose shortcuts are by the mean."""
    return ours(to._replace(space=to.space.with_changes(shortcuts=MEAN)), seed)


def reported(trained: Sequence[Trained], space: SearchSpace, seconds: float, *, estimated: bool) -> NDArray[np.float64]:
    """Returns the test accuracies at a moment along `ladder(space)`, in [0, 1]; NaN where no network is that small."""
    in_time = [each for each in trained if each.seconds <= seconds]
    places = chosen(in_time, space, ladder(space), estimated=estimated)
    return np.array([in_time[place].test if place is not None else math.nan for place in places])


def chosen(
    trained: Sequence[Trained], space: SearchSpace, most_flops: Iterable[float], *, estimated: bool
) -> list[int | None]:
    """Returns the place of the network that a person would take within each of some limits on FLOPs; None: none.

    That is the most accurate one by what `nas` estimates of all these trainings if `estimated`, else by validation.
    """
    known = (
        estimates([record_of(place, each) for place, each in enumerate(trained)], space, IMAGES) if estimated else {}
    )
    quality = [known[place].accuracy if place in known else each.validation for place, each in enumerate(trained)]
    by_length = sorted(range(len(trained)), key=lambda place: trained[place].epochs)
    longest = {trained[place].key: place for place in by_length}.values()
    return [
        max((place for place in longest if trained[place].flops <= most), key=quality.__getitem__, default=None)
        for most in most_flops
    ]


def record_of(place: int, training: Trained) -> TrialRecord:
    """The training as a trial of a study."""
    architecture = Architecture.from_dict({"shortcuts": STRIDED, **(training.architecture or {})})
    return TrialRecord(place, TrialState.SHORT, architecture, training.validation, length=training.epochs)


def ladder(space: SearchSpace) -> NDArray[np.float64]:
    """Returns FLOPs in equal steps on a log scale, from a thirtieth of the budget to all of it."""
    most = space.max_flops or 1
    return np.exp(np.linspace(math.log(max(most / 30, space.least_cost[0])), math.log(most), 200))


def area(trained: Sequence[Trained], space: SearchSpace, seconds: float, *, estimated: bool) -> float:
    """Returns the mean test accuracy over log FLOPs of what is reported at a moment, in [0, 1]."""
    return float(np.nan_to_num(reported(trained, space, seconds, estimated=estimated), nan=1 / CLASSES).mean())


def comparison(mine: Sequence[Trained], theirs: Sequence[Trained], space: SearchSpace, seconds: float) -> str:
    """Says by how much nas's front is more accurate at equal FLOPs, where both report a network, and cheaper."""
    left = reported(mine, space, seconds, estimated=True)
    right = reported(theirs, space, seconds, estimated=False)
    points = 100 * float(np.nanmean(left - right))
    flops = ladder(space)
    as_good = [
        flops[reached[0]] / at
        for at, value in zip(flops, right, strict=True)
        if len(reached := np.flatnonzero(left >= value))
    ]
    share = float(np.median(as_good)) if as_good else math.nan
    return f"{points:+.1f} points at equal FLOPs; equal accuracy for {share:.2f} of the FLOPs (median)"


def kept(file: Path, side: Callable[[Setting, int], list[Trained]], to: Setting, seed: int) -> list[Trained]:
    """The trainings of a run: from its file, or made and written to it."""
    if not file.exists():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # nothing of one run is left to the next
            found = pool.submit(side, to, seed).result()
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(each._asdict()) for each in found)
        file.write_text(f"[\n{lines}\n]\n")
    return [Trained(**each) for each in json.loads(file.read_text())]


def rows(to: Setting, name: str, seeds: Sequence[int], sides: Sequence[str]) -> Iterator[str]:
    """The lines of the table: a side at the moments, the mean over seeds and their range; below it, the comparison."""
    found = {
        side: [kept(RESULTS / f"{name}-{side}-{seed}.json", SIDES[side], to, seed) for seed in seeds] for side in sides
    }
    for side, runs in found.items():
        cells = []
        for moment in MOMENTS:
            values = [100 * area(run, to.space, moment * to.seconds, estimated=side != HAND) for run in runs]
            cells.append(f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        trainings = fmean(len(run) for run in runs)
        yield f"| {side}, {trainings:.0f} trainings | {' | '.join(cells)} |"
    if len(found) == len(SIDES):
        yield ""
        for seed, left, right in zip(seeds, found[OURS], found[HAND], strict=True):
            for moment in (1 / 15, 1 / 8, 1.0):
                early = [each for each in left if each.seconds <= moment * to.seconds]
                said = comparison(early, right, to.space, to.seconds)
                yield f"seed {seed}, nas search after {moment * to.seconds:.0f} s to the script at its end: {said}"


HAND, OURS = "script by hand", "nas search"
SIDES = {HAND: by_hand, OURS: ours, f"{OURS}, shortcuts by the mean": ours_by_means}
RESULTS = Path(__file__).parent / "results" / "outcome"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["fashion", "cifar10", "digits"])
    parser.add_argument("--images", type=int, default=4800)
    parser.add_argument("--max-flops", type=int, default=8_000_000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs=2, metavar=("SIDE", "SEED"), help=f"one of {', '.join(SIDES)}, and a seed")
    parser.add_argument("--cifar10", type=Path)
    given = parser.parse_args()
    if given.data == "fashion" and not FASHION.is_dir():
        parser.error(f"{FASHION}: not there; install Debian's package dataset-fashion-mnist")
    to = setting(
        given.data, images=given.images, max_flops=given.max_flops, seconds=60 * given.minutes, cifar=given.cifar10
    )
    sides, seeds = ([given.only[0]], [int(given.only[1])]) if given.only else (list(SIDES), list(range(given.seeds)))
    name = f"{given.data}-{len(to.images[1])}-{given.minutes:g}min"
    print(f"| side | {' | '.join(f'{60 * given.minutes * moment:.0f} s' for moment in MOMENTS)} |")
    print(f"|---|{'---|' * len(MOMENTS)}")
    for row in rows(to, name, seeds, sides):
        print(row, flush=True)


if __name__ == "__main__":
    main()
