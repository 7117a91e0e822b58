"""Images a second that one, two, four and eight workers train together on one GPU, eager and captured."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from multiprocessing import forkserver
from typing import Any

from benchmarks.gpu.kit import Kit
from nas import load_space
from nas.system.hardware import CUDA_GRAPHS, cores
from nas.workers.throughput import throughput

SECONDS = 40.0
WORKERS = (1, 2, 4, 8)


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each number of workers and way."""
    small = device == "cpu"
    space = load_space("groupconv32").with_changes(max_flops=20 * 10**6) if not small else load_space("digits")
    for graphs in ("1", "0"):
        os.environ[CUDA_GRAPHS] = graphs
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # workers see the environment of when it began
        for workers in WORKERS[: 1 if small else None]:
            key = f"{workers} workers, graphs {graphs}"
            if key in done or workers > max(1, cores()):
                continue
            found = throughput(space, workers=workers, seconds=0.2 if small else 2.0, device=device)
            yield {"key": key, "space": space.name, "graphs": graphs == "1", **found._asdict()}


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table."""
    yield "| workers | steps | images/s in all | GPU memory of each |"
    yield "|---|---|---|---|"
    for row in sorted(rows, key=lambda row: (row["graphs"], row["workers"])):
        steps = "captured" if row["graphs"] else "eager"
        memory = f"{row['gpu_memory'] / 2**20:.0f} MiB"
        yield f"| {row['workers']} | {steps} | {row['images_per_second']:,.0f} | {memory} |"
