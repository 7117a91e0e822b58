"""Searches replayed on the tables of `benchmarks/tables`: what they report is worth in truth, for how much training.

    python -m benchmarks.search [TABLE ...] [--methods NAME ...] [--seeds N]

`benchmarks.judge` says what a report is worth. Each method reports its front in two ways: by the accuracies that it
measured, as most tools do, and by the estimates of our model from the same trainings. The hypervolume of the measured
accuracies of all that was trained, a usual figure, stands beside them; it rewards luck.

Every replay is kept in `runs/bench-search`, so that the same command goes on, and more methods can be added; then the
tables of docs/benchmarks.md are printed, and a figure and its numbers are written for each table.
"""

import argparse
import json
import multiprocessing
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from benchmarks.browser import CHROMIUM, browsing
from benchmarks.judge import Judge
from nas import cost
from nas.analysis.convergence import extrapolate, history
from nas.analysis.figures.style import COLOURS, GREY, new_figure
from nas.study.storage.trials import distributions
from nas.workflows.tabular_benchmark import Table, replay

TABLES = Path(__file__).parent / "tables"
PICTURES = TABLES.parents[1] / "docs" / "pictures"
KEPT = Path("runs/bench-search")
TRIALS = 100
TARGETS = (50, 100)
"""What Optuna's default reaches with so many full trainings is what the others are to reach with fewer epochs."""
GRID = (3, 5, 10, 20, 30, 50, 100)

ALONE = {"fidelities": 1, "stopping": "none"}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "ours: sampler alone": {"sampler": "front", **ALONE},
    "ours: sampler, two lengths": {"sampler": "front", "fidelities": 2, "stopping": "none"},
    "ours: sampler, two lengths, stop rule": {"sampler": "front", "fidelities": 2, "stopping": "front"},
    "ours: sampler, three lengths": {"sampler": "front", "fidelities": 3, "stopping": "none"},
    "TPE": {"sampler": "tpe", **ALONE},
    "TPE, multivariate": {"sampler": "tpe-multivariate", **ALONE},
    "NSGA-II": {"sampler": "nsga2", **ALONE},
    "GPSampler": {"sampler": "gp", **ALONE},
    "random": {"sampler": "random", **ALONE},
    "random, successive halving": {"sampler": "random", "fidelities": 3, "stopping": "none"},
}
FEW_SEEDS = {"GPSampler": 3}
"""A replay of it takes minutes."""
BASES = {
    "measured": "the front of Optuna's default by its measured accuracies",
    "estimated": "that of Optuna's default by our estimates",
}
WAYS = {
    "estimated": "What the front by estimates is worth",
    "measured": "What the front by measured accuracies is worth",
    "hypervolume": "Hypervolume of the measured accuracies of all that was trained",
}
BASE, OURS = "TPE", tuple(name for name in METHODS if name.startswith("ours"))


class Run(NamedTuple):
    """One replay: after each training the full trainings' worth of epochs, seconds, and shares of the most possible."""

    spent: list[float]
    seconds: list[float]
    hypervolume: list[float]
    """Of the measured accuracies of all that was trained."""
    measured: list[float]
    """What the front by measured accuracies is worth."""
    estimated: list[float]
    """What the front by estimates is worth."""
    optimism: dict[str, list[float]]
    """At `TARGETS`, in points, of the front by measured accuracies and by estimates."""
    proposing: list[float]
    predicted: list[tuple[float, float]]
    """(predicted gain from doubling the training time, actual gain), at 25 and 50 trainings, where one is predicted."""

    def reached(self, spent: float, by: str) -> float:
        """The share reached when so many full trainings' worth of epochs were spent."""
        at = int(np.searchsorted(self.spent, spent + 1e-9, side="right")) - 1
        return float(getattr(self, by)[at]) if at >= 0 else 0.0

    def needed(self, share: float, by: str) -> float:
        """After how many full trainings' worth of epochs a share was reached for good; infinity for never."""
        below = np.flatnonzero(np.array(getattr(self, by)) < share - 1e-12)
        at = int(below[-1]) + 1 if len(below) else 0
        return self.spent[at] if at < len(self.spent) else float("inf")


def run(table: Table, method: str, seed: int) -> Run:
    """A replay, or what was kept of it."""
    file = KEPT / table.name / f"{method} {seed}.json".replace(":", "").replace(" ", "-")
    if file.exists():
        return Run(**json.loads(file.read_text()))
    replayed = replay(table, trials=TRIALS, seed=seed, **METHODS[method])
    spent = [epochs / table.lengths[-1] for epochs in replayed.epochs]
    predicted = []
    for at in (TRIALS // 4, TRIALS // 2):
        then, twice = (int(np.searchsorted(spent, share, side="right")) for share in (at, 2 * at))
        now = extrapolate(replayed.records[:then], table.space, seconds=replayed.seconds[then - 1])
        if now:
            later = history(replayed.records[:twice], table.space).hypervolume[-1]
            predicted.append((now.growth, later - now.hypervolume))
    records, judge = replayed.records, Judge(table)
    until = [int(np.searchsorted(spent, target + 1e-9, side="right")) for target in TARGETS]
    estimated = [judge.estimated(records[:number]) for number in range(1, len(records) + 1)]
    result = Run(
        spent,
        replayed.seconds,
        replayed.hypervolume,
        measured=[judge.share(records[:number]) for number in range(1, len(records) + 1)],
        estimated=[judge.share(each) for each in estimated],
        optimism={
            "measured": [100 * judge.optimism(records[:number]) for number in until],
            "estimated": [100 * judge.optimism(estimated[number - 1]) for number in until],
        },
        proposing=replayed.proposing,
        predicted=predicted,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result._asdict()))
    return result


def _job(job: tuple[str, str, int]) -> Run:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return run(Table.load(TABLES / f"{job[0]}.parquet"), job[1], job[2])


def without_wrapper(table: Table, seed: int) -> float:
    """The share of duplicates that Optuna's default proposes in as many trials where nothing keeps it from them."""
    space, study = table.space, optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    keys = []
    for _ in range(TRIALS):
        trial = study.ask(distributions(space))
        architecture = space.architecture(space.repair(trial.params))
        keys.append(architecture.key)
        row = table.rows[architecture.key, table.lengths[-1], 0]
        study.tell(trial, [row.accuracy, cost(architecture).flops])
    return 1 - len(set(keys)) / len(keys)


def report(table: Table, runs: Mapping[str, Sequence[Run]]) -> None:
    """Prints the tables of one table of trainings."""
    seeds, about = len(runs[BASE]), table.about["data"]
    print(
        f"\n### {table.name}: {table.space.valid} architectures, {table.lengths[-1]} epochs in full, "
        f"{about['train_images']:,} training and {about['validation_images']:,} validation images\n"
    )
    for by, title in WAYS.items():
        print(f"{title} (%), by full trainings' worth of epochs: median (worst seed).\n")
        print("| method | seeds | " + " | ".join(map(str, GRID)) + " |\n|---|---|" + "---|" * len(GRID))
        for name, found in runs.items():
            shares = [[100 * one.reached(spent, by) for one in found] for spent in GRID]
            cells = [f"{np.median(each):.1f} ({min(each):.1f})" for each in shares]
            print(f"| {name} | {len(found)} | {' | '.join(cells)} |")
        print()
    for by, title in BASES.items():
        print(f"Trainings' worth of epochs until a report is for good as good as {title} after N:")
        print("median, worst seed, share of N.\n")
        print("| method | " + " | ".join(f"N = {n} | worst | share" for n in TARGETS) + " |\n|---|" + "---|" * 6)
        for name, found in runs.items():
            cells = []
            for number in TARGETS:
                share = float(np.median([one.reached(number, by) for one in runs[BASE]]))
                needed = [one.needed(share, "estimated" if name in OURS else by) for one in found]
                middle, worst = float(np.median(needed)), max(needed)
                cells += [_number(middle), _number(worst), f"1/{number / middle:.1f}" if middle < TRIALS else "–"]
            print(f"| {name} | {' | '.join(cells)} |")
        print()
    print("Optimism: by how many points the networks of a reported front are put too high, median (worst seed).\n")
    columns = [(by, place, f"{by}, after {number}") for by in BASES for place, number in enumerate(TARGETS)]
    print("| method | " + " | ".join(title for *_, title in columns) + " |\n|---|" + "---|" * len(columns))
    for name, found in runs.items():
        points = [[one.optimism[by][place] for one in found] for by, place, _ in columns]
        print(f"| {name} | {' | '.join(f'{np.median(each):+.2f} ({max(each, key=abs):+.2f})' for each in points)} |")
    duplicates = 100 * np.median([without_wrapper(table, seed) for seed in range(seeds)])
    print(f"\nDuplicates proposed by TPE in {TRIALS} trials without the wrapper: {duplicates:.0f} % (with it, none).")
    _report_ours({name: runs[name] for name in OURS if name in runs})


def _report_ours(runs: Mapping[str, Sequence[Run]]) -> None:
    for name, found in runs.items():
        milliseconds = 1e3 * np.concatenate([one.proposing for one in found])
        print(f"Proposal time, {name}: median {np.median(milliseconds):.0f} ms.")
    pair = [runs.get(name) for name in ("ours: sampler, two lengths", "ours: sampler, two lengths, stop rule")]
    if pair[0] and pair[1]:
        without, with_rule = (np.array([one.hypervolume[-1] for one in found]) for found in pair if found)
        lost = 100 * (1 - with_rule / without)
        print(f"The stop rule changes the final hypervolume by {-lost.mean():+.2f} % on average,")
        print(f"by {-lost.max():+.2f} % for the worst seed.")
    told = np.array([one for found in runs.values() for run in found for one in run.predicted])
    if len(told):
        print(
            f"Predicted hypervolume gain for doubled training time, {len(told)} predictions: "
            f"{100 * told[:, 0].mean():.2f} points on average, actual {100 * told[:, 1].mean():.2f}; mean absolute "
            f"error {100 * np.abs(told[:, 0] - told[:, 1]).mean():.2f}."
        )


def figure(table: Table, runs: Mapping[str, Sequence[Run]]) -> Any:
    """What reports are worth, ours by estimates, others as measured, by epochs and by seconds: medians, quartiles."""
    drawn = new_figure(height=460, name=table.name, grid={"rows": 1, "columns": 2, "pattern": "independent"})
    longest = min(float(np.median([one.seconds[-1] for one in found])) for found in runs.values())
    for at, (name, found) in enumerate(runs.items()):
        colour, dash = (COLOURS[at], "solid") if at < len(COLOURS) else (GREY, ("dash", "dot", "solid")[at % 3])
        for column, grid in ((1, np.arange(1, TRIALS + 1, dtype=float)), (2, np.linspace(0, longest, 101)[1:])):
            by = "estimated" if name in OURS else "measured"
            reached = np.array([[_at(one, point, column, by) for point in grid] for one in found])
            low, middle, high = 100 * np.quantile(reached, (0.25, 0.5, 0.75), axis=0)
            axes = {"xaxis": f"x{column}", "yaxis": f"y{column}", "legendgroup": name}
            if name in OURS or name == BASE:
                drawn.add_scatter(x=[*grid, *grid[::-1]], y=[*high, *low[::-1]], fill="toself", mode="none",
                    fillcolor=colour, opacity=0.15, hoverinfo="skip", showlegend=False, **axes)  # fmt: skip
            drawn.add_scatter(x=grid, y=middle, name=name, line={"color": colour, "dash": dash, "width": 2},
                showlegend=column == 1, mode="lines", **axes)  # fmt: skip
    drawn.update_layout(
        xaxis={"title": "full trainings' worth of epochs"},
        xaxis2={"title": "seconds of training"},
        yaxis={"title": "worth of the reported front (%)", "range": [50, 101]},
        yaxis2={"range": [50, 101]},
        legend={"y": 1.05},
    )
    return drawn


def _at(one: Run, point: float, column: int, by: str) -> float:
    return (one if column == 1 else one._replace(spent=one.seconds)).reached(point, by)


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "not in 100"


def main() -> None:
    """Replays what is missing, then prints and draws."""
    parser = argparse.ArgumentParser(prog="benchmarks.search", description=__doc__)
    parser.add_argument("tables", nargs="*", help="of benchmarks/tables; all by default")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in options.tables or sorted(file.stem for file in TABLES.glob("*.parquet")):
        table = Table.load(TABLES / f"{name}.parquet")
        seeds = {method: min(options.seeds, FEW_SEEDS.get(method, options.seeds)) for method in options.methods}
        jobs = [(name, method, seed) for method in options.methods for seed in range(seeds[method])]
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            found = pool.map(_job, jobs, chunksize=1)
        runs = {
            method: [one for (_, other, _), one in zip(jobs, found, strict=True) if other == method]
            for method in options.methods
        }
        report(table, runs)
        drawn = figure(table, runs)
        drawn.write_html(KEPT / f"{name}.html", include_plotlyjs=True)
        if CHROMIUM and set(options.methods) == set(METHODS):
            with browsing() as browser:
                page = browser.new_page(viewport={"width": 1100, "height": 480})
                page.goto((KEPT / f"{name}.html").absolute().as_uri())
                page.screenshot(path=PICTURES / f"search-{name}.png")
        numbers = {method: [one._replace(proposing=[])._asdict() for one in ones] for method, ones in runs.items()}
        (KEPT / f"{name}.json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    main()
