"""Figures of the fronts of whole studies: a sketch of one, and several on one chart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nas.analysis.figures.style import BLUE, COLOURS, SHARES, log_axis, new_figure, plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["MOST_FRONTS", "fronts_figure", "sketch_figure"]

Front = Sequence[tuple[int, float]]
"""(FLOPs, accuracy in [0, 1]) of each network, by ascending FLOPs."""
MOST_FRONTS = len(COLOURS)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def sketch_figure(front: Front) -> "go.Figure":
    """Draws a front without axes."""
    figure = new_figure(height=110, name="sketch", showlegend=False, margin={"t": 6, "r": 6, "b": 6, "l": 6})
    if front:
        flops, accuracies = zip(*front, strict=True)
        figure.add_scatter(
            x=flops,
            y=accuracies,
            mode="lines+markers",
            line={"shape": "hv", "color": BLUE, "width": 1.5},
            marker={"color": BLUE, "size": 5},
            hoverinfo="skip",
        )
    figure.update_xaxes(type="log", visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True)
    return figure


def fronts_figure(fronts: Mapping[str, Front]) -> "go.Figure":
    """Draws up to `MOST_FRONTS` fronts, by the names of their studies."""
    figure = new_figure(height=460, name="fronts")
    for (name, front), color, symbol in zip(fronts.items(), COLOURS, SYMBOLS, strict=False):
        figure.add_scatter(
            x=[flops for flops, _ in front],
            y=[accuracy for _, accuracy in front],
            name=plain(name),
            mode="lines+markers",
            line={"shape": "hv", "color": color, "width": 1.5},
            marker={"color": color, "size": 8, "symbol": symbol},
            hovertemplate="%{y:.2%} at %{x:.3s} FLOPs<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(
        title="FLOPs per image (multiply–adds)",
        tickformat="~s",
        **log_axis(flops for front in fronts.values() for flops, _ in front),
    )
    figure.update_yaxes(title="validation accuracy", **SHARES)
    return figure
