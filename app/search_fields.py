"""Fields of the page New search for options of `nas search`: how networks are judged, and how files are read."""

import live
import streamlit as st

from nas.data.resizing import CROP, RESIZES
from nas.training.metrics import MEAN_AVERAGE_PRECISION, METRICS
from nas.training.recipe import CLASS_WEIGHTS, SAMPLINGS

FOLDS = ("none", "3", "5", "10")


def judging(*, multi_label: bool) -> list[str]:
    """Asks how networks are judged, and how rare classes count; returns the options that say so."""
    chosen = []
    fields = {"metric": METRICS, "class_weights": CLASS_WEIGHTS, "sampling": SAMPLINGS}
    if multi_label:
        fields = {"metric": (MEAN_AVERAGE_PRECISION,), "class_weights": CLASS_WEIGHTS}
    for column, (field, values) in zip(st.columns(len(fields)), fields.items(), strict=True):
        usual, *_ = values
        value = column.selectbox(field.replace("_", " ").capitalize(), list(values), key=field)
        chosen += [f"--{field.replace('_', '-')}", value] if value != usual else []
    words = "A network of each trial for each fold, judged by the images of that fold: for few images."
    folds = st.segmented_control("Folds", FOLDS, default=FOLDS[0], required=True, key="folds", help=words)
    return [*chosen, *(["--folds", folds] if folds != FOLDS[0] else [])]


def of_files(source: str, seen: live.Snapshot | None) -> list[str]:
    """Asks how image files are resized, which belong together, and what becomes of unreadable ones.

    At first it is as in the selected study, if that is of the same images. Returns the options that say so.
    """
    data = seen.study.config.data if seen is not None else {}
    data = data if data.get("source") == source else {}
    left, right = st.columns(2)
    ways = list(RESIZES)
    before = ways.index(data.get("resize", CROP))
    resize = left.selectbox("Images of other proportions", ways, before, key=f"resize of {source}")
    words = (
        "Images of one group, such as a patient, never stand in two splits: folder, a column, or a pattern of paths."
    )
    group_by = right.text_input(
        "Group by",
        data.get("group_by") or "",
        placeholder="every image by itself",
        key=f"groups of {source}",
        help=words,
    ).strip()
    words = "Otherwise a search does not begin before they are mended or removed."
    skip = st.checkbox(
        "Leave out files that cannot be read",
        bool(data.get("skipped_images")),
        key=f"unreadable of {source}",
        help=words,
    )
    return [
        *(["--resize", resize] if resize != CROP else []),
        *(["--group-by", group_by] if group_by else []),
        *(["--skip-bad-images"] if skip else []),
    ]
