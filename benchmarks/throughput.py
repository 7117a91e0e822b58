"""Trials per hour compared with a typical hand-written script (`benchmarks.by_hand`): the same networks and seeds.

Each figure is of a process of its own, which trains the same architectures in the same order for the same epochs; the
sides take turns within every repeat, and every repeat has another seed, of the splits and of each training. Both are
given what they are to train as trials enqueued for Optuna's TPE, and pay for their storage: the script keeps its study
in memory, nas in a journal file, with the weights of every trial. nas trains in full alone (`fidelities=1,
stopping="none"`), as the script does.

The steady rate is that of all workers between their own first start and last end, so that neither start-up nor the wait
for the last training is in it; the whole rate is of the process, from its start to its end. Accuracies are compared
over all architectures and seeds, with the standard error of the difference beside it. Below are the images a second of
one training, validation included. CIFAR-10 is a folder of parquet files, which `NAS_CIFAR10` names.
"""

import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch

import nas
from benchmarks import by_hand
from benchmarks.training import by_hand as bare_loop
from nas import Architecture, SearchSpace
from nas.training.train import on_device, threads_for, train

REPEATS = 5
CIFAR10 = os.environ.get("NAS_CIFAR10")
LOADERS = 4
"""Where there is a GPU the script is also measured with so many processes that load images, as is usual there."""


class Setting(NamedTuple):
    """What both sides search: `trials` architectures of a space, on at most `max_images` images of the data."""

    name: str
    space: SearchSpace
    data: Any
    trials: int
    max_images: int | None = None


class Run(NamedTuple):
    """What one process gave: trials per hour, the two rates, and the accuracy of each architecture in per cent."""

    steady: float
    whole: float
    accuracies: list[float]


def settings() -> Iterator[Setting]:
    """The digits by their own recipe; of CIFAR-10 a part, and short trainings of small networks."""
    yield Setting("digits", nas.load_space("digits"), "digits", trials=16)
    if CIFAR10:
        space = nas.load_space("groupconv32").with_changes(max_flops=20 * 10**6)
        short = space.with_changes(recipe=space.recipe.with_values(epochs=3))
        yield Setting("CIFAR-10", short, CIFAR10, trials=6, max_images=2000)
    else:
        print("CIFAR-10 is left out: NAS_CIFAR10 names no folder", file=sys.stderr)


def measure() -> Iterator[tuple[str, list[float], str]]:
    """For each setting both rates of every side, and how the accuracies compare; at last the images a second."""
    chosen = list(settings())
    for setting in chosen:
        yield from _rates(setting)
    for setting in chosen:
        yield from _images_per_second(setting)


def architectures(setting: Setting) -> list[Architecture]:
    """Different ones drawn at random, each valid one of the space within its budgets with the same probability."""
    rng = np.random.default_rng(0)
    drawn = (setting.space.architecture(setting.space.sample(rng)) for _ in itertools.count())
    fitting: dict[str, Architecture] = {}
    while len(fitting) < setting.trials:
        architecture = next(drawn)
        if setting.space.fits(architecture):
            fitting[architecture.key] = architecture
    return list(fitting.values())


def _rates(setting: Setting) -> Iterator[tuple[str, list[float], str]]:
    script, one, many = "by hand", "nas, 1 worker", "nas, workers auto"
    sides: dict[str, Callable[[Setting, int], Run]] = {
        script: by_script,
        one: partial(by_nas, workers=1),
        many: partial(by_nas, workers="auto"),
    }
    if torch.cuda.is_available():
        sides[f"by hand, {LOADERS} loading processes"] = partial(by_script, loaders=LOADERS)
    runs: dict[str, list[Run]] = defaultdict(list)
    for repeat in range(REPEATS):
        for side, run in sides.items():
            runs[side].append(run(setting, repeat))
    for rate in ("steady", "whole"):
        for side in sides:
            yield f"{setting.name}: {side}, {rate} rate", [getattr(run, rate) for run in runs[side]], "trials/h"
        for side in (one, many):
            pairs = zip(runs[side], runs[script], strict=True)
            yield (
                f"{setting.name}: {side}, over by hand, {rate}",
                [getattr(a, rate) / getattr(b, rate) for a, b in pairs],
                "",
            )
    for side in sides:
        yield f"{setting.name}: {side}, mean accuracy", [statistics.mean(run.accuracies) for run in runs[side]], "%"
    for side in (one, many):
        pairs = zip(runs[side], runs[script], strict=True)
        differences = [a - b for ours, theirs in pairs for a, b in zip(ours.accuracies, theirs.accuracies, strict=True)]
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        yield f"{setting.name}: {side}, less by hand, mean of all accuracies", [statistics.mean(differences)], "points"
        yield f"{setting.name}: {side}, less by hand, its standard error", [error], "points"


def by_script(setting: Setting, seed: int, *, loaders: int = 0) -> Run:
    """The hand-written script, in one process."""
    space = setting.space
    seconds, trained = _in_fresh_process(
        _search_by_hand,
        space,
        setting.data,
        trials=setting.trials,
        epochs=space.recipe.epochs,
        seed=seed,
        architectures=architectures(setting),
        max_images=setting.max_images,
        loaders=loaders,
    )
    busy = sum(trial.seconds for trial in trained)
    accuracies = [100 * trial.accuracy for trial in trained]
    return Run(3600 * len(trained) / busy, 3600 * len(trained) / seconds, accuracies)


def by_nas(setting: Setting, seed: int, *, workers: int | str) -> Run:
    """nas, on a study that was made beforehand with the architectures enqueued."""
    with tempfile.TemporaryDirectory() as runs:
        options: dict[str, Any] = {
            "trials": setting.trials,
            "runs": runs,
            "name": "throughput",
            "sampler": "tpe",
            "fidelities": 1,
            "stopping": "none",
            "seed": seed,
            "max_images": setting.max_images,
        }
        made = nas.search(setting.space, setting.data, **options, timeout=0.001, device="cpu")  # begins no training
        assert not made.records()
        for architecture in architectures(setting):
            made.optuna_study.enqueue_trial(setting.space.point(architecture))
        seconds, _ = _in_fresh_process(_search, setting.space, setting.data, **options, workers=workers)
        records = nas.Study.open("throughput", runs).records()
    spans: dict[str | None, list[float]] = defaultdict(list)
    for record in records:
        assert record.started is not None and record.ended is not None
        spans[record.worker] += [record.started, record.ended]
    busy = sum(max(times) - min(times) for times in spans.values()) / len(spans)
    reached = {record.architecture.key: record.accuracy for record in records}
    found = [reached[architecture.key] for architecture in architectures(setting)]
    accuracies = [100 * accuracy if accuracy is not None else math.nan for accuracy in found]
    return Run(3600 * len(records) / busy, 3600 * len(records) / seconds, accuracies)


def _search_by_hand(*args: Any, **options: Any) -> list[by_hand.Trained]:
    by_hand.quiet()
    return by_hand.search(*args, **options)


def _search(*args: Any, **options: Any) -> None:
    nas.search(*args, **options)


def _in_fresh_process(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[float, Any]:
    """How long a new Python takes from its start to its end, and what the function gave there."""
    start = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        result = process.submit(function, *args, **options).result()
    return time.perf_counter() - start, result


def _images_per_second(setting: Setting) -> Iterator[tuple[str, list[float], str]]:
    """Training images a second of one training of the first architecture, for a third of the epochs."""
    by_hand.quiet()
    recipe = replace(setting.space.recipe, epochs=max(1, setting.space.recipe.epochs // 3))
    images = nas.load_data(setting.data, setting.space.input, seed=0, max_images=setting.max_images)
    architecture, data, loaders = architectures(setting)[0], on_device(images, recipe), by_hand.Data(images, recipe)

    def bare() -> None:
        with threads_for(architecture, recipe):
            bare_loop(architecture, data, recipe)

    sides: dict[str, Callable[[], object]] = {
        "`nas.training.train`": lambda: train(architecture, data, recipe),
        "a bare loop over the same tensors": bare,
        "the script's Lightning and DataLoader": lambda: by_hand.train(architecture, loaders, recipe, seed=0),
    }
    trained = recipe.epochs * (len(images.train.labels) // recipe.batch_size * recipe.batch_size)
    figures: dict[str, list[float]] = defaultdict(list)
    for repeat in range(REPEATS + 1):
        for side, run in sides.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first warms up
                figures[side].append(trained / (time.perf_counter() - start))
    for side in sides:
        yield f"{setting.name}, one training: {side}", figures[side], "images/s"
