"""The Progress page: the hypervolume and accuracy reached so far, the running trials, and the time left."""

import time
from collections import Counter
from statistics import median

import chart
import launch
import live
import pandas as pd
import panel
import streamlit as st

from nas.analysis.convergence import History, history
from nas.analysis.figures.progress import AGAINST, bands_figure, hypervolume_figure, seconds_figure
from nas.study.config import BY_FLOPS, BY_LATENCY
from nas.study.records import TrialState
from nas.units import amount_text, duration_text, percent_text

HYPERVOLUME = (
    "The hypervolume is the area of (log {}, accuracy) below the front, as a share of the whole box from chance to "
    "100 % and from {}. A flat end means that further trials buy little."
)
MOST_LINES = 200
WITHIN = {
    BY_FLOPS: ("FLOPs", "the space's fewest FLOPs to its most"),
    BY_LATENCY: ("latency", "the lowest to the highest latency predicted for a sample before the first trial"),
}


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    past = seen.shared(_past)
    _headline(seen)
    _workers(seen)
    _failures(seen)
    _acts(seen)
    _log(seen)
    if not any(record.accuracy is not None for record in past.records):
        st.caption("The figures appear once a trial is complete.")
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Hypervolume**")
        against = st.segmented_control(
            "against",
            list(AGAINST),
            default="epochs" if past.epochs[-1] else "trials",
            required=True,
            key="against",
            label_visibility="collapsed",
        )
        words = f"hypervolume against {against}: {past.hypervolume[-1]:.1%} at the end"
        chart.chart(seen.shared(_hypervolume, against or "epochs"), "hypervolume", alt=words)
        st.caption(HYPERVOLUME.format(*WITHIN[seen.study.config.objective]))
    with right:
        st.markdown("**Best accuracy for each range of FLOPs**")
        chart.chart(seen.shared(_bands), "bands", alt="best accuracy so far in four ranges of FLOPs")
    left, _ = st.columns(2, gap="large")
    with left:
        st.markdown("**Time of each trial**")
        chart.chart(seen.shared(_seconds), "seconds", alt="training time of each trial against its FLOPs")


def _past(seen: live.Snapshot) -> History:
    model = seen.study.attributes.latency_model
    return history(seen.records, seen.study.config.space, bounds=model.bounds if model else None)


def _hypervolume(seen: live.Snapshot, against: str) -> chart.Ready:
    return chart.ready(hypervolume_figure(seen.shared(_past), against))


def _bands(seen: live.Snapshot) -> chart.Ready:
    return chart.ready(bands_figure(seen.shared(_past)))


def _seconds(seen: live.Snapshot) -> chart.Ready:
    return chart.ready(seconds_figure(seen.shared(_past)))


def _counts(seen: live.Snapshot) -> tuple[Counter[str], float | None, int]:
    """Returns the number of trials by state, their median time in seconds, and their total epochs."""
    states = Counter("interrupted" if r.reason == "interrupted" else r.state for r in seen.records)
    times = [record.seconds for record in seen.records if record.finished and record.seconds is not None]
    return states, median(times) if times else None, sum(len(record.curve) for record in seen.records)


def _headline(seen: live.Snapshot) -> None:
    states, usual, epochs = seen.shared(_counts)
    total, left = seen.search.trials if seen.search else seen.spent, seen.seconds_left
    panel.metrics(
        {
            "trainings": f"{seen.finished:,}",
            "in full-length ones": f"{amount_text(seen.spent)} of {amount_text(max(total, int(seen.spent)))}",
            "median time of a trial": duration_text(usual) if usual is not None else "–",
            "epochs trained": f"{epochs:,}",
            "time left": f"about {duration_text(left)}" if left is not None else "–",
        }
    )
    st.progress(min(1.0, seen.spent / total) if total else 0.0)
    st.caption(" · ".join(f"{count:,} {state}" for state, count in states.items()))


def _workers(seen: live.Snapshot) -> None:
    st.markdown("**Workers**")
    if not seen.running:
        waiting = seen.live and seen.search is not None and seen.search.request is None
        st.caption("The next trial is being chosen." if waiting else "Nothing is being trained now.")
        return
    epochs = seen.study.config.space.recipe.epochs
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "worker": (record.worker or "unknown").partition("@")[0],
                    "trial": record.trial,
                    "architecture": record.name,
                    "epoch": len(record.curve),
                    "progress": len(record.curve) / (record.length or epochs),
                    "accuracy so far": percent_text(record.curve[-1]) if record.curve else "–",
                }
                for record in seen.running
            ]
        ),
        hide_index=True,
        column_config={
            "progress": st.column_config.ProgressColumn("of its epochs", format="percent", min_value=0, max_value=1),
        },
    )


def _acts(seen: live.Snapshot) -> None:
    """Lists what people did to the study, the latest first."""
    if acts := seen.study.attributes.acts:
        with st.expander(f"What people did ({len(acts)})"):
            for act in reversed(acts):
                st.text(f"{time.strftime('%d %b, %H:%M:%S', time.localtime(act.time))}  {act.what}")


def _log(seen: live.Snapshot) -> None:
    """Shows the end of what a search that was started in the dashboard has printed."""
    lines = launch.log_lines(seen.place, seen.study.name, most=MOST_LINES)
    if lines:
        with st.expander("What the search printed"):
            st.code("\n".join(lines), language=None, wrap_lines=True)


def _failures(seen: live.Snapshot) -> None:
    failed = [record for record in seen.records if record.state == TrialState.FAILED and record.finished]
    if failed:
        st.markdown("**Failures**")
        st.text(", ".join(f"{count} × {reason}" for reason, count in Counter(r.reason for r in failed).items()))
        with st.expander(f"What trial {failed[-1].trial} said"):
            st.code((failed[-1].detail or "nothing").strip(), language=None, wrap_lines=True)
