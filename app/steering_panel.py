"""The sidebar's buttons that steer a search: pause, resume, stop, extend, end one training, search on."""

import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import access
import launch
import live
import messages
import selection
import streamlit as st

from nas.errors import NasError
from nas.study.search_state import Request, SearchState
from nas.study.study import Study
from nas.workflows import steering

MOST_ADDED = 100_000
SECONDS_BETWEEN_LOOKS = 1.0


def show(place: live.Place, seen: live.Snapshot | None) -> None:
    """Shows the buttons to those who may act."""
    if not access.may_act():
        return
    if (begun := st.session_state.get("launch")) is not None:
        _await(place, begun)
    elif seen is not None and seen.search is not None and seen.live:
        _running(seen, seen.search)
    elif seen is not None and seen.search is not None:
        _ended(place, seen, seen.search)
    if refused := st.session_state.pop("steering refused", None):
        st.warning(messages.literal(refused))


def _await(place: live.Place, begun: launch.Launch) -> None:
    """Waits until a search that was started here has begun or failed, then reruns the page."""

    @st.fragment(run_every=SECONDS_BETWEEN_LOOKS)
    def look() -> None:
        state = None
        with suppress(NasError):  # it is being made
            state = live.snapshot(begun.study, place).study.attributes.search
        code = begun.process.poll()
        if code is not None or (state is not None and state.live):
            del st.session_state["launch"]
            st.session_state["steering refused"] = begun.failed
            if not code:
                selection.choose(study=begun.study)
            st.rerun()
        st.caption(f"{messages.literal(begun.study)} is being started …")

    look()


def _running(seen: live.Snapshot, search: SearchState) -> None:
    study, request = seen.study, search.request
    left, right = st.columns([1.3, 1])
    if request is None:
        _button(left, "Pause", "pause", steering.pause, study, help="Start no more trainings for now.", shortcut="P")
    else:
        _button(left, "Resume", "play_arrow", steering.resume, study, help="Let the search go on.", shortcut="P")
    if request in (None, Request.PAUSE):
        _button(right, "Stop", "stop", steering.stop, study, help="End once the running trainings have ended.")
    else:
        words = "End the running trainings after their current epoch; a resumed search trains them on."
        is_off = request == Request.STOP_NOW
        _button(right, "Stop now", "stop", partial(steering.stop, now=True), study, help=words, disabled=is_off)
    with st.popover("More", width="stretch"):
        added = st.number_input("Trainings to add", 1, MOST_ADDED, 10)
        _button(st, "Add", "add", partial(steering.extend, trials=added), study)
        if search.workers:
            number = st.number_input("Workers", 1, steering.MOST_WORKERS, search.workers)
            change = partial(steering.set_workers, workers=number)
            words = "A training that loses its worker is trained on later by another."
            _button(st, "Change", "group", change, study, help=words, disabled=number == search.workers)
        if seen.running:
            _end_one(study, [record.trial for record in seen.running])


def _end_one(study: Study, running: list[int]) -> None:
    """Offers to end a running training; the chosen one stays chosen when it has ended, so that no other is hit."""
    key = f"training of {study.name} to end"
    chosen = st.session_state.get(key, running[0])
    trial = st.selectbox(
        "A running training",
        sorted({*running, chosen}),
        key=key,
        format_func=lambda number: f"{number}" if number in running else f"{number}, ended",
    )
    words = "The search goes on without it, and does not train it again."
    end, is_off = partial(steering.end_training, trial=trial), trial not in running
    _button(st, "End it", "cancel", end, study, help=words, disabled=is_off)


def _ended(place: live.Place, seen: live.Snapshot, search: SearchState) -> None:
    if not seen.study.config.has_source:
        st.caption("Its images or its training are a Python program's, which alone can search on.")
        return
    with st.popover("Search on", width="stretch"):
        left = max(0, search.trials - int(seen.spent))
        more = st.number_input("More trainings", 1, MOST_ADDED, left or 10)
        options = ["--trials", str(int(seen.spent) + more), "--workers", "auto"]
        st.code(shlex.join(launch.command(place, seen.study.name, options)), language="bash", wrap_lines=True)
        st.button("Start", icon=":material/play_arrow:", on_click=_start, args=(place, seen.study.name, options))


def _start(place: live.Place, study: str, options: list[str]) -> None:
    try:
        st.session_state["launch"] = launch.start(place, study, options)
    except NasError as error:
        st.session_state["steering refused"] = str(error)


def _button(place: Any, title: str, icon: str, act: Callable[[Study], Any], study: Study, **options: Any) -> None:
    """Shows a button that does something to the study; what was refused is shown after the rerun."""
    place.button(title, icon=f":material/{icon}:", width="stretch", on_click=_done, args=(act, study), **options)


def _done(act: Callable[[Study], Any], study: Study) -> None:
    try:
        act(study)
    except NasError as error:
        st.session_state["steering refused"] = str(error)
