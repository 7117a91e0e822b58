"""A search on all of CIFAR-10's training images, as a person would run it, and its front confirmed on test images."""

import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import nas
from benchmarks.gpu.kit import TRAINING_IMAGES, Kit
from nas.analysis.confirmation import Confirmation
from nas.system.hardware import CUDA_GRAPHS

SECONDS = 80.0
SPACE, MAX_FLOPS, EPOCHS, WORKERS = "groupconv32", "20M", 4, 2
FOR_SEARCH = 0.55
"""Share of the time after which the search starts no training."""
CONFIRMED, CONFIRMATION_SEEDS = 3, 1


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row of the search, another when it is confirmed."""
    if "confirmed" in done:
        return
    os.environ[CUDA_GRAPHS] = "1"
    small, began = device == "cpu", time.monotonic()
    data = kit.arrays(150 if small else TRAINING_IMAGES)
    with tempfile.TemporaryDirectory() as runs:
        study = nas.search(
            SPACE,
            data,
            runs=runs,
            trials=1 if small else 1000,
            epochs=1 if small else EPOCHS,
            max_flops=MAX_FLOPS,
            timeout=FOR_SEARCH * seconds,
            device=device,
            workers=1 if small else WORKERS,
        )
        records = study.records()
        states = [record.state for record in records]
        about = {
            "space": SPACE,
            "max_flops": MAX_FLOPS,
            "epochs": EPOCHS,
            "recipe": study.config.space.recipe.to_dict(),
        }
        about |= {"trials": {state: states.count(state) for state in sorted(set(states))}}
        about |= {"workers": len({record.worker for record in records})}
        front = [
            {"network": record.name, "flops": record.flops, "accuracy": record.quality} for record in study.front()
        ]
        yield {"key": "search", **about, "seconds": time.monotonic() - began, "front": front}
        if not front:  # the time was too short
            return
        found = nas.confirm(
            study, top=CONFIRMED, seeds=CONFIRMATION_SEEDS, test=True, data=data, device=device, workers=WORKERS
        )
        rows = [_row(member) for member in found.members]
        yield {"key": "confirmed", "seconds": time.monotonic() - began, "members": rows}


def _row(member: Confirmation) -> dict[str, Any]:
    return {"network": member.record.name, "flops": member.record.flops, **member.to_dict()}


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was trained in how long, and a line for each confirmed network."""
    for row in rows:
        if row["key"] == "search":
            trained = ", ".join(f"{count} {state}" for state, count in row["trials"].items())
            yield f"{row['space']}, at most {row['max_flops']} FLOPs: {trained} trials by {row['workers']} workers "
            yield f"in {row['seconds']:.0f} s.\n"
            continue
        yield "| network | FLOPs | validation | test |"
        yield "|---|---|---|---|"
        for member in row["members"]:
            test = f"{100 * member['test']['mean']:.2f} %" if member["test"] else "–"
            yield f"| {member['network']} | {member['flops'] / 1e6:.1f} M | {100 * member['mean']:.2f} % | {test} |"
