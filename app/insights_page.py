"""The Insights page: which choices matter, overall and at equal FLOPs; each figure comes with a reading guide."""

import chart
import live
import messages
import streamlit as st

from nas.analysis import importance
from nas.analysis.figures import importance as figures

CAVEAT = (
    "All of this describes the trials of this study. A search looks where good trials are, so that choices are not "
    "drawn evenly: take it as a hint where to look, not as a measurement of cause."
)


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if messages.too_early(seen):
        return
    sample = seen.shared(_sample)
    count = len(sample.accuracy)
    if not sample.choices:
        messages.calm("Nothing was chosen", "The space has one value for every field.")
        return
    if count < importance.ENOUGH:
        messages.calm(
            "Too few trials for much",
            f"{count} complete trials; below {importance.ENOUGH} most of what these figures show is chance.",
        )
    left, right = st.columns(2, gap="large")
    with left:
        _importance_section(seen)
    with right:
        _effects_section(seen, sample)
    _groups_section(seen)
    st.markdown("**How errors are distributed**")
    _distribution(seen, sample)
    st.markdown("**All choices at once**")
    chart.chart(seen.shared(_parallel), "parallel", alt="each trial as a line through its choices")
    st.caption(
        "A line is a trial; the warmer, the more accurate. Drag along an axis to keep only the lines through that part."
    )
    st.caption(CAVEAT)


def _importance_section(seen: live.Snapshot) -> None:
    st.markdown("**Which choice matters**")
    chart.chart(seen.shared(_importance), "importance", alt="share of variance that each choice explains")
    st.caption(
        "How much of the differences in accuracy each choice explains by itself (ω²): orange among all trials, "
        "where bigger is mostly better; blue among trials of equal FLOPs. Lines: the middle 80 % over random "
        "halves of the trials."
    )


def _effects_section(seen: live.Snapshot, sample: importance.Sample) -> None:
    st.markdown("**What it changes at equal FLOPs**")
    fields = [
        field for field in ("groups", "mid", "depth", "out", "width") if any(c.endswith(field) for c in sample.choices)
    ]
    field = st.segmented_control(
        "field", fields, default=fields[0], required=True, key="field", label_visibility="collapsed"
    )
    figure = seen.shared(_effects, field or fields[0])
    chart.chart(figure, "effects", alt=f"points of accuracy at equal FLOPs by {field}")
    st.caption(
        "By how many points trials with this value are more accurate than trials of their FLOPs usually are, with "
        "95 % intervals. Where the intervals of two values overlap widely, they cannot be told apart."
    )


def _groups_section(seen: live.Snapshot) -> None:
    st.markdown("**Groups and width**")
    equal = st.toggle("at equal FLOPs", value=True, key="equal")
    figure = seen.shared(_heat, equal)
    if not figure.empty:
        chart.chart(figure, "heat", alt="mean accuracy by groups and width, a map for each stage")
        st.caption(
            "Mean of the trials in each cell; an empty cell was not tried, or groups do not divide the width. "
            + (
                "Blue: more accurate than others of the same FLOPs, orange: less."
                if equal
                else "Stronger: more accurate."
            )
        )


def _sample(seen: live.Snapshot) -> importance.Sample:
    return importance.sample_of(seen.records, seen.study.config.space)


def _importance(seen: live.Snapshot) -> chart.Ready:
    return chart.ready(figures.importance_figure(seen.shared(_sample)))


def _effects(seen: live.Snapshot, field: str) -> chart.Ready:
    return chart.ready(figures.effects_figure(seen.shared(_sample), field))


def _heat(seen: live.Snapshot, equal: bool) -> chart.Ready:
    space = seen.study.config.space
    return chart.ready(figures.heat_map_figure(seen.shared(_sample), space, equal_flops=equal))


def _errors(seen: live.Snapshot, choice: str) -> chart.Ready:
    return chart.ready(figures.error_distribution_figure(seen.shared(_sample), choice))


def _parallel(seen: live.Snapshot) -> chart.Ready:
    return chart.ready(figures.parallel_figure(seen.shared(_sample)))


def _distribution(seen: live.Snapshot, sample: importance.Sample) -> None:
    choices = [choice for choice in sample.choices if choice.endswith(".groups")] or list(sample.choices)
    choice = st.segmented_control(
        "by",
        choices,
        default=choices[-1],
        required=True,
        key="distribution",
        label_visibility="collapsed",
        format_func=importance.choice_in_words,
    )
    figure = seen.shared(_errors, choice or choices[-1])
    if figure.empty:
        st.caption("Too few trials: no value has five yet.")
        return
    chart.chart(figure, "errors", alt=f"cumulative distribution of error by {choice}")
    st.caption(
        "The share of trials with at most this error, for each value: a line further to the left and higher "
        "is a better part of the space (the plot of Radosavovic et al., arXiv:2003.13678). Values with fewer than five "
        "trials are left out."
    )
