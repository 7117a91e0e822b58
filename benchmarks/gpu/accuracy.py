"""Whether networks reach on a GPU what they reach on a CPU: ten networks of two kinds of data on three seeds."""

import math
import os
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.gpu.kit import SEEDS, Kit, Reference, compared, compared_images, networks
from nas.system.cuda_graph import CapturedStep
from nas.system.hardware import CUDA_GRAPHS, cores
from nas.training.batches import DeviceData
from nas.training.recipe import Recipe
from nas.training.train import on_device, train

SECONDS = 80.0
MOST_PROCESSES = 8
ALLOWED = 0.5
"""Points by which the mean may differ beside two standard errors."""


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each training of the kit's references, eager and captured, by several processes at once."""
    references = kit.references() or _unknown()
    if device == "cpu":
        references = references[:: len(references) // 4]
    for data in compared():
        compared_images(kit, data)  # decoded before several processes would do it
    jobs = [(known, graphs) for known in references for graphs in ("1", "0") if _key(known, graphs) not in done]
    with ProcessPoolExecutor(min(MOST_PROCESSES, cores()), mp_context=get_context("fork")) as pool:
        ended = [pool.submit(_trained, kit.folder, known, graphs, device) for known, graphs in jobs]
        yield from (each.result() for each in as_completed(ended))


def _key(known: Reference, graphs: str) -> str:
    return f"{known.data} {known.architecture.key} seed {known.seed} graphs {graphs}"


def _trained(folder: Path, known: Reference, graphs: str, device: str) -> dict[str, Any]:
    os.environ[CUDA_GRAPHS] = graphs
    on, recipe = _prepared(folder, known.data, device)
    reached = train(known.architecture, on, recipe, seed=known.seed).accuracy
    row = {
        "key": _key(known, graphs),
        "data": known.data,
        "graphs": graphs == "1",
        "failed": CapturedStep.failed,
        "network": known.architecture.name,
    }
    return {**row, "seed": known.seed, "accuracy": reached, "on_cpu": known.accuracy}


@cache
def _prepared(folder: Path, data: str, device: str) -> tuple[DeviceData, Recipe]:
    """Images on the device and their recipe, once for each process."""
    recipe = compared()[data].recipe if device != "cpu" else replace(compared()[data].recipe, epochs=1)
    return on_device(compared_images(Kit(folder), data), recipe, device), recipe


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """For each kind of data, with graphs and without, the mean difference from the CPU."""
    yield "| data | steps | trainings | CPU | GPU | GPU − CPU, points | standard error | within two of them + 0.5 |"
    yield "|---|---|---|---|---|---|---|---|"
    for data, graphs in sorted({(row["data"], row["graphs"]) for row in rows}):
        some = [row for row in rows if (row["data"], row["graphs"]) == (data, graphs)]
        differences = [100 * (row["accuracy"] - row["on_cpu"]) for row in some if not math.isnan(row["on_cpu"])]
        if len(differences) < 2:
            continue
        mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))
        cpu, gpu = (100 * statistics.mean(row[name] for row in some) for name in ("on_cpu", "accuracy"))
        within = "yes" if abs(mean) <= 2 * error + ALLOWED else "**no**"
        failed = sum(row.get("failed", False) for row in some if graphs)
        steps = f"captured{f', which failed {failed} times' if failed else ''}" if graphs else "eager"
        yield f"| {data} | {steps} | {len(some)} | {cpu:.2f} % | {gpu:.2f} % | {mean:+.2f} | {error:.2f} | {within} |"


def _unknown() -> list[Reference]:
    """The same trainings, where the kit does not say what they reach on a CPU."""
    return [
        Reference(data, architecture, seed, math.nan)
        for data, space in compared().items()
        for architecture in networks(space)
        for seed in SEEDS
    ]
