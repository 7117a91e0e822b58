"""Runs every benchmark, or those that are named, and prints its table in Markdown."""

import os
import platform
import sys

import torch

from benchmarks import (
    bookkeeping,
    choices,
    costing,
    crowd,
    dashboards,
    estimates,
    groups,
    lengths,
    live,
    optimism,
    orchestration,
    parallel,
    precision,
    predictions,
    promotions,
    proposals,
    scaling,
    startup,
    threads,
    throughput,
    training,
    trend,
)

SPEED = (
    costing,
    training,
    trend,
    threads,
    precision,
    groups,
    throughput,
    orchestration,
    scaling,
    bookkeeping,
    startup,
    dashboards,
    estimates,
    crowd,
)
SEARCH = (proposals, lengths, choices, promotions, trend, estimates, predictions, parallel, live)
OTHERS = (optimism,)
"""`make bench` runs the first, `make bench-search` the second; a name runs one, of the others as well."""


def main() -> None:
    """Prints the machine, then a table for each benchmark."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} CPU cores, GPU: {gpu}")
    modules = {module.__name__.rpartition(".")[2]: module for module in (*SPEED, *SEARCH, *OTHERS)}
    chosen = [modules[name] for name in sys.argv[1:]] or SPEED
    for module in chosen:
        print(f"\n### {(module.__doc__ or '').strip().splitlines()[0]}\n")
        print("| what | median | lowest | highest |\n|---|---|---|---|")
        for what, figures, unit in module.measure():
            ordered = sorted(figures)
            shown = [f"{value:.3g} {unit}".strip() for value in (ordered[len(ordered) // 2], ordered[0], ordered[-1])]
            print(f"| {what} | {' | '.join(shown)} |", flush=True)


main()
