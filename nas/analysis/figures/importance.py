"""Figures of what matters in a search space."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.analysis.figures.style import BLUE, GREY, ORANGE, SKY, TICK_GAP, VERMILION, new_figure
from nas.analysis.importance import (
    Sample,
    choice_in_words,
    effects,
    error_distributions,
    evenly_spaced,
    importances,
    shades,
)
from nas.spaces.search_space import SearchSpace
from nas.units import count_text, percent_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["effects_figure", "error_distribution_figure", "heat_map_figure", "importance_figure", "parallel_figure"]


def importance_figure(sample: Sample) -> "go.Figure":
    """Draws two bars per choice: how much of accuracy it explains overall, and among trials of equal FLOPs."""
    figure = new_figure(height=120 + 44 * len(sample.choices), name="importance", barmode="group")
    for name, equal_flops, colour in (("at equal FLOPs", True, BLUE), ("at all", False, ORANGE)):
        found = importances(sample, equal_flops=equal_flops)
        figure.add_bar(
            name=name,
            orientation="h",
            y=[choice_in_words(item.choice) for item in found],
            x=[item.share for item in found],
            marker={"color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, item.high - item.share) for item in found],
                "arrayminus": [max(0.0, item.share - item.low) for item in found],
                "thickness": 1,
                "width": 3,
                "color": GREY,
            },
            hovertemplate=f"%{{y}} explains %{{x:.0%}} {name}<extra></extra>",
        )
    figure.update_xaxes(title="share of the variance explained", tickformat="~%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", **TICK_GAP)
    figure.update_layout(margin={"l": 110}, legend={"traceorder": "reversed"})
    return figure


def effects_figure(sample: Sample, field: str) -> "go.Figure":
    """Draws the points of accuracy gained or lost at equal FLOPs by each value of a field (depth, mid, groups)."""
    figure = new_figure(height=320, name=f"effects {field}")
    choices = [choice for choice in sample.choices if choice.endswith(f".{field}")]
    for choice, colour in zip(choices, shades(), strict=False):
        found = effects(sample, choice)
        figure.add_scatter(
            name=choice_in_words(choice).removesuffix(f" {field}"),
            x=[str(item.value) for item in found],
            y=[100 * item.mean for item in found],
            text=[f"{item.trials} trial{'s' * (item.trials != 1)}" for item in found],
            error_y={"type": "data", "array": [196 * np.nan_to_num(item.error) for item in found], "thickness": 1.2},
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 9},
            hovertemplate="%{y:+.2f} points, %{text}<extra></extra>",
        )
    every = sorted({value for choice in choices for value in np.unique(sample.choices[choice]).tolist()})
    figure.update_xaxes(title=field, type="category", categoryorder="array", categoryarray=[str(v) for v in every])
    figure.update_yaxes(title="points at equal FLOPs", zeroline=True)
    return figure


def heat_map_figure(sample: Sample, space: SearchSpace, *, equal_flops: bool) -> "go.Figure":
    """Draws a map per stage of mean accuracy by groups and width; of accuracy at equal FLOPs with `equal_flops`."""
    stages = [
        number
        for number, _ in enumerate(space.stages, start=1)
        if {f"stage{number}.groups", f"stage{number}.mid"} <= set(sample.choices)
    ]
    figure = new_figure(height=360, name=f"heat {equal_flops}")
    target = 100 * (sample.at_equal_flops if equal_flops else sample.accuracy)
    width, sign = 1 / max(1, len(stages)), "+" if equal_flops else ""
    for place, number in enumerate(stages):
        groups, mids = sample.choices[f"stage{number}.groups"], sample.choices[f"stage{number}.mid"]
        columns, rows = np.unique(mids).tolist(), np.unique(groups).tolist()
        cells = [[target[(groups == row) & (mids == column)] for column in columns] for row in rows]
        suffix = str(place + 1) if place else ""
        figure.add_heatmap(
            x=[str(column) for column in columns],
            y=[str(row) for row in rows],
            z=[[float(cell.mean()) if len(cell) else None for cell in line] for line in cells],
            text=[[f"{cell.mean():{sign}.1f}" if len(cell) else "" for cell in line] for line in cells],
            customdata=[[len(cell) for cell in line] for line in cells],
            texttemplate="%{text}",
            hovertemplate="%{x} wide, %{y} groups: %{text}, %{customdata} trials<extra></extra>",
            coloraxis="coloraxis",
            xaxis=f"x{suffix}",
            yaxis=f"y{suffix}",
        )
        gap = 0.035
        axes = {
            f"xaxis{suffix}": {
                "domain": [place * width + gap, (place + 1) * width - gap / 2],
                "title": f"stage {number}<br>width",  # beside each other on a phone, too
                "type": "category",
                "anchor": f"y{suffix}",
            },
            f"yaxis{suffix}": {"title": "groups" if not place else "", "type": "category", "anchor": f"x{suffix}"},
        }
        figure.update_layout(axes)
    middle = {"cmid": 0} if equal_flops else {}  # a diverging scale, or a sequential one
    figure.update_layout(coloraxis={**middle, "colorbar": {"title": "points" if equal_flops else "%", "thickness": 12}})
    return figure


def error_distribution_figure(sample: Sample, choice: str) -> "go.Figure":
    """Draws the share of trials below each error, a line per value of a choice (Radosavovic et al., 2020)."""
    figure = new_figure(height=360, name=f"errors {choice}")
    for (value, errors), colour in zip(error_distributions(sample, choice).items(), shades(), strict=False):
        kept = evenly_spaced(len(errors))
        shares = (kept + 1) / len(errors)
        figure.add_scatter(
            name=f"{choice_in_words(choice).split()[-1]} {value} ({len(errors)} trials)",
            x=errors[kept],
            y=shares,
            mode="lines",
            line={"shape": "hv", "color": colour, "width": 2},
            hovertemplate="%{y:.0%} have an error of at most %{x:.1%}<extra></extra>",
        )
    figure.update_xaxes(title="validation error", tickformat="~%")
    figure.update_yaxes(title="share of trials", tickformat="~%", rangemode="tozero")
    return figure


def parallel_figure(sample: Sample) -> "go.Figure":
    """Draws a line per trial through its choices, its FLOPs and its accuracy; of more than 500, an even subset."""
    kept = evenly_spaced(len(sample.accuracy))
    dimensions = []
    for choice, values in sample.choices.items():
        known = np.unique(values)
        dimensions.append(
            {
                "label": choice_in_words(choice).replace("stage ", "s"),
                "values": np.searchsorted(known, values[kept]),
                "tickvals": list(range(len(known))),
                "ticktext": [str(value) for value in known.tolist()],
            }
        )
    flops = sample.log_flops[kept] / np.log(10)
    dimensions.append(_measured("FLOPs", flops, write=lambda tick: count_text(10**tick)))
    dimensions.append(_measured("accuracy", sample.accuracy[kept], write=percent_text))
    figure = new_figure(height=380, name="parallel")
    figure.add_parcoords(
        dimensions=dimensions,
        line={
            "color": sample.accuracy[kept],
            "colorscale": [[0, GREY], [0.5, SKY], [1, VERMILION]],
            "showscale": False,
        },
        labelfont={"size": 12},
        tickfont={"size": 11},
    )
    figure.update_layout(margin={"l": 40, "r": 40, "t": 50, "b": 20})
    return figure


def _measured(label: str, values: NDArray[np.float64], *, write: Callable[[float], str]) -> dict[str, Any]:
    """Returns a dimension of the parallel coordinates with four ticks, between the least and the greatest value."""
    ticks = np.linspace(values.min(), values.max(), 4).tolist() if len(values) else []
    return {"label": label, "values": values, "tickvals": ticks, "ticktext": [write(tick) for tick in ticks]}
