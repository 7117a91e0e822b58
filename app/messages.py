"""What a page says where there is nothing to show: what is the matter, and what to do. Never a traceback.

Whatever comes from a study, a file or an error is shown by `st.text` and `st.code`, which know no Markdown and no HTML,
or goes through `literal`; in figures through `nas.analysis.figures.style.plain`.
"""

import re
import shlex
from collections import Counter
from collections.abc import Sequence

import chart
import live
import streamlit as st

from nas.analysis.figures.curves import curves_figure
from nas.study.records import COMPLETE, FAILED


def calm(title: str, text: str, *, command: str | None = None) -> None:
    """A quiet box: a title in our words, a text that may hold anything, and what to type."""
    with st.container(border=True):
        st.subheader(title, anchor=False)
        st.text(text)
        if command:
            st.code(command, language="bash")


def literal(text: str) -> str:
    """Text from data for where Streamlit reads Markdown, as in the steps of a slider: shown as it is.

    What follows a mark is an invisible WORD JOINER, as dashes, emoji and icons are looked for after escapes were read.
    """
    return re.sub(r"([!-/:-@\[-`{-~])", "\\\\\\1\u2060", " ".join(text.split()))


def no_study(place: live.Place, names: Sequence[str], asked: str | None) -> None:
    """The folder holds no study yet, or not the one that was asked for."""
    if asked is not None:
        others = "Choose another one on the left." if names else "There is none at all."
        calm("No such study", f"There is no study '{asked[:100]}' in {place.runs}. {others}")
        return
    where = "" if place.runs == "runs" else f" --runs {shlex.quote(place.runs)}"
    calm(
        "No study yet",
        f"There is no study in {place.runs} yet. A search makes one, and it appears here by itself:",
        command=f"nas search{where}",
    )


def too_early(seen: live.Snapshot, *, needed: str = "a complete trial") -> bool:
    """Whether there is no complete trial yet; then the page says so, and how the study stands."""
    records = seen.records
    if any(record.state == COMPLETE for record in records):
        return False
    failed = [record for record in records if record.state == FAILED and record.finished]
    resume = f"nas search --study {shlex.quote(seen.study.name)}"
    if seen.running:
        first = seen.running[0]
        calm(
            "The first trial is being trained",
            f"Trial {first.trial}, {first.name}, epoch {len(first.curve)} of {seen.study.config.space.recipe.epochs}. "
            f"This page needs {needed}; it fills by itself.",
        )
        if first.curve:
            figure = chart.ready(curves_figure([first]))
            chart.chart(figure, "first", alt="accuracy of the first trial after each epoch", bare=True)
    elif failed:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in Counter(r.reason for r in failed).items())
        calm(
            "All trials failed" if len(failed) > 1 else "The only trial failed",
            f"{len(failed)} of {len(records)} trials ended without an accuracy ({reasons}). The last one said:",
        )
        st.code((failed[-1].detail or "nothing").strip(), language=None, wrap_lines=True)
    elif seen.live:
        calm(
            "The search has just begun", f"Its first trial is on its way. This page needs {needed}; it fills by itself."
        )
    else:
        calm("No trial is complete", "The search was ended before one was. To go on where it stopped:", command=resume)
    return True
