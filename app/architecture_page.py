"""The Architecture page: one trial with its drawing, cost per part, learning curve and mistakes."""

import chart
import live
import mistakes_panel
import panel
import selection
import streamlit as st

from nas.analysis.comparison import difference, verdict
from nas.analysis.figures.costs import cost_figure
from nas.study.records import TrialRecord, TrialState


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if not seen.records:
        st.info("There is no trial yet; the first one appears here by itself.")
        return
    record = panel.choose_trial(seen, "Trial", "open")
    st.subheader(f"Trial {record.trial} · {record.name}", anchor=False)
    left, right = st.columns([1, 1.15], gap="large")
    with left:
        panel.facts(seen, record)
        panel.drawing(seen, record, "drawing")
        _downloads(seen, record)
        st.markdown("**How it learned**")
        panel.curve(seen, [record], "curve")
        _twin(seen, record)
    with right:
        st.markdown("**What each part costs**")
        words = f"FLOPs and parameters of trial {record.trial} for each part, by kind of layer"
        chart.chart(seen.shared(_cost, record.trial), "cost", alt=words, bare=True)
        mistakes_panel.show(seen, record)


def _downloads(seen: live.Snapshot, record: TrialRecord) -> None:
    text = record.architecture.to_yaml()
    with st.expander("architecture.yaml"):
        st.code(text, language="yaml")
    columns = st.columns(3)
    columns[0].download_button("YAML", text, "architecture.yaml", on_click="ignore", width="stretch")
    if columns[1].button("Fork", help="Starts a design of your own from it.", shortcut="F", width="stretch"):
        selection.choose(trial=record.trial, design=None)
        selection.go_to("design")
    if columns[2].button("Export", disabled=not record.trained, width="stretch"):
        selection.choose(trial=record.trial)
        selection.go_to("export")


def _twin(seen: live.Snapshot, record: TrialRecord) -> None:
    """Compares the trial with the same network without groups, if that was trained."""
    twin = seen.shared(_find_twin, record.trial)
    if twin is not None:
        st.markdown("**Without groups**")
        st.caption(verdict(record, twin, seen.images))


def _find_twin(seen: live.Snapshot, trial: int) -> TrialRecord | None:
    record = seen.of(trial)
    dense = (
        other
        for other in seen.records
        if other.state == record.state == TrialState.COMPLETE
        and other.trial != record.trial
        and all(stage.groups == 1 for stage in other.architecture.stages)
        and all(change.split(":")[0].endswith("groups") for change in difference(record, other))
    )
    return next(dense, None)


def _cost(seen: live.Snapshot, trial: int) -> chart.Ready:
    return chart.ready(cost_figure(seen.of(trial).architecture))
