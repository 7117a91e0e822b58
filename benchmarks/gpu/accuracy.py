"""Whether networks reach on a GPU what they reach on a CPU: ten networks of two kinds of data on three seeds."""

import math
import os
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.gpu.kit import SEEDS, Kit, Reference, compared, compared_images, networks
from nas.system.cuda_graph import CapturedStep
from nas.system.hardware import CUDA_GRAPHS
from nas.training.train import on_device, train

SECONDS = 75.0
ALLOWED = 0.5
"""Points by which the mean may differ beside two standard errors."""


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each training of the kit's references, captured as CUDA graphs after all were trained eagerly."""
    spaces = compared()
    references = kit.references() or _unknown()
    if device == "cpu":
        references = references[:: len(references) // 4]
    for data in spaces:
        recipe = spaces[data].recipe if device != "cpu" else replace(spaces[data].recipe, epochs=1)
        on = on_device(compared_images(kit, data), recipe, device)
        for graphs in ("0", "1"):
            os.environ[CUDA_GRAPHS] = graphs
            for known in (known for known in references if known.data == data):
                key = f"{data} {known.architecture.key} seed {known.seed} graphs {graphs}"
                if key not in done:
                    reached = train(known.architecture, on, recipe, seed=known.seed).accuracy
                    captured = graphs == "1" and not CapturedStep.failed
                    row = {"key": key, "data": data, "graphs": captured, "network": known.architecture.name}
                    yield {**row, "seed": known.seed, "accuracy": reached, "on_cpu": known.accuracy}


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
        steps = "captured" if graphs else "eager"
        yield f"| {data} | {steps} | {len(some)} | {cpu:.2f} % | {gpu:.2f} % | {mean:+.2f} | {error:.2f} | {within} |"


def _unknown() -> list[Reference]:
    """The same trainings, where the kit does not say what they reach on a CPU."""
    return [
        Reference(data, architecture, seed, math.nan)
        for data, space in compared().items()
        for architecture in networks(space)
        for seed in SEEDS
    ]
