"""Trainings that follow a search, such as `nas confirm`: started in processes of their own, and watched to the end."""

import shlex
from collections.abc import Callable
from typing import NamedTuple

import access
import launch
import messages
import streamlit as st

from nas.errors import NasError
from nas.study.study import Study
from nas.workflows import steering

REFUSED = "follow-up refused"
SECONDS_BETWEEN_LOOKS = 1.0


class Underway(NamedTuple):
    """Trainings that are running: the study that holds them, and how far they are, as a share and in words."""

    holder: Study
    share: float
    words: str


def show(
    study: Study,
    title: str,
    underway: Callable[[], Underway | None],
    *,
    now: Underway | None,
    key: str,
    offer: Callable[[], list[str]] | None,
) -> None:
    """Shows how far the trainings are, while they run; else what was refused, and what starts them.

    Args:
        study: the search that they follow.
        title: what the button says.
        underway: looks for the trainings.
        now: what it found just now.
        key: names what is trained among all that follows the study.
        offer: shows the fields of the command and returns it. None: there is nothing to start.
    """
    key = f"{key} of {study.name}"
    begun: launch.Launch | None = st.session_state.get(key)
    if begun is not None or now is not None:
        _watch(underway, begun, key=key)
        return
    if refused := st.session_state.pop(REFUSED, None):
        messages.calm("It did not go on", refused)
    if offer is None:
        return
    command = offer()
    if access.may_act():
        st.button(title, icon=":material/model_training:", on_click=_start, args=(command, study, key))
    st.code(shlex.join(command), language="bash", wrap_lines=True)


def _start(command: list[str], study: Study, key: str) -> None:
    try:
        st.session_state[key] = launch.run(command, study.name, log=study.folder / f"{command[1]}.log")
    except NasError as error:
        st.session_state[REFUSED] = str(error)


def _watch(underway: Callable[[], Underway | None], begun: launch.Launch | None, *, key: str) -> None:
    """Shows how far the trainings are until they have ended; then reruns the page."""

    @st.fragment(run_every=SECONDS_BETWEEN_LOOKS)
    def look() -> None:
        now = underway()
        if now is not None:
            st.progress(min(1.0, now.share), now.words)
            if access.may_act():
                st.button(
                    "Stop training",
                    icon=":material/stop:",
                    help="After the current epoch; it can be resumed.",
                    on_click=_stop,
                    args=(now.holder, key),
                )
        elif begun is not None and begun.process.poll() is None:
            st.caption("The training is being started …")
        else:
            if st.session_state.pop(key, None) is not None and begun is not None and begun.failed:
                st.session_state[REFUSED] = begun.failed
            st.rerun()

    look()


def _stop(holder: Study, key: str) -> None:
    try:
        steering.stop(holder, now=True)
        st.session_state.pop(key, None)  # how the command ends is no news to the person who ended it
    except NasError as error:
        st.session_state[REFUSED] = str(error)
