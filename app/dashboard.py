"""The dashboard's frame: study and page selection, and the search's status. All numbers come from `nas`."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import architecture_page
import compare_page
import design_page
import export_page
import front_page
import insights_page
import live
import messages
import new_page
import progress_page
import search_fields
import selection
import steering_panel
import streamlit as st
import studies_page
import trials_page

from nas.errors import NasError
from nas.study.search_state import Request, SearchStatus
from nas.units import duration_text, progress_text

PAGES = {
    "front": ("Front", ":material/show_chart:", front_page.show),
    "trials": ("Trials", ":material/table_rows:", trials_page.show),
    "architecture": ("Architecture", ":material/account_tree:", architecture_page.show),
    "design": ("Design", ":material/edit:", design_page.show),
    "compare": ("Compare", ":material/compare_arrows:", compare_page.show),
    "progress": ("Progress", ":material/timeline:", progress_page.show),
    "insights": ("Insights", ":material/lightbulb:", insights_page.show),
    "export": ("Export", ":material/deployed_code_update:", export_page.show),
}
REQUESTS = {
    Request.PAUSE: "then it pauses",
    Request.STOP: "then it ends",
    Request.STOP_NOW: "ends after this epoch",
}
STYLE = """<style>
.stMainBlockContainer { padding: 3.9rem 2.5rem 2rem; }
[data-testid="stMetricValue"] { font-size: 1.45rem; }
[data-testid="stMetricLabel"] p { font-size: 0.82rem; }
</style>"""


def main() -> None:
    """Reads the selection and the study, then runs the page."""
    began = time.monotonic()
    st.set_page_config(page_title="nas", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
    st.html(STYLE)
    place = live.place_from(sys.argv)
    selection.read_url()
    names: list[str] = []
    seen: live.Snapshot | None = None
    try:
        names = live.names(place)
        asked = selection.current().study or next(iter(names), None)
        selection.choose(study=asked)
        problem = partial(messages.no_study, place, names, asked)
        if asked in names:
            seen = live.snapshot(str(asked), place)
            if selection.current().axis not in (None, *seen.axes):
                selection.choose(axis=None)
    except NasError as error:
        problem = partial(messages.calm, "The study cannot be read", str(error))
    pages = {
        key: st.Page(partial(show, seen) if seen else problem, title=title, icon=icon, url_path=key, default=not index)
        for index, (key, (title, icon, show)) in enumerate(PAGES.items())
    }
    pages["studies"] = st.Page(
        partial(studies_page.show, place), title="Studies", icon=":material/grid_view:", url_path="studies"
    )
    pages["new"] = st.Page(
        partial(new_page.show, place, seen), title="New search", icon=":material/add_circle:", url_path="new"
    )
    st.session_state["pages"] = pages
    page = st.navigation(list(pages.values()), position="hidden")
    with st.sidebar:
        sidebar(names, seen, pages)
        steering_panel.show(place, seen)
    selection.write_url()
    if page is not pages["new"]:
        search_fields.keep()
    page.run()
    live.watch(seen, selection.current().study, place, began=began)


def sidebar(names: list[str], seen: live.Snapshot | None, pages: dict[str, Any]) -> None:
    """Shows the page links, the study selection, and the status of its search."""
    for page in pages.values():  # Streamlit's own navigation would drop the selection from the URL
        st.page_link(page, query_params=selection.current().to_query())
    if names:
        chosen = selection.current().study
        known = chosen in names
        if known:
            selection.show_in("study", chosen)
        st.selectbox(
            "Study",
            names,
            key="study",
            index=0 if known else None,
            placeholder="Choose a study",
            on_change=lambda: selection.choose(study=st.session_state["study"]),
        )
    if seen is None:
        return
    config = seen.study.config
    if seen.search is not None:
        total = max(seen.search.trials, int(seen.spent))  # the last training may exceed the budget
        st.progress(min(1.0, seen.spent / total), text=progress_text(seen.finished, seen.spent, total))
    with st.container():  # one place, however many lines: what moves, as the buttons below, would lose clicks and close
        for line in standing(seen):
            st.caption(line)
    if config.metric_note:
        st.caption(config.metric_note)
    source = str(config.data.get("source", ""))
    source = {"evaluate": "one's own training"}.get(source, source)
    st.text(f"{config.space.name} on {source.rstrip('/').rsplit('/', 1)[-1]}")
    if "train_images" in config.data:
        images = f"{config.data['train_images']:,} training and {config.validation_images:,} validation images"
        if config.folds > 1:
            images = f"{config.validation_images:,} images in {config.folds} folds"
        st.caption(f"{images}, {config.space.recipe.epochs} epochs each")


def standing(seen: live.Snapshot) -> list[str]:
    """Returns the search's status in one or two lines of trusted text."""
    if seen.search is None:
        return []
    if not seen.live:
        ended = {
            SearchStatus.COMPLETE: "The search is complete.",
            SearchStatus.TIMEOUT: "The search has ended: its time was up.",
            SearchStatus.EXHAUSTED: "The search has ended: the space holds no more.",
            SearchStatus.SETTLED: "The search has ended: its front hardly grew any more.",
            SearchStatus.STOPPED: "The search was stopped by a person.",
            SearchStatus.INTERRUPTED: "The search ended before its time: it was interrupted, or failed.",
            SearchStatus.RUNNING: "The search has ended without a message, perhaps killed.",
        }
        return [ended[seen.search.state]]
    left = seen.seconds_left
    now = ", ".join(f"trial {record.trial} (epoch {len(record.curve)})" for record in seen.running)
    idle = ":orange[●] paused" if seen.search.request == Request.PAUSE else ":green[●] searching"
    lines = [f":green[●] training {now}" if now else idle]
    if seen.search.request is not None:
        lines += [REQUESTS[seen.search.request]] if now else []
    elif left is not None:
        lines += [f"about {duration_text(left)} left"]
    return lines


main()
