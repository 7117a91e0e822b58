"""Trials per hour beside the script that a person would write: the same networks, images, epochs and seeds."""

import os
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.gpu.kit import Kit
from benchmarks.throughput import Run, Setting, by_nas, by_script
from nas import load_space
from nas.system.hardware import CUDA_GRAPHS

SECONDS = 70.0
IMAGES, TRIALS, EPOCHS = 3000, 8, 2
SCRIPT = "by hand, 4 loaders"


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each side."""
    small = device == "cpu"
    space = load_space("groupconv32").with_changes(max_flops=20 * 10**6)
    space = space.with_changes(recipe=space.recipe.with_values(epochs=1 if small else EPOCHS))
    count, trials = (120, 2) if small else (IMAGES, TRIALS)
    setting = Setting("CIFAR-10", space, kit.arrays(count), trials=trials)
    sides: dict[str, tuple[str, Callable[[Setting, int], Run]]] = {
        SCRIPT: ("0", partial(by_script, loaders=0 if small else 4)),
        "nas, 4 workers, captured": ("1", partial(by_nas, workers=4)),
        "nas, 1 worker, captured": ("1", partial(by_nas, workers=1)),
        "nas, 1 worker, eager": ("0", partial(by_nas, workers=1)),
    }
    for side, (graphs, run) in list(sides.items())[: 2 if small else None]:
        if side not in done:
            os.environ[CUDA_GRAPHS] = graphs
            yield {"key": side, **run(setting, 0)._asdict()}


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table, with the ratio to the script."""
    script = next((row["steady"] for row in rows if row["key"] == SCRIPT), None)
    yield "| side | trials/h, running | with its start and end | over the script | mean accuracy |"
    yield "|---|---|---|---|---|"
    for row in rows:
        ratio = f"{row['steady'] / script:.1f}" if script else "–"
        accuracy = statistics.mean(row["accuracies"])
        yield f"| {row['key']} | {row['steady']:,.0f} | {row['whole']:,.0f} | {ratio} | {accuracy:.1f} % |"
