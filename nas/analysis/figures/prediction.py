"""Draws a network that was not trained beside the front: where the study expects it to be."""

from collections.abc import Sequence
from math import log10
from typing import TYPE_CHECKING

from nas.analysis.figures.style import GREY, VERMILION, plain
from nas.analysis.prediction import Prediction, Variation
from nas.units import count_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["add_design"]

ROOM = 1.5
"""Factor of FLOPs that is shown beyond the networks on both sides."""


def add_design(figure: "go.Figure", found: Prediction, around: Sequence[Variation]) -> None:
    """Adds a network at its expected accuracy, with the 95 % interval, and those that are one step away.

    The figure is zoomed to them, and the intervals of the front are hidden. Without an expected accuracy, a vertical
    line marks its FLOPs.

    Args:
        figure: The front over FLOPs.
        found: What is expected of the network; the figure's FLOPs are on a log scale.
        around: Networks that are one step away from it.
    """
    if found.estimate is None:
        figure.add_vline(x=found.cost.flops, line={"color": VERMILION, "dash": "dot", "width": 1.5})
        return
    figure.update_traces(error_y={"visible": False}, selector={"name": "front"})
    here = (found.cost.flops, found.estimate.accuracy)
    flops = [here[0], *(each.cost.flops for each in around)]
    heights = [found.estimate.low, found.estimate.high, *(each.estimate.accuracy for each in around)]
    figure.update_xaxes(range=[log10(min(flops) / ROOM), log10(max(flops) * ROOM)])
    figure.update_yaxes(range=[min(heights) - 0.005, min(max(heights) + 0.005, 1.002)])
    ways: tuple[list[float | None], list[float | None]] = ([], [])
    for each in around:
        for way, start, end in zip(ways, here, (each.cost.flops, each.estimate.accuracy), strict=True):
            way += [start, end, None]
    line = {"color": GREY, "width": 1}
    figure.add_scatter(x=ways[0], y=ways[1], mode="lines", line=line, hoverinfo="skip", showlegend=False, name="ways")
    figure.add_scatter(
        name="one step away",
        x=[each.cost.flops for each in around],
        y=[each.estimate.accuracy for each in around],
        mode="markers",
        marker={"color": VERMILION, "size": 7, "symbol": "circle-open", "line": {"width": 1.5}},
        text=[f"{plain(each.text())}<br>{each.estimate.text()}" for each in around],
        hovertemplate="%{text}<extra></extra>",
    )
    figure.add_scatter(
        name="the design, as expected",
        x=[here[0]],
        y=[here[1]],
        mode="markers",
        marker={"color": VERMILION, "size": 15, "symbol": "x"},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [found.estimate.high - here[1]],
            "arrayminus": [here[1] - found.estimate.low],
            "color": VERMILION,
            "thickness": 1.5,
            "width": 4,
        },
        text=[plain(f"{found.architecture.name} · {found.estimate.text()} · {count_text(here[0])} FLOPs")],
        hovertemplate="%{text}<extra></extra>",
    )
