"""Confirmations in a figure of the front: means over seeds with their spread, beside the search's scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.analysis.confirmation import Confirmation
from nas.analysis.cost_metrics import FLOPS, CostMetric
from nas.analysis.figures.style import GREEN
from nas.units import counted, epochs_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["add_confirmed"]


def add_confirmed(figure: "go.Figure", members: Sequence[Confirmation], *, axis: CostMetric = FLOPS) -> None:
    """Adds the mean of each confirmed trial, with a bar of one standard deviation and a dotted line to its score.

    `customdata` holds trial numbers, as for the figure's other points.
    """
    shown = [(member, cost) for member in members if (cost := axis.value(member.record)) is not None]
    if not shown:
        return
    falls: list[tuple[float | None, float | None]] = []
    for member, cost in shown:
        if member.optimism is not None:
            falls += [(cost, member.record.quality), (cost, member.validation.mean), (None, None)]
    figure.add_scatter(
        name="from the estimate to the confirmed mean",
        x=[x for x, _ in falls],
        y=[y for _, y in falls],
        mode="lines",
        line={"color": GREEN, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        name="confirmed",
        x=[cost for _, cost in shown],
        y=[member.validation.mean for member, _ in shown],
        mode="markers",
        marker={"color": GREEN, "size": 10, "symbol": ["diamond" if m.on_front else "diamond-open" for m, _ in shown]},
        error_y={
            "type": "data",
            "array": [member.validation.std or 0.0 for member, _ in shown],
            "color": GREEN,
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[member.record.trial for member, _ in shown],
        text=[
            f"trial {member.record.trial}, confirmed: {member.validation.text()} over "
            f"{counted(len(member.trainings), 'seed')} of {epochs_text(member.epochs)}"
            + (f", on the front with {100 * member.probability:.0f} %" if member.probability is not None else "")
            for member, _ in shown
        ],
        hovertemplate="%{text}<extra></extra>",
    )
