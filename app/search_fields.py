"""Fields of the page New search for options of `nas search`: how networks are judged, and how files are read."""

import live
import streamlit as st

from nas.data.resizing import CROP, RESIZES
from nas.training.metrics import MEAN_AVERAGE_PRECISION, METRICS
from nas.training.recipe import CLASS_WEIGHTS, SAMPLINGS

FOLDS = ("none", "3", "5", "10")
KEPT = "new search: "


def key(field: str, of: str) -> str:
    """Returns the key of a field of the page, which has a value of its own for each source or study."""
    return f"{KEPT}{field} of {of}"


def keep() -> None:
    """Keeps what was entered while another page is shown: Streamlit forgets the fields of pages that are not."""
    for name in [name for name in st.session_state if str(name).startswith(KEPT)]:
        st.session_state[name] = st.session_state[name]


def judging(source: str, *, multi_label: bool) -> list[str]:
    """Asks how networks are judged, and how rare classes count; returns the options that say so."""
    chosen = []
    fields = {"metric": METRICS, "class_weights": CLASS_WEIGHTS, "sampling": SAMPLINGS}
    if multi_label:
        fields = {"metric": (MEAN_AVERAGE_PRECISION,), "class_weights": CLASS_WEIGHTS}
    for column, (field, values) in zip(st.columns(len(fields)), fields.items(), strict=True):
        usual, *_ = values
        value = column.selectbox(field.replace("_", " ").capitalize(), list(values), key=key(field, source))
        chosen += [f"--{field.replace('_', '-')}", value] if value != usual else []
    return chosen


def folds(source: str) -> list[str]:
    """Asks for a number of folds; returns the option that says so."""
    words = "A network of each trial for each fold, judged by the images of that fold: for few images."
    of, usual = key("folds", source), FOLDS[0]
    number = st.segmented_control("Folds", FOLDS, default=usual, required=True, key=of, help=words)
    return ["--folds", number] if number != usual else []


def of_files(source: str, seen: live.Snapshot | None) -> list[str]:
    """Asks how image files are resized, which belong together, and what becomes of unreadable ones.

    At first it is as in the selected study, if that is of the same images. Returns the options that say so.
    """
    data = seen.study.config.data if seen is not None else {}
    data = data if data.get("source") == source else {}
    left, right = st.columns(2)
    ways = list(RESIZES)
    before = ways.index(data.get("resize", CROP))
    resize = left.selectbox("Images of other proportions", ways, before, key=key("resize", source))
    words = (
        "Images of one group, such as a patient, never stand in two splits: folder, a column, or a pattern of paths."
    )
    group_by = right.text_input(
        "Group by",
        data.get("group_by") or "",
        placeholder="every image by itself",
        key=key("groups", source),
        help=words,
    ).strip()
    words = "Otherwise a search does not begin before they are mended or removed."
    skip = st.checkbox(
        "Leave out files that cannot be read",
        bool(data.get("skipped_images")),
        key=key("unreadable", source),
        help=words,
    )
    return [
        *(["--resize", resize] if resize != CROP else []),
        *(["--group-by", group_by] if group_by else []),
        *(["--skip-bad-images"] if skip else []),
    ]
