"""The page Studies: a card for each study of the folder, several fronts on one chart, and what was put away."""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import access
import chart
import live
import messages
import selection
import streamlit as st

from nas.analysis.figures.fronts import MOST_FRONTS, fronts_figure, sketch_figure
from nas.analysis.overview import Overview, overview
from nas.errors import NasError
from nas.study.catalog import last_modified
from nas.study.housekeeping import (
    ARCHIVE,
    BIN,
    archive_study,
    delete_study,
    list_put_away,
    rename_study,
    restore_study,
)
from nas.study.study import Study
from nas.units import amount_text, duration_text, percent_text

COLUMNS, CARDS_AT_ONCE = 3, 12
SECONDS_KEPT = 10
"""Overviews of running searches, and of studies in a database, are made again after this time."""
AWAY = "It is listed below then, and can be brought back."
ORDERS: dict[str, Callable[[Overview], Any] | None] = {
    "latest first": None,
    "by name": lambda one: one.name,
    "most accurate first": lambda one: -(one.best or 0.0),
    "most trainings first": lambda one: -one.trainings,
}


def show(place: live.Place) -> None:
    """Renders the page."""
    try:
        names = live.names(place)
    except NasError as error:
        messages.calm("The studies cannot be listed", str(error))
        return
    if not names:
        messages.no_study(place, names, None)
    else:
        _cards(place, names)
    if place.storage is None:
        _put_away(place)
    if refused := st.session_state.pop("housekeeping refused", None):
        st.warning(messages.literal(refused))


def _cards(place: live.Place, names: list[str]) -> None:
    """Shows the cards of the studies that are looked for, in the chosen order, and the comparison above them."""
    fields = st.columns([1, 0.8, 2])
    typed = fields[0].text_input("Find", key="find a study", placeholder="part of a name").strip().lower()
    order = fields[1].selectbox("Order", list(ORDERS), key="order of studies")
    compared = fields[2].multiselect(
        "Compare fronts", names, key="fronts", max_selections=MOST_FRONTS, placeholder="Choose two or more"
    )
    names = [name for name in names if typed in name.lower()]
    known = {name: _known(place, name) for name in dict.fromkeys([*names, *compared])}
    _compare({name: one for name in compared if isinstance(one := known[name], Overview)})
    if key := ORDERS[order]:
        sound = {name: one for name in names if isinstance(one := known[name], Overview)}
        names = [*sorted(sound, key=lambda name: key(sound[name])), *(name for name in names if name not in sound)]
    shown = names[: st.session_state.get("cards", CARDS_AT_ONCE)]
    for start in range(0, len(shown), COLUMNS):
        for column, name in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            with column, st.container(border=True):
                _card(place, name, known[name])
    if len(shown) < len(names):
        more = len(shown) + CARDS_AT_ONCE
        st.button(f"Show more of {len(names)}", on_click=st.session_state.update, args=({"cards": more},))


def _compare(fronts: dict[str, Overview]) -> None:
    if len(fronts) < 2:
        return
    figure = fronts_figure({name: one.front for name, one in fronts.items()})
    chart.chart(chart.ready(figure), "fronts-figure", alt=f"the fronts of {', '.join(fronts)}")
    if len({one.fingerprint for one in fronts.values()}) > 1:
        st.caption("They were searched on different images, or other splits: their accuracies are of different tests.")


def _card(place: live.Place, name: str, one: Overview | str) -> None:
    columns = st.columns([5, 1], vertical_alignment="center")
    if columns[0].button(messages.literal(name), key=f"open {name}", type="tertiary"):
        selection.choose(study=name)
        selection.go_to("front")
    if place.storage is None and access.may_act():
        with columns[1].popover("", icon=":material/more_vert:", key=f"menu {name}"):
            _menu(place, name)
    if isinstance(one, str):
        st.text(one)
        return
    budget = f" · {amount_text(one.spent)} of {one.budget:,} in full" if one.budget and one.spent != one.budget else ""
    st.caption(f"{':green[●] ' if one.live else ''}{one.status} · {one.trainings:,} trainings{budget}")
    alt = f"the front of {name}, {len(one.front)} networks"
    chart.chart(chart.ready(sketch_figure(one.front)), f"sketch {name}", alt=alt, bare=True)
    best = f"**{percent_text(one.best)}**" if one.best is not None else "no network yet"
    st.caption(f"{best} · {messages.literal(one.source)}{_age(place, name)}")


def _age(place: live.Place, name: str) -> str:
    seconds = time.time() - last_modified(Path(place.runs) / name) if place.storage is None else 0.0
    if seconds < 1:
        return ""
    return f" · {duration_text(seconds)} ago" if seconds < 86_400 else f" · {seconds / 86_400:.0f} days ago"


def _menu(place: live.Place, name: str) -> None:
    """Shows what can be done to a study."""
    new = st.text_input("Name", name, key=f"new name of {name}")
    st.button(
        "Rename",
        key=f"rename {name}",
        disabled=new == name,
        width="stretch",
        on_click=_done,
        args=(rename_study, place, name, new.strip()),
    )
    st.button(
        "Archive", key=f"archive {name}", width="stretch", on_click=_done, args=(archive_study, place, name), help=AWAY
    )
    sure = st.checkbox("Delete it", key=f"sure {name}")
    st.button(
        "Move to the bin",
        key=f"delete {name}",
        disabled=not sure,
        width="stretch",
        on_click=_done,
        args=(delete_study, place, name),
    )


def _done(act: Callable[..., Any], place: live.Place, name: str, *more: str) -> None:
    try:
        act(name, *more, place.runs)
    except NasError as error:
        st.session_state["housekeeping refused"] = str(error)
        return
    if selection.current().study == name:
        selection.choose(study=more[0] if more else None)


def _put_away(place: live.Place) -> None:
    """Lists the archive and the bin."""
    for folder, title in ((ARCHIVE, "Archive"), (BIN, "Bin")):
        names = list_put_away(place.runs, folder)
        if not names:
            continue
        with st.expander(f"{title}: {len(names)}"):
            for name in names:
                columns = st.columns([4, 1], vertical_alignment="center")
                columns[0].text(name)
                if access.may_act():
                    columns[1].button(
                        "Restore", key=f"restore {folder} {name}", on_click=_done, args=(restore_study, place, name)
                    )


def _known(place: live.Place, name: str) -> Overview | str:
    """Returns a study's overview, or why it cannot be read; made once until the study changes."""
    now = time.time() // SECONDS_KEPT
    stamp = now if place.storage is not None else last_modified(Path(place.runs) / name)
    found = _overview(place, name, stamp)
    return _overview(place, name, now) if isinstance(found, Overview) and found.live else found


@lru_cache(maxsize=500)
def _overview(place: live.Place, name: str, stamp: float) -> Overview | str:
    try:
        return overview(Study.open(name, place.runs, storage=place.storage))
    except NasError as error:
        return str(error)
