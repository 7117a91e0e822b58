"""Records → numbers → plotly figures: the front and learning curves, and the look that all figures share.

The numbers are plain values, to be tested and reused without plotly.
"""

import html
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.analysis.cost_metrics import FLOPS, Axis, usual_axis
from nas.analysis.selection import references
from nas.analysis.significance import chance_difference, wilson_interval
from nas.study.records import COMPLETE, FAILED, RUNNING, SHORT, STOPPED, TrialRecord, front_of, knee_of
from nas.units import percent_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "COLOURS",
    "FrontNumbers",
    "confusion_figure",
    "curves_figure",
    "front_figure",
    "front_numbers",
    "new_figure",
    "plain",
    "thinned",
]

# Okabe and Ito's colours, which people with colour-blindness can tell apart, on light and on dark.
BLUE, ORANGE, GREEN, VERMILION, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#8C8C8C"
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PINK, SKY)
BAND = "rgba(86, 180, 233, 0.18)"
DRAWN_WHOLE = 1000
CELLS = (160, 100)
"""Of more trials than that, those that fall into one cell of a grid this fine, some pixels wide, are drawn once."""
MOST_CLASSES_NAMED, MOST_LETTERS_OF_A_CLASS, MOST_LETTERS = 20, 24, 80
SHARES: dict[str, Any] = {"tickformat": "~%", "autorangeoptions": {"clipmin": -0.02, "clipmax": 1.02}}
"""An axis of shares: no more of it is shown than there is."""
TICK_GAP = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
"""Room between the labels of an axis and the bars that begin at it."""


class FrontNumbers(NamedTuple):
    """The trials by how they stand to the front, which goes from the least cost to the most.

    `near` are beaten by less than chance explains on so few validation images, `beaten` by more. `band` has a
    (cost, accuracy) for each corner of the line below which a trial is beaten beyond chance; `intervals` the 95 %
    interval of each member's accuracy. Both are empty where the number of images is unknown.
    """

    front: list[TrialRecord]
    knee: TrialRecord | None
    near: list[TrialRecord]
    beaten: list[TrialRecord]
    short: list[TrialRecord]
    stopped: list[TrialRecord]
    failed: list[TrialRecord]
    running: list[TrialRecord]
    references: dict[str, TrialRecord]
    intervals: list[tuple[float, float]]
    band: list[tuple[float, float]]


def front_numbers(
    records: Sequence[TrialRecord], *, axis: Axis | None = None, images: int | None = None
) -> FrontNumbers:
    """Parts the trials, by their study's cost or another; accuracies are measured on so many validation `images`."""
    axis = axis or usual_axis(records)
    front = front_of(records, by=axis.value)
    costs = np.array([axis.value(record) for record in front], dtype=float)
    floors = [_floor(record.accuracy or 0.0, images) for record in front]
    on_front = {record.trial for record in front}
    near, beaten = list[TrialRecord](), list[TrialRecord]()
    others = [
        record
        for record in records
        if record.state == COMPLETE and record.trial not in on_front and axis.value(record) is not None
    ]
    below = np.searchsorted(costs, np.array([axis.value(record) for record in others], dtype=float), side="right") - 1
    for record, place in zip(others, below.tolist(), strict=True):
        (near if (record.accuracy or 0.0) >= floors[place] else beaten).append(record)
    band = list(zip(costs.tolist(), floors, strict=True)) if images else []
    states: dict[str, list[TrialRecord]] = {SHORT: [], STOPPED: [], FAILED: [], RUNNING: []}
    for record in records:
        if record.state in states and axis.value(record) is not None:
            states[record.state].append(record)
    return FrontNumbers(
        front,
        knee_of(front, by=axis.value),
        near,
        beaten,
        states[SHORT],
        states[STOPPED],
        [record for record in states[FAILED] if record.finished],
        states[RUNNING],
        {name: record for name, record in references(records).items() if axis.value(record) is not None},
        [wilson_interval(record.accuracy or 0.0, images) for record in front] if images else [],
        band,
    )


def front_figure(
    records: Sequence[TrialRecord],
    *,
    axis: Axis = FLOPS,
    images: int | None = None,
    log: bool = True,
    selected: Sequence[int] = (),
    budget: float | None = None,
) -> "go.Figure":
    """Validation accuracy against a cost; the front as a staircase. `customdata` holds trial numbers."""
    numbers = front_numbers(records, axis=axis, images=images)
    figure = new_figure(height=500)
    points = _Points(figure, axis, floor=_lowest(records))
    if numbers.band:
        _draw_band(figure, numbers, most=max(axis.value(record) or 0.0 for record in records))
    points.add("beaten", thinned(numbers.beaten, axis, log=log), color=GREY, size=6, opacity=0.55)
    points.add("beaten, perhaps by chance", thinned(numbers.near, axis, log=log), color=SKY, size=7, opacity=0.9)
    # Far below all others, short trainings would squeeze the front: the legend shows them when it is asked to.
    short = thinned(numbers.short, axis, log=log)
    points.add("short training", short, color=GREEN, size=5, symbol="circle-open", line=1, visible="legendonly")
    points.add("stopped", numbers.stopped, color=ORANGE, size=8, symbol="triangle-down-open")
    points.add("failed", numbers.failed, color=VERMILION, size=8, symbol="x-thin-open", line=2)
    points.add("training now", numbers.running, color=GREEN, size=10, symbol="circle-open", line=2)
    points.add("front", numbers.front, color=BLUE, size=9, staircase=True, intervals=numbers.intervals)
    for symbol, (name, record) in zip(("diamond-open", "square-open"), numbers.references.items(), strict=False):
        points.add(f"best {name}", [record], color=PINK, size=13, symbol=symbol, line=2)
    points.add("knee", [numbers.knee] if numbers.knee else [], color=VERMILION, size=16, symbol="star")
    chosen = [record for record in records if record.trial in set(selected)]
    points.add("selected", chosen, color=VERMILION, size=19, symbol="circle-open", line=3)
    if budget is not None:
        figure.add_vline(x=budget, line={"color": VERMILION, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title=plain(axis.title, at_most=MOST_LETTERS), type="log" if log else "linear", tickformat=axis.tick_format
    )
    if log:
        figure.update_xaxes(dtick="D2")
    figure.update_yaxes(title="validation accuracy", **SHARES)
    return figure


def thinned(records: Sequence[TrialRecord], axis: Axis = FLOPS, *, log: bool = True) -> Sequence[TrialRecord]:
    """Of many trials those that can be told apart in a figure: the first of each cell of a fine grid.

    The first, so that what is drawn stays as more trials come.
    """
    if len(records) <= DRAWN_WHOLE:
        return records
    x = np.array([axis.value(record) for record in records], dtype=float)
    y = np.array([record.accuracy for record in records], dtype=float)
    if log:
        x = np.log(np.maximum(x, np.finfo(float).tiny))
    columns, rows = (
        ((values - values.min()) / (np.ptp(values) or 1.0) * cells).astype(int)
        for values, cells in zip((x, y), CELLS, strict=True)
    )
    _, kept = np.unique(columns * (CELLS[1] + 1) + rows, return_index=True)
    return [records[index] for index in sorted(kept.tolist())]


def curves_figure(records: Sequence[TrialRecord], *, images: int | None = None) -> "go.Figure":
    """Validation accuracy after each epoch, a line for each trial; the last point with its 95 % interval."""
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
    """The share of each class (row) that is taken for each class (column); few classes are written out."""
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    names = [plain(name) for name in classes]
    few = len(names) <= MOST_CLASSES_NAMED
    figure = new_figure(height=440, name="confusion")
    figure.add_heatmap(
        z=shares,
        customdata=matrix,
        x=list(range(len(names))),
        y=list(range(len(names))),
        text=[[f"{count}" if count else "" for count in row] for row in matrix.tolist()] if few else None,
        texttemplate="%{text}" if few else None,
        hovertext=[[f"{right} taken for {other}" for other in names] for right in names],
        hovertemplate="%{hovertext}: %{customdata} images, %{z:.1%} of the class<extra></extra>",
        autocolorscale=True,  # the page's own
        zmin=0,
        zmax=1,
        showscale=not few,
    )
    short = [plain(name, at_most=MOST_LETTERS_OF_A_CLASS) for name in classes]
    ticks = {"tickvals": list(range(len(names))), "ticktext": short} if few else {}
    figure.update_xaxes(title="taken for", **ticks)
    figure.update_yaxes(title="class", autorange="reversed", **ticks)
    return figure


def new_figure(*, height: int, name: str = "figure", **layout: Any) -> "go.Figure":
    """An empty figure in the house's look. Colours of text and lines are left to the page that shows it.

    A constant `uirevision` keeps a person's zoom when the figure is drawn anew with more trials.
    """
    import plotly.graph_objects as go

    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "uirevision": name,
            "margin": {"t": 20, "r": 10, "b": 50, "l": 65},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
            "hovermode": "closest",
            **layout,
        }
    )


def plain(text: str, *, at_most: int | None = None) -> str:
    """Text from data, for plotly to show as it is, or its beginning: plotly reads some HTML, but not its `&quot;`."""
    shown = text if at_most is None or len(text) <= at_most else text[: at_most - 1] + "…"
    return html.escape(shown, quote=False)


class _Points:
    """Adds trials as markers to a figure. A trial without an accuracy lies on the floor, below all that have one."""

    def __init__(self, figure: "go.Figure", axis: Axis, *, floor: float) -> None:
        self._figure, self._axis, self._floor = figure, axis, floor

    def add(
        self,
        name: str,
        records: Sequence[TrialRecord],
        *,
        color: str,
        size: int,
        symbol: str = "circle",
        opacity: float = 1.0,
        line: int = 0,
        staircase: bool = False,
        intervals: Sequence[tuple[float, float]] = (),
        visible: bool | str = True,
    ) -> None:
        """A trace; one without trials is left out, so that the legend names only what is there."""
        if not records:
            return
        axis = self._axis
        heights = [self._height(record) for record in records]
        marker = {"color": color, "size": size, "symbol": symbol, "opacity": opacity, "line": {"width": line}}
        if line:
            marker["line"] = {"width": line, "color": color}
        errors = [(high - y, y - low) for (low, high), y in zip(intervals, heights, strict=True)] if intervals else []
        self._figure.add_scatter(
            name=name,
            visible=visible,
            x=[axis.value(record) for record in records],
            y=heights,
            customdata=[record.trial for record in records],
            text=[
                plain(f"{record.name} · {_result(record)} · {axis.text(axis.value(record) or 0.0)}")
                for record in records
            ],
            hovertemplate=f"trial %{{customdata}} ({name})<br>%{{text}}<extra></extra>",
            mode="lines+markers" if staircase else "markers",
            marker=marker,
            **({"line": {"shape": "hv", "color": color, "width": 2}} if staircase else {}),
            **(
                {
                    "error_y": {
                        "type": "data",
                        "symmetric": False,
                        "array": [up for up, _ in errors],
                        "arrayminus": [down for _, down in errors],
                        "thickness": 1,
                        "width": 3,
                    }
                }
                if errors
                else {}
            ),
        )

    def _height(self, record: TrialRecord) -> float:
        if record.accuracy is not None:
            return record.accuracy
        if record.state == FAILED or not record.curve:
            return self._floor
        return max(record.curve[-1], self._floor)  # a first epoch at chance would squeeze all others together


def _draw_band(figure: "go.Figure", numbers: FrontNumbers, *, most: float) -> None:
    """The area below the staircase in which a trial is not beaten beyond chance; drawn first, so it lies below."""
    costs = [cost for cost, _ in numbers.band] + [most]
    levels = [record.accuracy or 0.0 for record in numbers.front]
    floors = [floor for _, floor in numbers.band]
    steps = {"mode": "lines", "line": {"shape": "hv", "width": 0}, "hoverinfo": "skip", "x": costs}
    figure.add_scatter(y=[*levels, levels[-1]], showlegend=False, name="level", **steps)
    figure.add_scatter(
        y=[*floors, floors[-1]], fill="tonexty", fillcolor=BAND, name="within chance of the front", **steps
    )


def _result(record: TrialRecord) -> str:
    if record.accuracy is not None:
        after = f" after {record.length} epochs" if record.state == SHORT else ""
        return percent_text(record.accuracy) + after
    if record.state == RUNNING and record.curve:
        return f"{percent_text(record.curve[-1])} after epoch {len(record.curve)}"
    return record.reason or record.state


def _floor(accuracy: float, images: int | None) -> float:
    return accuracy - chance_difference(accuracy, images) if images else accuracy


def _lowest(records: Sequence[TrialRecord]) -> float:
    """A height a little below all accuracies."""
    accuracies = [record.accuracy for record in records if record.accuracy is not None and record.state != SHORT]
    if not accuracies:
        return 0.0
    return min(accuracies) - 0.04 * max(max(accuracies) - min(accuracies), 0.05)
