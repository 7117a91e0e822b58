"""The style that all figures share."""

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "BAND",
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PINK",
    "SHARES",
    "SKY",
    "TICK_GAP",
    "VERMILION",
    "log_axis",
    "new_figure",
    "plain",
]

# Okabe and Ito's palette, safe for colour-blind readers on light and dark backgrounds.
BLUE, ORANGE, GREEN, VERMILION, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#8C8C8C"
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PINK, SKY)
BAND = "rgba(86, 180, 233, 0.18)"
SHARES: dict[str, Any] = {"tickformat": "~%", "autorangeoptions": {"clipmin": -0.02, "clipmax": 1.02}}
"""An axis of shares: it never extends visibly beyond 0 and 1."""
TICK_GAP = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
"""Invisible ticks that leave room between the labels of an axis and the bars that begin at it."""


def new_figure(*, height: int, name: str = "figure", **layout: Any) -> "go.Figure":
    """Returns an empty figure in the shared style. Colours of text and lines are left to the page that shows it.

    A constant `uirevision` keeps the user's zoom when the figure is redrawn with more trials.
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


def log_axis(values: Iterable[float]) -> dict[str, Any]:
    """Returns the settings of a logarithmic axis that shows these values, labelled at 1, 2 and 5 of each decade.

    Where they span less than a decade, plotly finds closer labels.
    """
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) >= 10 * min(positive)
    return {"type": "log", "dtick": "D2"} if wide else {"type": "log"}


def plain(text: str, *, at_most: int | None = None) -> str:
    """Escapes text from data so that plotly shows it verbatim, truncated to `at_most` characters.

    Quotes are not escaped: plotly reads some HTML, but not its `&quot;`.
    """
    shown = text if at_most is None or len(text) <= at_most else text[: at_most - 1] + "…"
    return html.escape(shown, quote=False)
