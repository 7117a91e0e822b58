"""The dashboard: the front of a study and its trials. It reads; what it shows is computed in `nas`."""

import sys
from typing import Any

import pandas as pd
import streamlit as st

from nas.errors import NasError
from nas.figures import front_figure, front_numbers
from nas.records import COMPLETE, TrialRecord
from nas.study import Study, list_studies
from nas.units import count_text, percent_text

REFRESH_SECONDS = 3


def main(runs: str) -> None:
    """One page: choose a study, see its front, open a trial."""
    st.set_page_config(page_title="nas", layout="wide")
    names = list_studies(runs)
    if not names:
        st.info(f"There is no study in `{runs}` yet. In a terminal, `nas search` makes one; then reload this page.")
        st.stop()
    asked = st.query_params.get("study")
    name = st.sidebar.selectbox("Study", names, index=names.index(asked) if asked in names else 0)
    if st.query_params.get("study") != name:
        st.session_state.pop("trial", None)
        st.query_params["study"] = name
    show_study(name, runs)


@st.fragment(run_every=REFRESH_SECONDS)
def show_study(name: str, runs: str) -> None:
    """The live part of the page."""
    try:
        records = Study.open(name, runs).records()
    except NasError as error:
        st.warning(str(error))
        return
    if not any(record.state == COMPLETE for record in records):
        st.info("No trial is complete yet; the first one appears here by itself.")
        return
    numbers = front_numbers(records)
    best = numbers.front[-1]
    columns = st.columns(4)
    columns[0].metric("trials finished", sum(record.finished for record in records))
    columns[1].metric("on the front", len(numbers.front))
    columns[2].metric("best accuracy", percent_text(best.accuracy or 0))
    columns[3].metric("its FLOPs", count_text(best.flops))
    event = st.plotly_chart(front_figure(records), key="front", on_select="rerun", selection_mode="points")
    st.caption(
        "FLOPs are multiply–adds per image; accuracy is on the validation images. Click a point to see its trial."
    )
    chosen = chosen_trial(event, records) or numbers.knee or best
    show_trial(chosen)
    st.subheader("Trials")
    st.dataframe(trials_frame(records), hide_index=True)


def chosen_trial(event: Any, records: list[TrialRecord]) -> TrialRecord | None:
    """The trial of the point that was clicked last."""
    points = event["selection"]["points"] if event else []
    if points:  # a redrawn chart forgets what was selected, so it is kept here
        st.session_state["trial"] = points[0].get("customdata")
    return next((record for record in records if record.trial == st.session_state.get("trial")), None)


def show_trial(record: TrialRecord) -> None:
    """Its architecture and its learning curve side by side."""
    st.subheader(f"Trial {record.trial}")
    st.text(f"{record.name} · {percent_text(record.accuracy or 0)} · {count_text(record.flops)} FLOPs")
    left, right = st.columns(2)
    stages = [{"stage": number, **vars(stage)} for number, stage in enumerate(record.architecture.stages, start=1)]
    left.dataframe(pd.DataFrame(stages), hide_index=True)
    left.download_button("architecture.yaml", record.architecture.to_yaml(), "architecture.yaml")
    if record.curve:
        curve = pd.DataFrame({"validation accuracy": record.curve}, index=range(1, len(record.curve) + 1))
        right.line_chart(curve, x_label="epoch", height=220)


def trials_frame(records: list[TrialRecord]) -> pd.DataFrame:
    """One row for each trial."""
    columns = ("trial", "state", "name", "accuracy", "flops", "params", "seconds", "epochs", "reason")
    return pd.DataFrame([{column: record.to_dict()[column] for column in columns} for record in records])


main(sys.argv[1] if len(sys.argv) > 1 else "runs")
