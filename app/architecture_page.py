"""The Architecture page: one trial with its drawing, cost per part, learning curve and confusion matrix."""

import chart
import live
import numpy as np
import panel
import selection
import streamlit as st

from nas.analysis.comparison import difference, verdict
from nas.analysis.figures.costs import cost_figure
from nas.analysis.figures.curves import confusion_figure
from nas.errors import NasError
from nas.study.artifacts import load_confusion
from nas.study.records import TrialRecord, TrialState

MOST_ROWS = 12


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
        _confusion(seen, record)


def _downloads(seen: live.Snapshot, record: TrialRecord) -> None:
    text = record.architecture.to_yaml()
    with st.expander("architecture.yaml"):
        st.code(text, language="yaml")
    columns = st.columns(3)
    columns[0].download_button("Download the YAML", text, "architecture.yaml", on_click="ignore", width="stretch")
    if columns[1].button("Fork", help="Starts a design of your own from it.", width="stretch"):
        selection.choose(trial=record.trial, design=None)
        selection.go_to("design")
    if columns[2].button("Export with weights", disabled=not record.trained, width="stretch"):
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


def _confusion(seen: live.Snapshot, record: TrialRecord) -> None:
    st.markdown("**What it takes for what**")
    try:
        matrix = load_confusion(seen.study.confusion_file(record.trial))
    except NasError as error:
        st.text(str(error))
        return
    classes = seen.study.config.classes
    if matrix is None or len(matrix) != len(classes):
        st.caption("No confusion matrix was recorded for this trial.")
        return
    figure = confusion_figure(matrix, classes)
    chart.chart(chart.ready(figure), "confusion", alt=f"confusion matrix over {len(classes)} classes", bare=True)
    shares = np.diag(matrix) / np.maximum(1, matrix.sum(axis=1))
    st.dataframe(
        {"class": list(classes), "images": matrix.sum(axis=1), "accuracy": shares},
        column_config={
            "accuracy": st.column_config.ProgressColumn("accuracy", format="percent", min_value=0, max_value=1)
        },
        height="content" if len(classes) <= MOST_ROWS else 420,
    )
