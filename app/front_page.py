"""The Front page: accuracy against cost, the recommended trial within a budget, and the clicked trial."""

import chart
import confirm_panel
import live
import messages
import panel
import selection
import streamlit as st

from nas.analysis.cost_metrics import CostMetric, default_cost_metric, round_steps
from nas.analysis.doubts import baseline_sentences, best_baseline, undertrained_sentence
from nas.analysis.figures.confirmation import add_confirmed
from nas.analysis.figures.front import front_figure
from nas.analysis.gain import gain_sentences
from nas.analysis.selection import Recommendation
from nas.study.records import TrialRecord, front_of, knee_of
from nas.units import percent_text

HELP = (
    "Each point is a trained network. The staircase is the front: the networks that no other one beats on both "
    "accuracy and cost. The star is its knee, beyond which accuracy rises more slowly with each doubling. Bars are "
    "95 % intervals; in the light band a network may be as good as the front, and the difference chance. "
    "Click a point to open it; draw a lasso around several to compare them."
)
ESTIMATED = (
    "Accuracies are estimates by a model of all trainings, as single measurements are partly luck; point at one to see "
    "both."
)
CONFIRMED = (
    "Diamonds are confirmed: means over several trainings from scratch, with a bar of one standard deviation; a dotted "
    "line leads to the score that the search had given. Full ones are on the front of the means."
)


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if messages.too_early(seen):
        return
    axis = selection.axis_for(seen.records, seen.axes)
    _headline(seen, axis)
    left, right = st.columns([1.6, 1], gap="medium")
    with left:
        logarithmic = _controls(seen, axis)
        budget = selection.current().budget
        picked = seen.shared(panel.picked, axis.key, budget)
        open_trial = seen.find(selection.current().trial)
        figure = seen.shared(_figure, axis.key, budget, logarithmic, _selected(open_trial))
        words = f"accuracy against {axis.noun} of {len(seen.records)} trials; {len(seen.front)} are on the front"
        chart.chart(figure, "front", alt=words, on_pick=selection.choose_trials)
        said = {HELP: True, ESTIMATED: seen.front[0].estimate if seen.front else None, CONFIRMED: seen.confirmed}
        st.caption(" ".join(words for words, applies in said.items() if applies))
        if seen.confirmed is not None:
            for sentence in filter(None, [seen.confirmed.optimism_text(), seen.confirmed.unfinished_text()]):
                st.text(sentence)
        sentences = [*baseline_sentences(seen.study, seen.front), *seen.shared(_gained)]
        for sentence in [*sentences, *filter(None, [undertrained_sentence(seen.study)])]:
            st.text(sentence)
        confirm_panel.show(seen)
    with right:
        _beside(seen, picked, open_trial)


def make_ahead(seen: live.Snapshot) -> None:
    """Makes what the page shows at first, before anybody opens it; a study without a trained network has nothing."""
    if not seen.front:
        return
    axis = default_cost_metric(seen.records)
    seen.shared(_figure, axis.key, None, True, ())
    seen.shared(panel.picked, axis.key, None)
    seen.shared(_gained)


def _gained(seen: live.Snapshot) -> list[str]:
    return gain_sentences(seen.records, seen.study.config)


def _figure(
    seen: live.Snapshot, axis_key: str, budget: float | None, logarithmic: bool, selected: tuple[int, ...]
) -> chart.Ready:
    axis = seen.axes[axis_key]
    figure = front_figure(
        seen.records,
        axis=axis,
        images=seen.images,
        log=logarithmic,
        selected=selected,
        budget=budget,
        baseline=best_baseline(seen.study),
    )
    if seen.confirmed is not None:
        add_confirmed(figure, seen.confirmed.members, axis=axis)
    return chart.ready(figure)


def _front(seen: live.Snapshot, axis_key: str) -> list[TrialRecord]:
    return front_of(seen.records, by=seen.axes[axis_key].value)


def _range(seen: live.Snapshot, axis_key: str) -> tuple[float, float]:
    values = [value for record in seen.records if (value := seen.axes[axis_key].value(record)) is not None]
    return min(values), max(values)


def _headline(seen: live.Snapshot, axis: CostMetric) -> None:
    front = seen.shared(_front, axis.key)
    knee = knee_of(front, by=axis.value)
    at = f"{percent_text(knee.quality)} · {axis.write(axis.value(knee) or 0.0)}" if knee else "–"
    panel.metrics(
        {
            "trainings": f"{seen.finished:,}",
            "on the front": str(len(front)),
            **_best(seen, axis),
            "knee of the front" if seen.confirmed is None else "knee, in the search": at,
        }
    )


def _best(seen: live.Snapshot, axis: CostMetric) -> dict[str, str]:
    """Returns the accuracy of what is recommended without a budget."""
    if (picked := seen.shared(panel.picked, axis.key, None)) is None:
        return {}
    best = picked.pick.record
    member = seen.confirmed.of(best.architecture) if seen.confirmed is not None else None
    return (
        {"best accuracy, confirmed": member.validation.text()}
        if member
        else {"best accuracy": percent_text(best.quality)}
    )


def _controls(seen: live.Snapshot, axis: CostMetric) -> bool:
    """Shows the controls for axis, scale and budget; returns whether the scale is logarithmic."""
    axes, columns = seen.axes, st.columns([1.1, 0.8, 1.6], vertical_alignment="bottom")
    selection.show_in("axis", axis.key)
    columns[0].selectbox(
        "Cost",
        list(axes),
        key="axis",
        format_func=lambda key: axes[key].name,
        on_change=lambda: selection.choose(axis=st.session_state["axis"], budget=None),
    )
    scale = columns[1].segmented_control("Scale", ["log", "linear"], default="log", required=True, key="scale")
    least, most = seen.shared(_range, axis.key)
    if least <= 0:
        columns[2].caption("Some values are not positive: no log scale, and no budget.")
        return False
    budget = selection.current().budget
    steps = {*round_steps(least, most), *([budget] if budget is not None else [])}
    selection.show_in("budget", budget)
    noun = messages.literal(axis.noun)  # it may be the name of a measure of a custom training
    columns[2].select_slider(
        "Budget",
        [*sorted(steps), None],
        key="budget",
        format_func=lambda step: f"{axis.write(step)} {noun}" if step is not None else "no limit",
        on_change=lambda: selection.choose(budget=st.session_state["budget"], trial=None),
    )
    return scale != "linear"


def _beside(seen: live.Snapshot, picked: Recommendation | None, open_trial: TrialRecord | None) -> None:
    """Shows the clicked trial, or else the recommended one with the reasons for it."""
    if open_trial is None and picked is None:
        messages.calm("Nothing is that small", "No trained network keeps this budget. Move the slider to the right.")
        return
    record = open_trial or (seen.find(picked.pick.record.trial) if picked else None)
    assert record is not None  # one of the two exists
    title, back = st.columns([3, 1.2], vertical_alignment="center")
    title.subheader(f"Trial {record.trial}" if open_trial else f"The pick: trial {record.trial}", anchor=False)
    if open_trial is not None:
        back.button(
            "Close", on_click=selection.choose, kwargs={"trial": None}, help="Back to the pick.", type="tertiary"
        )
    st.text(record.name)
    if open_trial is None and picked is not None:
        for sentence in picked.sentences:
            st.text(sentence)  # as text: it may contain names of custom measures
    panel.facts(seen, record)
    buttons = [*st.columns(2), *st.columns(2)]  # four in a row have no room for their words
    if buttons[0].button("Details", help="The page Architecture.", shortcut="D", width="stretch"):
        selection.choose(trial=record.trial)
        selection.go_to("architecture")
    if buttons[3].button("Fork", help="Starts a design of your own from it.", shortcut="F", width="stretch"):
        selection.choose(trial=record.trial, design=None)
        selection.go_to("design")
    compared = selection.current().compared
    within = record.trial in compared
    buttons[1].button(
        "Compared" if within else "Compare",
        disabled=within or len(compared) >= selection.MOST_COMPARED,
        on_click=selection.choose,
        kwargs={"compared": (*compared, record.trial)},
        help="Adds it to the page Compare, which takes five.",
        width="stretch",
    )
    buttons[2].download_button(
        "YAML", record.architecture.to_yaml(), f"trial-{record.trial}.yaml", on_click="ignore", width="stretch"
    )
    panel.drawing(seen, record, "beside")
    panel.curve(seen, [record], "beside-curve")


def _selected(record: TrialRecord | None) -> tuple[int, ...]:
    return (record.trial,) if record is not None else selection.current().compared
