"""Progress: what the trainings have bought so far, who trains what, and how long is left."""

from collections import Counter
from statistics import median

import chart
import live
import pandas as pd
import panel
import streamlit as st

from nas.configuration import BY_FLOPS, BY_LATENCY
from nas.growth import history
from nas.progress import AGAINST, bands_figure, hypervolume_figure, seconds_figure, seconds_left
from nas.records import FAILED, trainings_spent
from nas.stopwatch import known_model
from nas.units import amount_text, duration_text

HYPERVOLUME = (
    "The hypervolume is the area of (log {}, accuracy) below the front, as a share of the whole box from chance to "
    "100 % and from {}. A flat end means that further trials buy little."
)
WITHIN = {
    BY_FLOPS: ("FLOPs", "the space's fewest FLOPs to its most"),
    BY_LATENCY: ("latency", "the least latency to the most that were foretold of a sample before the first trial"),
}


def show(seen: live.Snapshot) -> None:
    """The page."""
    model = known_model(seen.study)
    past = history(seen.records, seen.study.config.space, bounds=model.bounds if model else None)
    _headline(seen)
    _workers(seen)
    _failures(seen)
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
        chart.chart(hypervolume_figure(past, against or "epochs"), "hypervolume", alt=words)
        st.caption(HYPERVOLUME.format(*WITHIN[seen.study.config.objective]))
    with right:
        st.markdown("**Best accuracy for each range of FLOPs**")
        chart.chart(bands_figure(past), "bands", alt="best accuracy so far in four ranges of FLOPs")
    left, _ = st.columns(2, gap="large")
    with left:
        st.markdown("**Time of each trial**")
        chart.chart(seconds_figure(past), "seconds", alt="training time of each trial against its FLOPs")


def _headline(seen: live.Snapshot) -> None:
    states = Counter("interrupted" if r.reason == "interrupted" else r.state for r in seen.records)
    epochs = seen.study.config.space.recipe.epochs
    finished = trainings_spent(seen.records, epochs)
    times = [record.seconds for record in seen.records if record.finished and record.seconds is not None]
    left = seconds_left(seen.records, seen.search, epochs)
    total = seen.search.trials if seen.search else finished
    panel.metrics(
        {
            "trials finished": f"{amount_text(finished)} of {amount_text(max(total, int(finished)))}",
            "median time of a trial": duration_text(median(times)) if times else "–",
            "epochs trained": f"{sum(len(record.curve) for record in seen.records):,}",
            "time left": f"about {duration_text(left)}" if left is not None else "–",
        }
    )
    st.progress(min(1.0, finished / total) if total else 0.0)
    st.caption(" · ".join(f"{count:,} {state}" for state, count in states.items()))


def _workers(seen: live.Snapshot) -> None:
    st.markdown("**Workers**")
    if not seen.running:
        st.caption("Nothing is being trained now." if not seen.live else "The next trial is being chosen.")
        return
    epochs = seen.study.config.space.recipe.epochs
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "worker": record.worker or "unknown",
                    "trial": record.trial,
                    "architecture": record.name,
                    "epoch": len(record.curve),
                    "progress": len(record.curve) / (record.length or epochs),
                    "accuracy so far": record.curve[-1] if record.curve else None,
                }
                for record in seen.running
            ]
        ),
        hide_index=True,
        column_config={
            "progress": st.column_config.ProgressColumn("of its epochs", format="percent", min_value=0, max_value=1),
            "accuracy so far": st.column_config.NumberColumn(format="percent"),
        },
    )


def _failures(seen: live.Snapshot) -> None:
    failed = [record for record in seen.records if record.state == FAILED and record.finished]
    if failed:
        st.markdown("**Failures**")
        st.text(", ".join(f"{count} × {reason}" for reason, count in Counter(r.reason for r in failed).items()))
        with st.expander(f"What trial {failed[-1].trial} said"):
            st.code((failed[-1].detail or "nothing").strip(), language=None, wrap_lines=True)
