"""chart(): a plotly figure on a page, which keeps a person's zoom while its data grow and says what was clicked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

_component = st.components.v2.component(
    "nas.chart",
    html='<div class="nas-chart"></div>',
    css=".nas-chart .parcoords text { text-shadow: none !important; }",  # plotly's is white, on dark pages too
    js=Path(__file__).with_name("chart.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


class Ready(NamedTuple):
    """A figure as a browser takes it, to be made once and shown to many; `empty` is one without data."""

    json: str
    height: int
    empty: bool


def ready(figure: Any) -> Ready:
    """Writes a plotly figure out."""
    return Ready(figure.to_json(), figure.layout.height, not figure.data)


def chart(
    figure: Ready, key: str, *, alt: str, on_pick: Callable[[list[int]], None] | None = None, bare: bool = False
) -> None:
    """Shows a figure; `alt` says in words what is to be seen.

    `on_pick` is called with the trials that were clicked or lassoed, before the page is run again. `bare` leaves out
    the buttons to zoom.
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
