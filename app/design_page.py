"""The Design page: a network of one's own, what it costs, what the study expects of it, and its training."""

import shlex

import access
import chart
import design_fields
import live
import messages
import panel
import selection
import streamlit as st

from nas.analysis.cost_metrics import FLOPS, LATENCY
from nas.analysis.figures.architecture import drawing_figure
from nas.analysis.figures.front import front_figure
from nas.analysis.figures.prediction import add_design
from nas.analysis.prediction import Prediction, Variation, predict, variations
from nas.architectures.edits import read_edits
from nas.errors import NasError
from nas.study.records import TrialRecord
from nas.units import count_text, memory_text
from nas.workflows.enqueue import enqueue

HELP = (
    "Start from a trial and change its parts. A value that the search space does not have can be typed in and gets an "
    "asterisk; the network then has costs, but nothing is expected of it. Groups must divide the width (mid)."
)
AROUND = "Small rings are one step away in one field: the table lists them."


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if not seen.records:
        st.info("There is no trial yet to start from; the first one appears here by itself.")
        return
    left, right = st.columns([1.15, 1.1], gap="large")
    with left:
        start = panel.choose_trial(seen, "Start from", "start")
        architecture = design_fields.show(seen, start)
        st.caption(HELP)
    found = predict(seen.study, architecture)
    with right:
        _outcome(seen, start, found)
    around = variations(seen.study, architecture)
    with right:
        _place(seen, found, around)
    with left:
        words = f"the network {architecture.name}: its layers from stem to classifier, groups as groups"
        chart.chart(chart.ready(drawing_figure(architecture)), "design-drawing", alt=words, bare=True)
    _steps(found, around)


def _outcome(seen: live.Snapshot, start: TrialRecord, found: Prediction) -> None:
    """Shows the costs and the expected accuracy, and what can be done with the network."""
    st.subheader(found.architecture.name, anchor=False)
    if refused := st.session_state.pop("design refused", None):
        st.warning(messages.literal(refused))
    panel.metrics(
        {
            "expected accuracy": found.estimate.text() if found.estimate else "–",
            "FLOPs": count_text(found.cost.flops),
            "parameters": count_text(found.cost.params),
            "activations": count_text(found.cost.activations),
            "peak memory": memory_text(found.peak_memory),
            **({"latency": f"{LATENCY.write(found.latency)} ms"} if found.latency is not None else {}),
        }
    )
    for sentence in found.sentences():
        st.text(sentence)
    buttons = st.columns(2)
    if access.may_act() and buttons[0].button(
        "Queue for training",
        type="primary",
        disabled=bool(found.misfits) or (found.trained is not None and found.trained.short_epochs is None),
        help="The running search, or the next one, trains it before anything else, in full.",
        shortcut="Q",
        width="stretch",
    ):
        try:
            enqueue(seen.study, found.architecture)
            st.success("Queued: the running search, or the next one, trains it first.", icon=":material/check:")
        except NasError as error:
            messages.calm("It was not queued", str(error))
    buttons[1].download_button(
        "YAML", found.architecture.to_yaml(), "architecture.yaml", on_click="ignore", width="stretch"
    )
    sets = [part for edit in read_edits(selection.current().design) for part in ("--set", edit)]
    command = ["nas", "predict", seen.study.name, "--like", str(start.trial), *sets, *seen.place.options]
    with st.expander("The same in a terminal and in Python"):
        st.code(shlex.join(command), language="bash", wrap_lines=True)
        st.code(f"import nas\n\nnas.Architecture.from_dict({found.architecture.to_dict()})", wrap_lines=True)


def _place(seen: live.Snapshot, found: Prediction, around: list[Variation]) -> None:
    """Shows the network beside the front, with those that are one step away."""
    if not seen.front:
        return
    figure = front_figure(seen.records, axis=FLOPS, images=seen.images)
    add_design(figure, found, around)
    words = f"the design {found.architecture.name} beside the front of {len(seen.front)} networks"
    chart.chart(chart.ready(figure), "design-front", alt=words, bare=True)
    if around:
        st.caption(AROUND)


def _steps(found: Prediction, around: list[Variation]) -> None:
    """Lists the networks that are one step away, the most promising first."""
    if not around or found.estimate is None:
        return
    st.markdown("**One step away**")
    best = sorted(around, key=lambda each: -each.estimate.accuracy)
    st.dataframe(
        {
            "change": [each.text() for each in best],
            "expected, points": [
                round(100 * (each.estimate.accuracy - found.estimate.accuracy), 1) + 0.0
                for each in best  # no -0.0
            ],
            "FLOPs": [each.cost.flops / found.cost.flops for each in best],
            "parameters": [each.cost.params / found.cost.params for each in best],
        },
        column_config={
            "expected, points": st.column_config.NumberColumn(format="%+.1f"),
            "FLOPs": st.column_config.NumberColumn(format="%.2f ×"),
            "parameters": st.column_config.NumberColumn(format="%.2f ×"),
        },
        hide_index=True,
    )
