"""Figures of single trainings: learning curves, and the confusion matrix."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.analysis.figures.style import (
    COLOURS,
    SHARES,
    new_figure,
    plain,
)
from nas.study.precision import wilson_interval
from nas.study.records import TrialRecord

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["confusion_figure", "curves_figure"]

MOST_CLASSES_NAMED, MOST_LETTERS_OF_A_CLASS, MOST_LETTERS_LEVEL = 20, 24, 2


def curves_figure(records: Sequence[TrialRecord], *, images: int | None = None) -> "go.Figure":
    """Draws validation accuracy after each epoch, a line per trial; the last point has its 95 % interval.

    `images` is the number of validation images; None leaves the interval out.
    """
    figure = new_figure(height=300, name="curves")
    for record, colour in zip(records, cycle(COLOURS), strict=False):
        low, high = wilson_interval(record.curve[-1], images) if images and record.curve else (0.0, 0.0)
        last = len(record.curve) - 1
        errors = {
            "type": "data",
            "symmetric": False,
            "array": [high - record.curve[-1] if index == last else 0 for index in range(last + 1)],
            "arrayminus": [record.curve[-1] - low if index == last else 0 for index in range(last + 1)],
            "thickness": 1.5,
            "width": 0,
        }
        figure.add_scatter(
            name=f"trial {record.trial}",
            x=list(range(1, len(record.curve) + 1)),
            y=list(record.curve),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 5},
            error_y=errors if images and record.curve else None,
            hovertemplate=f"trial {record.trial}, epoch %{{x}}: %{{y:.2%}}<extra></extra>",
        )
    figure.update_xaxes(title="epoch", tickformat="d")
    if max((len(record.curve) for record in records), default=0) <= 20:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title="validation accuracy", **SHARES)
    figure.update_layout(showlegend=len(records) > 1)
    return figure


def confusion_figure(matrix: NDArray[np.int64], classes: Sequence[str]) -> "go.Figure":
    """Draws the share of each class (row) that is predicted as each class (column); a few classes are labelled.

    Each cell carries its number, counted along the rows.
    """
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    names = [plain(name) for name in classes]
    few = len(names) <= MOST_CLASSES_NAMED
    figure = new_figure(height=440, name="confusion")
    figure.add_heatmap(
        z=shares,
        customdata=np.arange(matrix.size).reshape(matrix.shape),
        x=list(range(len(names))),
        y=list(range(len(names))),
        text=[[f"{count}" if count else "" for count in row] for row in matrix.tolist()] if few else None,
        texttemplate="%{text}" if few else None,
        hovertext=[
            [f"{right} taken for {other}: {count} images" for other, count in zip(names, row, strict=True)]
            for right, row in zip(names, matrix.tolist(), strict=True)
        ],
        hovertemplate="%{hovertext}, %{z:.1%} of the class<extra></extra>",
        autocolorscale=True,  # the page's colour scale
        zmin=0,
        zmax=1,
        showscale=not few,
    )
    short = [plain(name, at_most=MOST_LETTERS_OF_A_CLASS) for name in classes]
    ticks = {"tickvals": list(range(len(names))), "ticktext": short, "automargin": True} if few else {}
    figure.update_xaxes(title="taken for", **ticks)
    if few and max(map(len, names)) > MOST_LETTERS_LEVEL:
        figure.update_xaxes(tickangle=-45)  # otherwise the last name is cut off or left out
    figure.update_yaxes(title="class", autorange="reversed", **ticks)
    return figure
