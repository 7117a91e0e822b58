"""The confirmation of the front: its networks trained again on other seeds."""

import access
import follow_up
import live
import streamlit as st

from nas.analysis.confirmation import holds_repetitions, repetitions_underway
from nas.study.catalog import CONFIRMED
from nas.study.study import Study


def show(seen: live.Snapshot) -> None:
    """Shows how far a confirmation is, or offers one, of a search that has ended."""
    if seen.live or not seen.study.config.has_source or holds_repetitions(seen.study):
        return

    def underway() -> follow_up.Underway | None:
        holder = repetitions_underway(seen.study, CONFIRMED)
        return _progress(holder) if holder is not None else None

    def offer() -> list[str]:
        options = _fields() if access.may_act() else []
        return ["nas", "confirm", seen.study.name, *options, *seen.place.options]

    now = underway()
    with st.expander("Confirm the front on other seeds") if now is None else st.container():
        if now is None:
            st.caption(
                "Trains the front, and what chance may have kept off it, again from scratch: the best score of a "
                "search is partly luck."
            )
        follow_up.show(seen.study, "Confirm", underway, now=now, key="confirmation", offer=offer)


def _fields() -> list[str]:
    """Shows the fields of a confirmation; returns the options that say the same."""
    left, middle, right = st.columns([1, 1, 1.6], vertical_alignment="bottom")
    seeds = left.number_input("Seeds", 1, 1000, 3)
    top = middle.number_input("At most", 1, 10_000, None, placeholder="all of them", help="The most accurate ones.")
    words = "Reads the test images, once for each training: no choice should follow from what they say."
    test = right.checkbox("Then test the winners", help=words)
    return [
        *(["--seeds", str(seeds)] if seeds != 3 else []),
        *(["--top", str(top)] if top else []),
        *(["--test"] if test else []),
    ]


def _progress(holder: Study) -> follow_up.Underway:
    records, epochs = holder.records(), holder.config.space.recipe.epochs
    done = sum(record.finished for record in records)
    shares = [1.0 if record.finished else len(record.curve) / epochs for record in records]
    words = f"Confirming: {done} of {len(records)} trainings"
    return follow_up.Underway(holder, sum(shares) / max(1, len(shares)), words)
