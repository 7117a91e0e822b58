"""The Compare page: two to five trials side by side, with their differences, costs and accuracies."""

import chart
import live
import messages
import pandas as pd
import panel
import selection
import streamlit as st

from nas.analysis.comparison import comparison_rows, difference, verdict
from nas.analysis.figures.costs import ratio_figure
from nas.analysis.mistakes import paired_sentence
from nas.errors import NasError
from nas.study.artifacts import predictions_of
from nas.study.records import TrialRecord


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if messages.too_early(seen, needed="two trained networks"):
        return
    compared = [trial for trial in selection.current().compared if seen.find(trial) is not None]
    selection.show_in("compared", compared, [panel.label(seen, trial) for trial in compared])
    st.multiselect(
        "Trials",
        panel.offered(seen, compared, only=lambda record: record.trained or record.trial in compared),
        key="compared",
        format_func=lambda number: panel.label(seen, number),
        max_selections=selection.MOST_COMPARED,
        placeholder="Choose two to five",
        on_change=lambda: selection.choose(compared=tuple(map(panel.number_of, st.session_state["compared"]))),
    )
    records = [record for trial in compared if (record := seen.find(trial)) is not None]
    if len(records) < 2:
        messages.calm(
            "Choose two to five trials",
            "Choose them above, mark rows on the page Trials, or draw a lasso around points of the front.",
        )
        front = [member.trial for member in seen.front]
        if len(front) > 1:
            few = tuple(dict.fromkeys([front[0], front[len(front) // 2], front[-1]]))
            st.button("Compare the front's ends and middle", on_click=selection.choose, kwargs={"compared": few})
        return
    for other in records[1:]:
        st.text(verdict(records[0], other, seen.images))
        if sentence := seen.shared(_paired, records[0].trial, other.trial):
            st.caption(sentence)
    _table(seen, records)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Learning curves**")
        panel.curve(seen, records, "compared-curves")
    with right:
        st.markdown(f"**As multiples of trial {records[0].trial}**")
        chart.chart(
            chart.ready(ratio_figure(records)),
            "ratios",
            alt="costs and error as multiples of the first trial's",
            bare=True,
        )
    st.markdown("**Drawn**")
    for place, record in zip(st.columns(len(records)), records, strict=True):
        with place:
            st.caption(f"Trial {record.trial}")
            panel.drawing(seen, record, f"drawn-{record.trial}")


def _paired(seen: live.Snapshot, first: int, second: int) -> str | None:
    """Compares two trials image by image, if images have one label and the predictions of both were kept."""
    if seen.study.config.is_multi_label:
        return None
    try:
        one, other = (predictions_of(seen.study, seen.of(trial)) for trial in (first, second))
        return paired_sentence(one, other, names=(f"trial {first}", f"trial {second}"))
    except NasError:
        return None


def _table(seen: live.Snapshot, records: list[TrialRecord]) -> None:
    only = st.toggle("Only what differs", value=True, key="only what differs")
    rows = [row for row in comparison_rows(records, images=seen.images) if row.differs or not only]
    frame = pd.DataFrame(
        [row.values for row in rows],
        index=[row.name for row in rows],
        columns=[f"trial {record.trial}" for record in records],
    )
    st.dataframe(frame, height="content")
    if len(records) == 2:
        changes = difference(*records)
        st.code("\n".join(changes) or "the same architecture", language=None)
