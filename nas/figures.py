"""Records → numbers → plotly figures. The numbers are plain values, to be tested and reused without plotly."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nas.pareto import knee
from nas.records import COMPLETE, TrialRecord, front_of
from nas.units import count_text, percent_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FrontNumbers", "front_figure", "front_numbers"]

# Okabe and Ito's colours, which people with colour-blindness can tell apart.
FRONT_COLOUR, OTHER_COLOUR, KNEE_COLOUR = "#0072B2", "#999999", "#D55E00"


class FrontNumbers(NamedTuple):
    """The complete trials that others beat, those on the front by FLOPs, and the front's knee where it has one."""

    beaten: list[TrialRecord]
    front: list[TrialRecord]
    knee: TrialRecord | None


def front_numbers(records: Sequence[TrialRecord]) -> FrontNumbers:
    """Parts the complete trials into the front, its knee and the rest."""
    front = front_of(records)
    at = knee([record.accuracy or 0.0 for record in front], [record.flops for record in front])
    on_front = {record.trial for record in front}
    beaten = [record for record in records if record.state == COMPLETE and record.trial not in on_front]
    return FrontNumbers(beaten, front, front[at] if at is not None else None)


def front_figure(records: Sequence[TrialRecord]) -> "go.Figure":
    """Validation accuracy against FLOPs on a log axis; the front as a staircase. `customdata` holds trial numbers."""
    import plotly.graph_objects as go

    numbers = front_numbers(records)
    figure = go.Figure()
    groups = [
        ("beaten", numbers.beaten, {"mode": "markers", "marker": {"color": OTHER_COLOUR, "size": 7, "opacity": 0.6}}),
        (
            "front",
            numbers.front,
            {
                "mode": "lines+markers",
                "line": {"shape": "hv", "color": FRONT_COLOUR},
                "marker": {"color": FRONT_COLOUR, "size": 9},
            },
        ),
        (
            "knee",
            [numbers.knee] if numbers.knee else [],
            {"mode": "markers", "marker": {"color": KNEE_COLOUR, "size": 15, "symbol": "star"}},
        ),
    ]
    for name, members, style in groups:
        figure.add_scatter(
            name=name,
            x=[record.flops for record in members],
            y=[record.accuracy for record in members],
            customdata=[record.trial for record in members],
            text=[
                f"trial {record.trial}: {record.name}<br>{percent_text(record.accuracy or 0)} · "
                f"{count_text(record.flops)} FLOPs · {count_text(record.params)} parameters"
                for record in members
            ],
            hovertemplate="%{text}<extra></extra>",
            **style,
        )
    figure.update_xaxes(title="FLOPs per image (multiply–adds)", type="log", dtick="D2", tickformat="~s")
    figure.update_yaxes(title="validation accuracy", tickformat=".1%")
    figure.update_layout(uirevision="front", legend={"orientation": "h", "y": 1.08}, margin={"t": 30, "r": 10})
    return figure
