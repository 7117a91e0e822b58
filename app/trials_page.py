"""The Trials page: a table of all trials to sort, filter and search; marked rows can be opened and compared."""

from functools import partial
from typing import Any, NamedTuple

import live
import numpy as np
import pandas as pd
import selection
import streamlit as st

from nas.analysis.trial_table import csv_text, trial_rows
from nas.units import count_text

MOST_ROWS, MOST_STEPS = 15, 40
COLUMNS = {
    "front": st.column_config.TextColumn(
        "front", width="small", help="No other trial beats it on both accuracy and FLOPs."
    ),
    "accuracy": st.column_config.NumberColumn("accuracy", format="percent", help="Measured on the validation images."),
    "estimate": st.column_config.NumberColumn(
        "estimate", format="percent", help="Weighed with all other trainings by the search's model."
    ),
    "error": st.column_config.NumberColumn("± error", format="percent", help="The standard error of the estimate."),
    "flops": st.column_config.NumberColumn("FLOPs", format="compact", help="multiply–adds for one image"),
    "params": st.column_config.NumberColumn("parameters", format="compact"),
    "activations": st.column_config.NumberColumn("activations", format="compact"),
    "seconds": st.column_config.NumberColumn("seconds", format="%.1f"),
    "reference": st.column_config.TextColumn(
        "drawn by hand",
        width="small",
        help="The family of a network that is trained for comparison, or: queued by a person.",
    ),
    "name": st.column_config.TextColumn("architecture", help="depths, then groups × width per group of each stage"),
}


class _Table(NamedTuple):
    """All trials, the numbers of groups that occur, and the number of blocks of each trial."""

    frame: pd.DataFrame
    groups: list[int]
    blocks: "pd.Series[int]"


def _table(seen: live.Snapshot) -> _Table:
    frame = pd.DataFrame(trial_rows(seen.records, seen.study.config.space))
    groups = {stage.groups for record in seen.records for stage in record.architecture.stages}
    blocks = [sum(stage.depth for stage in record.architecture.stages) for record in seen.records]
    return _Table(frame, sorted(groups), pd.Series(blocks, index=frame.index))


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if not seen.records:
        st.info("There is no trial yet; the first one appears here by itself.")
        return
    table = seen.shared(_table)
    frame = table.frame
    kept = frame[_filter(table, seen)]
    key = _key(seen.study.name, kept)
    marked = _marked(kept, key)
    columns = st.columns([2.2, 1, 1, 1], vertical_alignment="center")
    columns[0].caption(
        f"{len(kept):,} of {len(frame):,} trials. Click a name to sort; mark rows to open or compare them."
    )
    if columns[1].button("Open", disabled=len(marked) != 1, help="Mark one row.", shortcut="D", width="stretch"):
        selection.choose(trial=marked[0])
        selection.go_to("architecture")
    can_compare = 2 <= len(marked) <= selection.MOST_COMPARED
    if columns[2].button("Compare", disabled=not can_compare, help="Mark two to five rows.", width="stretch"):
        selection.choose(compared=tuple(marked))
        selection.go_to("compare")
    columns[3].download_button(
        "CSV",
        partial(_csv, seen, frozenset(kept["trial"])),
        f"{seen.study.name}.csv",
        "text/csv",
        on_click="ignore",
        help="The rows below.",
        width="stretch",
    )
    st.dataframe(
        kept.assign(
            front=kept["front"].map({True: "★", False: ""}),
            reason=kept["reason"].fillna(""),
            reference=kept["reference"].fillna(kept["by_person"].map({True: "by a person", False: ""})),
        ).drop(columns="by_person"),
        key=key,
        height="content" if len(kept) <= MOST_ROWS else 560,
        hide_index=True,
        column_config=COLUMNS,
        on_select="rerun",
        selection_mode="multi-row",
    )


def _csv(seen: live.Snapshot, kept: frozenset[int]) -> str:
    """Returns the rows of the `kept` trials as CSV."""
    records = seen.records
    return csv_text([row for row in trial_rows(records, seen.study.config.space) if row["trial"] in kept])


def _marked(kept: pd.DataFrame, key: str) -> list[int]:
    """Returns the trials whose rows are marked in the table, which is drawn later, from its session state."""
    numbers = kept["trial"].tolist()
    event = st.session_state.get(key)
    rows = event["selection"]["rows"] if event else []
    return [int(numbers[row]) for row in rows if row < len(numbers)]


def _filter(table: _Table, seen: live.Snapshot) -> "pd.Series[bool]":
    """Shows the filter widgets; returns the mask of the rows that pass them."""
    study, frame = seen.study.name, table.frame  # each study has its own filters
    first, second = st.columns([1.4, 1, 1]), st.columns(3)
    words = (
        first[0]
        .text_input("Search", key=f"words of {study}", placeholder="architecture, state, reason or number")
        .lower()
    )
    states = first[1].multiselect("State", ["front", *sorted(frame["state"].unique())], key=f"states of {study}")
    wanted = first[2].multiselect("Groups in any stage", table.groups, key=f"groups of {study}")
    keep = pd.Series(True, index=frame.index)
    if words:
        texts = (
            frame["trial"].astype(str) + " " + frame["name"] + " " + frame["state"] + " " + frame["reason"].fillna("")
        )
        keep &= texts.str.lower().str.contains(words, regex=False)
    if states:
        keep &= frame["state"].isin(states) | (frame["front"] & ("front" in states))
    if wanted:
        having = [any(stage.groups in wanted for stage in record.architecture.stages) for record in seen.records]
        keep &= pd.Series(having, index=frame.index)
    keep &= _between(second[0], "Accuracy", frame["accuracy"], lambda value: f"{value:.1%}", f"accuracy of {study}")
    keep &= _between(second[1], "FLOPs", frame["flops"], count_text, f"flops of {study}")
    return keep & _between(second[2], "Blocks", table.blocks, lambda value: f"{value:.0f}", f"blocks of {study}")


def _between(place: Any, name: str, values: "pd.Series[float]", write: Any, key: str) -> "pd.Series[bool]":
    """Shows a range slider over the values that occur; a handle at an end stays there and applies no limit."""
    known = sorted(values.dropna().unique().tolist())
    if len(known) < 2:
        return pd.Series(True, index=values.index)
    steps = (
        known if len(known) <= MOST_STEPS else [known[round(at)] for at in np.linspace(0, len(known) - 1, MOST_STEPS)]
    )
    ends = (steps[0], steps[-1])
    first, last = st.session_state.get(f"ends of {key}", ends)
    if key in st.session_state and (first, last) != ends:
        low, high = st.session_state[key]
        low = steps[0] if low <= first else min(steps, key=lambda step: abs(step - low))
        high = steps[-1] if high >= last else min(steps, key=lambda step: abs(step - high))
        st.session_state[key] = (low, high)
    st.session_state[f"ends of {key}"] = ends
    low, high = place.select_slider(name, steps, value=ends, format_func=write, key=key)
    keep = pd.Series(True, index=values.index)
    if low > steps[0]:
        keep &= values >= low
    if high < steps[-1]:
        keep &= values <= high
    return keep


def _key(study: str, kept: pd.DataFrame) -> str:
    """Returns the table's key, a new one unless rows were only appended, as marks are stored by row position."""
    numbers = kept["trial"].tolist()
    before: list[int] = st.session_state.get(f"listed of {study}", [])
    version = st.session_state.get(f"table of {study}", 0) + (numbers[: len(before)] != before)
    st.session_state[f"listed of {study}"], st.session_state[f"table of {study}"] = numbers, version
    return f"trials of {study}, {version}"
