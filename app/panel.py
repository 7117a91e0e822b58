"""Elements shared by several pages to show a trial: its metrics, drawing and learning curve."""

from collections.abc import Callable

import chart
import live
import selection
import streamlit as st

from nas.analysis.confirmation import Confirmation
from nas.analysis.cost_metrics import LATENCY
from nas.analysis.figures.architecture import drawing_figure
from nas.analysis.figures.curves import curves_figure
from nas.analysis.requirements import Limit
from nas.analysis.selection import Recommendation, choose_from
from nas.study.records import TrialRecord
from nas.units import count_text, counted, duration_text, epochs_text, percent_text

MOST_OFFERED = 300


def metrics(values: dict[str, str]) -> None:
    """Shows values below their names in a row that wraps in a narrow window."""
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        for name, value in values.items():
            st.metric(name, value, width="content")


def facts(seen: live.Snapshot, record: TrialRecord) -> None:
    """Shows a trial's accuracy with its confidence interval, measured latency, FLOPs, parameters and training time."""
    member = seen.confirmed.of(record.architecture) if seen.confirmed is not None else None
    score = record.estimate.text() if record.estimate else _measured(record)
    latency = LATENCY.value(record)
    metrics(
        {
            **({"confirmed": member.validation.text(), "in the search": score} if member else {"accuracy": score}),
            **({LATENCY.name: f"{LATENCY.write(latency)} ms"} if latency is not None else {}),
            "FLOPs": count_text(record.flops),
            "parameters": count_text(record.params),
            "training": duration_text(record.seconds) if record.seconds is not None else "–",
        }
    )
    if record.accuracy is not None and (caption := _precision(seen, record)):
        st.caption(f"In the search {caption}" if member else caption)
    if member is not None:
        _confirmed(member)
    if record.short_epochs is not None:
        st.text(f"A short training, of {record.short_epochs} of {epochs_text(seen.study.config.space.recipe.epochs)}.")
    if record.reason:
        st.text(f"{record.state}: {record.reason}")
    elif record.accuracy is None:
        st.text(f"{record.state}, {len(record.curve)} of {seen.study.config.space.recipe.epochs} epochs so far")
    if record.detail:
        st.code(record.detail.strip(), language=None, wrap_lines=True)


def _measured(record: TrialRecord) -> str:
    return percent_text(record.accuracy) if record.accuracy is not None else "–"


def _precision(seen: live.Snapshot, record: TrialRecord) -> str | None:
    """Says how precisely a trial's accuracy is known."""
    interval = record.interval(seen.images)
    if interval is None:
        return None
    between = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} % at 95 % confidence"
    images = seen.study.config.validation_images
    on = f" on {images:,} validation images" if images else ""
    if record.estimate is None:
        return f"{between},{on}"
    return f"{between}, by the model of all trainings; {_measured(record)} measured{on}"


def _confirmed(member: Confirmation) -> None:
    sentences = [f"Confirmed on {counted(len(member.trainings), 'seed')} of {epochs_text(member.epochs)}"]
    if member.probability is not None:
        sentences.append(f"on the front with a probability of {100 * member.probability:.0f} %")
    if member.test is not None:
        sentences.append(f"{member.test.text()} on the test images")
    st.caption("; ".join(sentences) + ".")


def picked(seen: live.Snapshot, axis_key: str, budget: float | None) -> Recommendation | None:
    """Returns the recommended trial on an axis, within a budget if there is one; for use with `Snapshot.shared`."""
    axis = seen.axes[axis_key]
    limits = [Limit("budget", axis, budget)] if budget is not None else []
    return choose_from(seen.records, seen.confirmed, images=seen.images, axis=axis, limits=limits)


def drawing(seen: live.Snapshot, record: TrialRecord, key: str) -> None:
    """Draws a trial's network from stem to classifier."""
    words = f"the network of trial {record.trial}, {record.name}: its layers from stem to classifier, groups as groups"
    chart.chart(seen.shared(_drawn, record.trial), key, alt=words, bare=True)


def _drawn(seen: live.Snapshot, trial: int) -> chart.Ready:
    return chart.ready(drawing_figure(seen.of(trial).architecture))


def curve(seen: live.Snapshot, records: list[TrialRecord], key: str) -> None:
    """Shows the learning curves of the trials that have one."""
    learned = [record for record in records if record.curve]
    if not learned:
        st.caption("No accuracy was reported after any epoch.")
        return
    words = "validation accuracy after each epoch of trials " + ", ".join(str(record.trial) for record in learned)
    chart.chart(chart.ready(curves_figure(learned, images=seen.images)), key, alt=words, bare=True)


def offered(seen: live.Snapshot, also: list[int], *, only: Callable[[TrialRecord], bool]) -> list[int]:
    """Returns the trials to offer in a list: those that pass `only`; of a large study just the front and `also`."""
    fitting = [record for record in seen.records if only(record)]
    if len(fitting) > MOST_OFFERED:
        wanted = {record.trial for record in seen.front} | set(also)
        fitting = [record for record in fitting if record.trial in wanted]
    return [record.trial for record in fitting]


def choose_trial(seen: live.Snapshot, title: str, key: str) -> TrialRecord:
    """Shows a list of trials, and returns the selected one, by default the most accurate; there must be one."""
    selected = seen.find(selection.current().trial) or (seen.front or seen.records)[-1]
    selection.show_in(key, selected.trial, label(seen, selected.trial))

    def choose() -> None:
        if (trial := number_of(st.session_state[key])) != selected.trial:
            selection.choose(trial=trial, design=None)  # a design belongs to its trial

    st.selectbox(
        title,
        offered(seen, [selected.trial], only=lambda _: True),
        key=key,
        format_func=lambda trial: label(seen, trial),
        on_change=choose,
    )
    return selected


def number_of(option: int | str) -> int:
    """Returns the trial that was chosen in a list of labels.

    Streamlit hands over the label itself if the trial has another one by now: its state and its estimate change.
    """
    return option if isinstance(option, int) else int(option.partition(" ")[0])


def label(seen: live.Snapshot, trial: int) -> str:
    """Returns a trial's label for lists: number, name, accuracy or state, FLOPs."""
    if (record := seen.find(trial)) is None:
        return f"{trial}"
    result = percent_text(record.quality) if record.accuracy is not None else record.state
    return f"{trial} · {record.name} · {result} · {count_text(record.flops)}"
