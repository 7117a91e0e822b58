"""How a search goes: what its trainings have bought so far, who trains what, and how long is left."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nas.analysis.convergence import History
from nas.analysis.figures.front import BLUE, COLOURS, GREY, SHARES, new_figure, thinned
from nas.study.records import COMPLETE, SearchState, TrialRecord
from nas.units import count_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "AGAINST",
    "Band",
    "bands",
    "bands_figure",
    "hypervolume_figure",
    "seconds_figure",
    "seconds_left",
]

AGAINST = {"epochs": "epochs trained", "seconds": "training time (seconds)", "trials": "trials finished"}
RECENT = 20
BANDS = 4


class Band(NamedTuple):
    """The trials of a range of FLOPs: after how many finished trials its best accuracy became which."""

    least: float
    most: float
    trials: list[int]
    best: list[float]


def bands(past: History) -> list[Band]:
    """Four ranges of FLOPs, equally wide on a log axis, over the complete trials; those without a trial left out."""
    complete = [(index, record) for index, record in enumerate(past.records, start=1) if record.state == COMPLETE]
    if not complete:
        return []
    flops = [record.flops for _, record in complete]
    edges = np.geomspace(min(flops), max(flops), BANDS + 1)
    which = np.clip(np.searchsorted(edges, flops, side="right") - 1, 0, BANDS - 1)
    found = []
    for number in range(BANDS):
        trials, best = list[int](), list[float]()
        for (index, record), at in zip(complete, which, strict=True):
            if at == number and record.accuracy is not None and (not best or record.accuracy > best[-1]):
                trials.append(index)
                best.append(record.accuracy)
        if best:
            found.append(Band(float(edges[number]), float(edges[number + 1]), trials, best))
    return found


def seconds_left(records: Sequence[TrialRecord], state: SearchState | None, epochs: int) -> float | None:
    """Until a running search has spent its trials, of so many epochs each: by the median time of an epoch of the last
    20 trials, shared by the workers that train now."""
    finished = [record for record in records if record.finished]
    taken = [record.seconds / record.epochs_spent(epochs) for record in finished if record.seconds is not None][
        -RECENT:
    ]
    if state is None or not state.live or not taken:
        return None
    workers = len({record.worker for record in records if record.state == "running"})
    left = state.trials * epochs - sum(record.epochs_spent(epochs) for record in finished)
    return max(0, left) * median(taken) / max(1, workers)


def hypervolume_figure(past: History, against: str) -> "go.Figure":
    """The hypervolume against what was spent, one of `AGAINST`."""
    figure = new_figure(height=320, name=f"hypervolume {against}")
    grown = np.diff(past.hypervolume, prepend=0.0) > 0  # a line of steps needs no more than its ends and its rises
    kept = sorted({0, len(grown) - 1, *np.flatnonzero(grown).tolist()}) if len(grown) else []
    spent = getattr(past, against)
    figure.add_scatter(
        name="hypervolume",
        x=[spent[index] for index in kept],
        y=[past.hypervolume[index] for index in kept],
        mode="lines",
        line={"color": BLUE, "width": 2.5, "shape": "hv"},
        customdata=[past.records[index].trial for index in kept],
        hovertemplate="%{y:.1%} after %{x} (trial %{customdata})<extra></extra>",
    )
    figure.update_xaxes(title=AGAINST[against], rangemode="tozero")
    figure.update_yaxes(title="hypervolume (share of the box)", tickformat="~%")
    figure.update_layout(showlegend=False)
    return figure


def bands_figure(past: History) -> "go.Figure":
    """The best accuracy so far in each range of FLOPs."""
    figure = new_figure(height=320, name="bands")
    for band, colour in zip(bands(past), COLOURS, strict=False):
        figure.add_scatter(
            name=f"{count_text(band.least)} to {count_text(band.most)} FLOPs",
            x=[*band.trials, len(past.trials)],
            y=[*band.best, band.best[-1]],
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hv"},
            hovertemplate="%{y:.2%} after %{x} trials<extra></extra>",
        )
    figure.update_xaxes(title=AGAINST["trials"], rangemode="tozero")
    figure.update_yaxes(title="best validation accuracy", **SHARES)
    return figure


def seconds_figure(past: History) -> "go.Figure":
    """How long each finished trial took, against its FLOPs."""
    figure = new_figure(height=320, name="seconds")
    timed = thinned([record for record in past.records if record.seconds is not None and record.state == COMPLETE])
    figure.add_scatter(
        name="trials",
        x=[record.flops for record in timed],
        y=[record.seconds for record in timed],
        customdata=[record.trial for record in timed],
        mode="markers",
        marker={"color": GREY, "size": 7, "opacity": 0.7},
        hovertemplate="trial %{customdata}: %{y:.1f} s<extra></extra>",
    )
    figure.update_xaxes(title="FLOPs per image (multiply–adds)", type="log", dtick="D2", tickformat="~s")
    figure.update_yaxes(title="training time (seconds)", rangemode="tozero")
    figure.update_layout(showlegend=False)
    return figure
