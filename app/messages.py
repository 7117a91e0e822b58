"""Messages for pages with nothing to show: what is wrong and what to do, never a traceback.

Text from a study, a file or an error is shown with `st.text` and `st.code`, which interpret neither Markdown nor HTML,
or escaped by `literal`; in figures by `nas.analysis.figures.style.plain`.
"""

import re
import shlex
from collections import Counter
from collections.abc import Sequence

import chart
import live
import streamlit as st

from nas.analysis.figures.curves import curves_figure
from nas.study.records import TrialState


def calm(title: str, text: str, *, command: str | None = None) -> None:
    """Shows a bordered box.

    Args:
        title: trusted text.
        text: arbitrary text, shown verbatim.
        command: a shell command for the user to copy.
    """
    with st.container(border=True):
        st.subheader(title, anchor=False)
        st.text(text)
        if command:
            st.code(command, language="bash")


def literal(text: str) -> str:
    """Escapes untrusted text for places where Streamlit renders Markdown, such as the steps of a slider.

    Each escaped character is followed by an invisible WORD JOINER, as Streamlit replaces dashes, emoji and icons after
    resolving escapes.
    """
    return re.sub(r"([!-/:-@\[-`{-~])", "\\\\\\1\u2060", " ".join(text.split()))


def no_study(place: live.Place, names: Sequence[str], asked: str | None) -> None:
    """Shows that the folder has no study yet, or not the requested one.

    Args:
        place: where the studies are stored.
        names: the studies there.
        asked: the requested study. None: no study was requested and there is none.
    """
    if asked is not None:
        others = "Choose another one on the left." if names else "There is none at all."
        calm("No such study", f"There is no study '{asked[:100]}' in {place.runs}. {others}")
        return
    where = "" if place.runs == "runs" else f" --runs {shlex.quote(place.runs)}"
    calm(
        "No study yet",
        f"There is no study in {place.runs} yet. A search makes one, begun on the page New search or in a terminal:",
        command=f"nas search --data FOLDER_OF_IMAGES{where}",
    )


def too_early(seen: live.Snapshot, *, needed: str = "a trained network") -> bool:
    """Returns whether the study has no trained network yet; if so, shows that and the study's status."""
    records = seen.records
    if any(record.trained for record in records):
        return False
    failed = [record for record in records if record.state == TrialState.FAILED and record.finished]
    resume = f"nas search --study {shlex.quote(seen.study.name)}"
    if seen.running:
        first = seen.running[0]
        calm(
            "The first trial is being trained",
            f"Trial {first.trial}, {first.name}, epoch {len(first.curve)} of "
            f"{first.length or seen.study.config.space.recipe.epochs}. "
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
        calm("No network is trained", "The search was ended before one was. To go on where it stopped:", command=resume)
    return True
