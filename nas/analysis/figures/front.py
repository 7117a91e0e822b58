"""The figure of the accuracy–cost front.

Its numbers are plain values (`nas.analysis.front`), which can be tested and reused without plotly.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.analysis.cost_metrics import FLOPS, CostMetric
from nas.analysis.figures.style import (
    BAND,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SHARES,
    SKY,
    VERMILION,
    log_axis,
    new_figure,
    plain,
)
from nas.analysis.front import FrontNumbers, front_numbers, lowest_accuracy, thinned
from nas.study.records import TrialRecord, TrialState
from nas.units import epochs_text, percent_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["front_figure"]

MOST_LETTERS = 80


def front_figure(
    records: Sequence[TrialRecord],
    *,
    axis: CostMetric = FLOPS,
    images: int | None = None,
    log: bool = True,
    selected: Sequence[int] = (),
    budget: float | None = None,
    baseline: tuple[str, float] | None = None,
) -> "go.Figure":
    """Draws validation accuracy against a cost, with the front as a staircase. `customdata` holds trial numbers.

    Args:
        records: Trials of the study.
        axis: Cost on the x-axis.
        images: Number of validation images; None, without estimates, leaves intervals and the band of chance out.
        log: Whether the x-axis is logarithmic.
        selected: Numbers of trials to highlight.
        budget: Cost to mark with a vertical line.
        baseline: Name and accuracy of a classifier without a network, for a horizontal line.
    """
    numbers = front_numbers(records, axis=axis, images=images)
    figure = new_figure(height=500)
    points = _Points(figure, axis, floor=lowest_accuracy(numbers))
    if numbers.band:
        _draw_band(figure, numbers, most=max(axis.value(record) or 0.0 for record in records))
    points.add("beaten", thinned(numbers.beaten, axis, log=log), color=GREY, size=6, opacity=0.55)
    points.add("beaten, perhaps by chance", thinned(numbers.near, axis, log=log), color=SKY, size=7, opacity=0.9)
    # Far below the others, short trainings would squeeze the front: they are hidden until enabled in the legend.
    short = thinned(numbers.short, axis, log=log)
    points.add("short training", short, color=GREEN, size=5, symbol="circle-open", line=1, visible="legendonly")
    points.add("stopped", numbers.stopped, color=ORANGE, size=8, symbol="triangle-down-open")
    points.add("failed", numbers.failed, color=VERMILION, size=8, symbol="x-thin-open", line=2)
    points.add("training now", numbers.running, color=GREEN, size=10, symbol="circle-open", line=2)
    symbols = ["circle-open" if member.state == TrialState.SHORT else "circle" for member in numbers.front]
    points.add("front", numbers.front, color=BLUE, size=9, symbol=symbols, staircase=True, intervals=numbers.intervals)
    for symbol, (name, record) in zip(("diamond-open", "square-open"), numbers.references.items(), strict=False):
        points.add(f"best {name}", [record], color=PINK, size=13, symbol=symbol, line=2)
    points.add("knee", [numbers.knee] if numbers.knee else [], color=VERMILION, size=16, symbol="star")
    chosen = [record for record in records if record.trial in set(selected)]
    points.add("selected", chosen, color=VERMILION, size=19, symbol="circle-open", line=3)
    if baseline is not None:
        name, accuracy = baseline
        line = {"color": GREY, "dash": "dot", "width": 1.5}
        figure.add_hline(y=accuracy, line=line, annotation_text=plain(name), annotation_position="top left")
    if budget is not None:
        figure.add_vline(x=budget, line={"color": VERMILION, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title=plain(axis.title, at_most=MOST_LETTERS),
        tickformat=axis.tick_format,
        **(log_axis(axis.value(record) or 0.0 for record in records) if log else {"type": "linear"}),
    )
    figure.update_yaxes(title="validation accuracy", **SHARES)
    return figure


class _Points:
    """Adds trials as markers to a figure. Trials with neither accuracy nor curve lie on the floor, below all others."""

    def __init__(self, figure: "go.Figure", axis: CostMetric, *, floor: float) -> None:
        self._figure, self._axis, self._floor = figure, axis, floor

    def add(
        self,
        name: str,
        records: Sequence[TrialRecord],
        *,
        color: str,
        size: int,
        symbol: str | list[str] = "circle",
        opacity: float = 1.0,
        line: int = 0,
        staircase: bool = False,
        intervals: Sequence[tuple[float, float]] = (),
        visible: bool | str = True,
    ) -> None:
        """Adds a trace, unless there are no trials, so that the legend names only what is shown."""
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
                        "color": SKY,
                        "thickness": 1,
                        "width": 0,
                    }
                }
                if errors
                else {}
            ),
        )

    def _height(self, record: TrialRecord) -> float:
        if record.accuracy is not None:
            return record.quality
        if record.state == TrialState.FAILED or not record.curve:
            return self._floor
        return max(record.curve[-1], self._floor)  # a first epoch at chance would squeeze the other points together


def _draw_band(figure: "go.Figure", numbers: FrontNumbers, *, most: float) -> None:
    """Draws the area below the staircase where a trial is not beaten beyond chance; first, so that it lies below."""
    costs = [cost for cost, _ in numbers.band] + [most]
    levels = [record.quality for record in numbers.front]
    floors = [floor for _, floor in numbers.band]
    steps = {"mode": "lines", "line": {"shape": "hv", "width": 0}, "hoverinfo": "skip", "x": costs}
    figure.add_scatter(y=[*levels, levels[-1]], showlegend=False, name="level", **steps)
    figure.add_scatter(
        y=[*floors, floors[-1]], fill="tonexty", fillcolor=BAND, name="within chance of the front", **steps
    )


def _result(record: TrialRecord) -> str:
    if record.accuracy is not None:
        after = f" after {epochs_text(record.length or 0)}" if record.state == TrialState.SHORT else ""
        return record.score_text() + after
    if record.state == TrialState.RUNNING and record.curve:
        return f"{percent_text(record.curve[-1])} after epoch {len(record.curve)}"
    return record.reason or record.state
