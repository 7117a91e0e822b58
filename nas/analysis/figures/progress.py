"""Figures of a search's progress: hypervolume, best accuracies and training times."""

from typing import TYPE_CHECKING

import numpy as np

from nas.analysis.convergence import History, bands
from nas.analysis.figures.style import BLUE, COLOURS, GREY, SHARES, log_axis, new_figure
from nas.analysis.front import thinned
from nas.study.records import TrialState
from nas.units import count_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["AGAINST", "bands_figure", "hypervolume_figure", "seconds_figure"]

AGAINST = {"epochs": "epochs trained", "seconds": "training time (seconds)", "trials": "trials finished"}


def hypervolume_figure(past: History, against: str) -> "go.Figure":
    """Draws the hypervolume against one of the quantities spent, a key of `AGAINST`."""
    figure = new_figure(height=320, name=f"hypervolume {against}")
    grown = np.diff(past.hypervolume, prepend=0.0) > 0  # a step line needs only its ends and its rises
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
    figure.update_yaxes(title="hypervolume (share of the box)", **SHARES)
    figure.update_layout(showlegend=False)
    return figure


def bands_figure(past: History) -> "go.Figure":
    """Draws the best accuracy so far in each range of FLOPs."""
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
    """Draws the training time of each complete trial against its FLOPs."""
    figure = new_figure(height=320, name="seconds")
    timed = thinned(
        [record for record in past.records if record.seconds is not None and record.state == TrialState.COMPLETE]
    )
    figure.add_scatter(
        name="trials",
        x=[record.flops for record in timed],
        y=[record.seconds for record in timed],
        customdata=[record.trial for record in timed],
        mode="markers",
        marker={"color": GREY, "size": 7, "opacity": 0.7},
        hovertemplate="trial %{customdata}: %{y:.1f} s<extra></extra>",
    )
    figure.update_xaxes(
        title="FLOPs per image (multiply–adds)", tickformat="~s", **log_axis(record.flops for record in timed)
    )
    figure.update_yaxes(title="training time (seconds)", rangemode="tozero")
    figure.update_layout(showlegend=False)
    return figure
