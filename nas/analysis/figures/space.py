"""The figure of a search space: how its architectures spread over the FLOPs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nas.analysis.figures.style import BLUE, VERMILION, log_axis, new_figure
from nas.units import count_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["space_figure"]

BINS = 40


def space_figure(flops: Sequence[int], *, budget: int | None) -> "go.Figure":
    """Draws a histogram of FLOPs on a log axis, and the budget.

    Args:
        flops: FLOPs of architectures drawn at random; at least one.
        budget: the space's limit. None: it has none.
    """
    edges = np.geomspace(min(flops), max(flops) * 1.0001, BINS + 1)
    counts, _ = np.histogram(flops, edges)
    figure = new_figure(height=240, name="space", showlegend=False, bargap=0.06)
    figure.add_bar(
        x=np.sqrt(edges[:-1] * edges[1:]).tolist(),
        y=(counts / len(flops)).tolist(),
        width=np.diff(edges).tolist(),
        marker={"color": BLUE},
        customdata=[f"{count_text(round(low))} to {count_text(round(high))}" for low, high in pairwise(edges)],
        hovertemplate="%{y:.1%} of the architectures have %{customdata} FLOPs<extra></extra>",
    )
    if budget is not None:
        figure.add_vline(x=budget, line={"color": VERMILION, "dash": "dot", "width": 1.5})
    figure.update_xaxes(title="FLOPs per image (multiply–adds)", tickformat="~s", **log_axis(flops))
    figure.update_yaxes(title="share", tickformat="~%")
    return figure
