"""Searches of the digits space with real training: the hypervolume by full trainings' worth of epochs.

Ours beside Optuna's default at full length, the same training, the same seeds. The reference point is chance and the
space's most FLOPs; the figures are shares of the box.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

import nas
from nas.analysis.convergence import history

SEEDS, TRIALS, AT = 3, 20, (10, 20)


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Per cent of the box after 10 and 20 trainings' worth of epochs, a figure for each seed."""
    for name, options in (
        ("ours, two lengths", {"fidelities": 2}),
        ("ours, full trainings alone", {"fidelities": 1}),
        ("TPE", {"sampler": "tpe", "fidelities": 1, "stopping": "none"}),
    ):
        reached: dict[int, list[float]] = {at: [] for at in AT}
        best: list[float] = []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as runs:
                study = nas.search("digits", trials=TRIALS, runs=runs, name="live", seed=seed, **options)
                past = history(study.records(), study.config.space)
            spent = np.array(past.epochs) / study.config.space.recipe.epochs
            for at in AT:
                until = int(np.searchsorted(spent, at + 1e-9, side="right")) - 1
                reached[at].append(100 * past.hypervolume[until])
            best.append(100 * max(record.accuracy or 0.0 for record in past.records if record.state == "complete"))
        for at in AT:
            yield f"{name}: after {at} trainings' worth of epochs", reached[at], "%"
        yield f"{name}: the best validation accuracy", best, "%"
