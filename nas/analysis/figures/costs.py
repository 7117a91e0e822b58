"""Figures of costs: what each part of an architecture costs, and how trials compare."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.analysis.comparison import error_of
from nas.analysis.figures.architecture import KIND_COLOURS, KIND_NAMES, parts_of
from nas.analysis.figures.style import COLOURS, TICK_GAP, new_figure
from nas.architectures.architecture import Architecture
from nas.study.records import TrialRecord
from nas.units import count_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["cost_figure", "cost_numbers", "ratio_figure"]


def cost_numbers(architecture: Architecture) -> dict[str, dict[str, tuple[int, int]]]:
    """Returns FLOPs and parameters by kind of layer, then by part of the network."""
    from nas.architectures.cost import cost

    amounts: dict[str, dict[str, tuple[int, int]]] = {}
    for layer in cost(architecture).layers:
        part = f"stage {layer.stage}" if layer.stage else layer.kind
        parts = amounts.setdefault(KIND_NAMES[layer.kind], {})
        flops, params = parts.get(part, (0, 0))
        parts[part] = (flops + layer.flops, params + layer.params)
    return amounts


def cost_figure(architecture: Architecture) -> "go.Figure":
    """Draws FLOPs on the left and parameters on the right, with a bar for each part, stacked by kind of layer."""
    amounts, parts = cost_numbers(architecture), parts_of(architecture)
    figure = new_figure(height=120 + 34 * len(parts), name="cost", barmode="stack")
    for kind, by_part in amounts.items():
        for which, (noun, axis) in enumerate((("FLOPs", "x"), ("parameters", "x2"))):
            figure.add_bar(
                name=kind,
                legendgroup=kind,
                showlegend=which == 0,
                orientation="h",
                y=parts,
                x=[by_part.get(part, (0, 0))[which] for part in parts],
                text=[count_text(by_part.get(part, (0, 0))[which]) for part in parts],
                textposition="none",
                hovertemplate=f"%{{y}}, {kind}: %{{text}} {noun}<extra></extra>",
                marker={"color": KIND_COLOURS[kind]},
                xaxis=axis,
            )
    figure.update_layout(
        xaxis={"domain": [0, 0.46], "title": "FLOPs per image", "tickformat": "~s", "nticks": 4},
        xaxis2={"domain": [0.54, 1], "title": "parameters", "tickformat": "~s", "nticks": 4, "anchor": "y"},
        yaxis={"autorange": "reversed", **TICK_GAP},
        margin={"l": 75, "t": 60},
    )
    return figure


def ratio_figure(records: Sequence[TrialRecord]) -> "go.Figure":
    """Draws FLOPs, parameters, activations, training time and error of each trial, as multiples of the first one's."""
    first, *others = records
    figure = new_figure(height=300, name="ratios", barmode="group")
    for number, record in enumerate(others, start=1):
        pairs = [
            ("FLOPs", record.flops, first.flops),
            ("parameters", record.params, first.params),
            ("activations", record.cost.activations, first.cost.activations),
            ("training time", record.seconds, first.seconds),
            ("error", error_of(record), error_of(first)),
        ]
        ratios = {name: value / base for name, value, base in pairs if value is not None and base}
        figure.add_bar(
            name=f"trial {record.trial}",
            x=list(ratios),
            y=list(ratios.values()),
            marker={"color": COLOURS[number % len(COLOURS)]},
            hovertemplate=f"trial {record.trial}: %{{y:.2f}} times the %{{x}} of trial {first.trial}<extra></extra>",
        )
    figure.add_hline(y=1, line={"color": COLOURS[0], "width": 1.5, "dash": "dot"})
    figure.update_yaxes(title=f"times trial {first.trial}", rangemode="tozero")
    return figure
