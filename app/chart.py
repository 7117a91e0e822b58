"""Shows plotly figures on a page; a chart keeps the user's zoom while its data grow, and reports clicked trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

_component = st.components.v2.component(
    "nas.chart",
    html='<div class="nas-chart"></div>',
    css=".nas-chart .parcoords text { text-shadow: none !important; }",  # plotly's is white even on dark pages
    js=Path(__file__).with_name("chart.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


class Ready(NamedTuple):
    """A figure serialized for the browser, made once and shown to many sessions; `empty` if it has no data."""

    json: str
    height: int
    empty: bool


def ready(figure: Any) -> Ready:
    """Serializes a plotly figure."""
    return Ready(figure.to_json(), figure.layout.height, not figure.data)


def chart(
    figure: Ready, key: str, *, alt: str, on_pick: Callable[[list[int]], None] | None = None, bare: bool = False
) -> None:
    """Shows a figure.

    Args:
        figure: the serialized figure.
        key: the component's key in the session state.
        alt: a description of the figure in words.
        on_pick: called with the clicked or lassoed trials before the page reruns.
        bare: hide the zoom buttons.
    """

    def picked() -> None:
        trials = st.session_state[key].get("picked")
        if on_pick is not None and trials:
            on_pick([int(trial) for trial in trials])

    _component(
        data={"figure": figure.json, "alt": alt, "picks": on_pick is not None, "bare": bare},
        key=key,
        height=figure.height,
        on_picked_change=picked,
    )
