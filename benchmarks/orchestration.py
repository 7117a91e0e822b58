"""Orchestration overhead: trials per second without training, compared with Ray Tune.

Ours records every trial in a journal file; Ray Tune keeps Optuna's study in memory and writes each result to a folder.
Both propose architectures of the digits' space at random, by Optuna's RandomSampler, in Ray Tune within its
OptunaSearch; ours also by its default sampler. Ray Tune starts a process for every trial, unless it is told to keep one
for further trials, as ours always does (`reuse_actors=True`): both are measured, the first with fewer trials.

The rate is from the first end of a trial to the last, so that no start-up is in it. Beside it are the seconds of the
whole call, which start the worker processes too; those of `ray.init` are left out.
"""

import contextlib
import importlib
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import optuna

import nas
from nas import Architecture
from nas.study.storage.trials import distributions

TRIALS, TRIALS_ANEW, WORKERS, REPEATS = 100, 8, (1, 2, 4), 5
"""`TRIALS_ANEW` where a process is started for every trial."""


def evaluate(architecture: Architecture, report: object) -> float:
    """Stands for a training: an accuracy out of the architecture's key, at once."""
    return int(architecture.key, 16) % 1000 / 1000


def measure() -> Iterator[tuple[str, list[float], str]]:
    """For each number of workers the rates, then the seconds; the sides take turns within every repeat."""
    sides: dict[str, tuple[int, Callable[..., tuple[list[float], float]]]] = {
        "nas, random": (TRIALS, partial(ours, sampler="random")),
        "nas, its default sampler": (TRIALS, partial(ours, sampler="front")),
    }
    if _has_ray():
        sides["Ray Tune, random, processes kept"] = (TRIALS, partial(rays, keep=True))
        sides["Ray Tune, random, as it comes"] = (TRIALS_ANEW, partial(rays, keep=False))
    else:
        print("Ray Tune is left out: `import ray.tune` fails here", file=sys.stderr)
    for workers in WORKERS:
        rates: dict[str, list[float]] = {side: [] for side in sides}
        whole: dict[str, list[float]] = {side: [] for side in sides}
        for repeat in range(REPEATS):
            for side, (trials, run) in sides.items():
                ended, seconds = run(trials, workers, seed=repeat)
                rates[side].append((len(ended) - 1) / (max(ended) - min(ended)))
                whole[side].append(seconds)
        name = f"{workers} worker{'s' * (workers > 1)}"
        for side in sides:
            yield f"{name}: {side}", rates[side], "trials/s"
        for side, (trials, _) in sides.items():
            yield f"{name}: {side}, the whole call for {trials} trials", whole[side], "s"


def ours(trials: int, workers: int, *, sampler: str, seed: int) -> tuple[list[float], float]:
    """When each trial ended, in seconds since 1970, and how long the call took."""
    with tempfile.TemporaryDirectory() as runs:
        start = time.perf_counter()
        study = nas.search(
            "digits",
            trials=trials,
            runs=runs,
            name="orchestration",
            sampler=sampler,
            seed=seed,
            evaluate=evaluate,
            workers=workers,
        )
        seconds = time.perf_counter() - start
        ended = [record.ended for record in study.records() if record.accuracy is not None and record.ended]
    assert len(ended) == trials
    return ended, seconds


def rays(trials: int, workers: int, *, keep: bool, seed: int) -> tuple[list[float], float]:
    """The same of Ray Tune; `keep`: a worker's process is kept for its further trials."""
    ray, tune = importlib.import_module("ray"), importlib.import_module("ray.tune")
    optuna_search = importlib.import_module("ray.tune.search.optuna").OptunaSearch
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as runs:
            search = optuna_search(
                distributions(nas.load_space("digits")),
                metric=["accuracy", "flops"],
                mode=["max", "min"],
                sampler=optuna.samplers.RandomSampler(seed=seed),
            )
            tuner = tune.Tuner(
                tune.with_resources(_report, {"cpu": 1}),
                tune_config=tune.TuneConfig(
                    search_alg=search, num_samples=trials, max_concurrent_trials=workers, reuse_actors=keep
                ),
                run_config=tune.RunConfig(storage_path=runs, name="orchestration", verbose=0),
            )
            start = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):  # it prints a summary, whatever its verbosity
                results = tuner.fit()
            seconds = time.perf_counter() - start
            ended = [result.metrics["ended"] for result in results]
    finally:
        ray.shutdown()
    assert len(ended) == trials
    return ended, seconds


def _report(config: Mapping[str, int]) -> None:
    """A trial of Ray Tune: the architecture of the proposal, repaired as ours is, and what `evaluate` says."""
    space = nas.load_space("digits")
    architecture = space.architecture(space.repair(config))
    accuracy, flops = evaluate(architecture, None), nas.cost(architecture).flops
    importlib.import_module("ray.tune").report({"accuracy": accuracy, "flops": flops, "ended": time.time()})


def _has_ray() -> bool:
    try:
        importlib.import_module("ray.tune")
    except ImportError:
        return False
    return True
