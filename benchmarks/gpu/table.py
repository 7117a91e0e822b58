"""A table: all 512 networks of a space for 16 pixels, each on three seeds, with their accuracy on 10,000 test images.

Several processes share the GPU, as one small network does not fill it. Networks come in random order, a seed at a time,
so that any beginning is a fair sample. `benchmarks/tables/cifar16-gpu.yaml` is the space.
"""

import os
import queue
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.kit import SEEDS, Kit
from nas import Architecture, load_space
from nas.system.hardware import CUDA_GRAPHS, cores
from nas.training.train import evaluate, on_device, train

SECONDS = 30.0
SPACE = Path(__file__).parents[1] / "tables" / "cifar16-gpu.yaml"
TRAINED, VALIDATED, TESTED = 10_000, 4_000, 10_000
MOST_PROCESSES = 6


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each network and seed, as they end."""
    small = device == "cpu"
    os.environ[CUDA_GRAPHS] = "1"
    space = load_space(SPACE)
    architectures = [space.architecture(point) for point in space.points()]
    order = np.random.default_rng(0).permutation(len(architectures)).tolist()
    wanted = [(architectures[index], seed) for seed in SEEDS for index in order]
    missing = [(architecture, seed) for architecture, seed in wanted if _key(architecture, seed) not in done]
    if small:
        missing = missing[:1]
    kit.images(16, train=1, validation=1)  # decoded before several processes would do it
    context: Any = get_context("fork")  # this process has not used the GPU
    ended = context.Queue()
    processes = [
        context.Process(target=_train, args=(kit.folder, missing[number::count], device, ended), daemon=True)
        for count in [1 if small else min(MOST_PROCESSES, max(1, cores() - 1))]
        for number in range(count)
    ]
    for process in processes:
        process.start()
    left = len(missing)
    while left:
        try:
            yield ended.get(timeout=1.0)
            left -= 1
        except queue.Empty:
            if not any(process.is_alive() for process in processes):
                raise SystemExit("the processes that train have all ended, and trainings are missing") from None


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How much there is of it."""
    if not rows:
        return
    by_seed = [sum(row["seed"] == seed for row in rows) for seed in SEEDS]
    best = max(rows, key=lambda row: row["test_accuracy"])
    seconds = sum(row["seconds"] for row in rows)
    yield (
        f"{len(rows)} trainings ({', '.join(map(str, by_seed))} by seed), {seconds:.0f} s in all; the best on the test "
        f"images: {best['network']}, {best['test_accuracy']:.2%}"
    )


def _key(architecture: Architecture, seed: int) -> str:
    return f"{architecture.key} seed {seed}"


def _train(folder: Path, wanted: Sequence[tuple[Architecture, int]], device: str, ended: Any) -> None:
    """One process: its trainings, one after the other."""
    space = load_space(SPACE)
    small = device == "cpu"
    recipe = replace(space.recipe, epochs=1) if small else space.recipe
    sizes = (256, 64, 64) if small else (TRAINED, VALIDATED, TESTED)
    images = Kit(folder).images(16, train=sizes[0], validation=sizes[1], test=sizes[2])
    on = on_device(images, recipe, device)
    test = replace(on, validation=on_device(replace(images, validation=images.test), recipe, device).validation)
    for architecture, seed in wanted:
        start = time.perf_counter()
        result = train(architecture, on, recipe, seed=seed)
        seconds = time.perf_counter() - start
        ended.put(
            {
                "key": _key(architecture, seed),
                "network": architecture.name,
                "architecture": architecture.to_dict(),
                "seed": seed,
                "epochs": recipe.epochs,
                "accuracy": result.accuracy,
                "curve": list(result.curve),
                "test_accuracy": evaluate(architecture, result.weights, test, recipe=recipe),
                "seconds": seconds,
            }
        )
