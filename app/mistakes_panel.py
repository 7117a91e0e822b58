"""What a trial takes for what, for the page Architecture: the confusion matrix, or labels, and the images behind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chart
import live
import messages
import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from nas.analysis.figures.curves import confusion_figure
from nas.analysis.mistakes import Classified, Labelled, Order, label_mistakes, mistakes
from nas.data.images import Images, MappedImages
from nas.data.inspection import image_names
from nas.errors import NasError
from nas.study.artifacts import brought, load_confusion, predictions_of
from nas.study.config import StudyConfig
from nas.study.images import images_of
from nas.study.records import TrialRecord
from nas.training.metrics import average_precisions
from nas.units import counted

MOST_ROWS = 12
SHOWN_AT_ONCE = 24
THUMBNAIL = 84
"""Side of an image on the page, in pixels; smaller images are enlarged to it without smoothing."""
ORDERS = {Order.SUREST: "surest", Order.CLOSEST: "closest"}


class Validation(NamedTuple):
    """A study's validation images, and the name of each in its source if they are files."""

    images: Images | MappedImages
    names: list[str] | None


def show(seen: live.Snapshot, record: TrialRecord) -> None:
    """Shows the confusion matrix, the accuracy in each class, and the images that were taken for something else."""
    if seen.study.config.is_multi_label:
        _of_labels(seen, record)
        return
    st.markdown("**What it takes for what**")
    try:
        matrix = load_confusion(brought(seen.study, seen.study.confusion_file(record.trial)))
    except NasError as error:
        st.text(str(error))
        return
    classes = seen.study.config.classes
    if matrix is None or len(matrix) != len(classes):
        st.caption("No confusion matrix was recorded for this trial.")
        return
    figure = confusion_figure(matrix, classes)
    words = f"confusion matrix over {len(classes)} classes; a click on a cell shows its images"
    chart.chart(chart.ready(figure), "confusion", alt=words, on_pick=_open_cell(len(classes)), bare=True)
    _images(seen, record)
    shares = np.diag(matrix) / np.maximum(1, matrix.sum(axis=1))
    st.dataframe(
        {"class": list(classes), "images": matrix.sum(axis=1), "accuracy": shares},
        column_config={
            "accuracy": st.column_config.ProgressColumn("accuracy", format="percent", min_value=0, max_value=1)
        },
        height="content" if len(classes) <= MOST_ROWS else 420,
    )


def _open_cell(classes: int) -> Callable[[list[int]], None]:
    """Returns what a click on the matrix does: it selects the class and what it was taken for."""

    def opened(cells: list[int]) -> None:
        st.session_state["label"], st.session_state["predicted"] = divmod(cells[0], classes)

    return opened


def _images(seen: live.Snapshot, record: TrialRecord) -> None:
    """Asks for a cell and an order, and shows the images."""
    classes = seen.study.config.classes
    if (predictions := _predictions(seen, record)) is None:
        return
    columns = st.columns([1, 1, 1.2])
    label = _asked_class(columns[0], "Class", classes, key="label")
    predicted = _asked_class(columns[1], "Taken for", classes, key="predicted")
    order = _asked_order(columns[2])
    found = mistakes(predictions, classes, label=label, predicted=predicted, order=order)
    kind = "classified rightly" if label is not None and label == predicted else "taken for another class"
    st.caption(f"{len(found):,} of {len(predictions):,} validation images: {kind}.")
    if found:
        columns_of: dict[str, Sequence[Any]] = {
            "class": [one.label for one in found],
            "taken for": [one.predicted for one in found],
            "its probability": [one.confidence for one in found],
            "of the class": [one.label_confidence for one in found],
        }
        _grid(seen.study.config, [(one.image, _caption(one)) for one in found], columns_of)


def _of_labels(seen: live.Snapshot, record: TrialRecord) -> None:
    """Shows how well each label is found where images may have several, and what is wrong with them."""
    st.markdown("**Which labels it finds**")
    classes = seen.study.config.classes
    if (predictions := _predictions(seen, record)) is None:
        return
    found = average_precisions(predictions["probability"], predictions["has"].astype(np.int64))
    st.dataframe(
        {
            "label": list(classes),
            "images": predictions["has"].sum(axis=0),
            "average precision": [found.get(label) for label in range(len(classes))],
        },
        column_config={
            "average precision": st.column_config.ProgressColumn(
                "average precision", format="percent", min_value=0, max_value=1
            )
        },
        height="content" if len(classes) <= MOST_ROWS else 420,
    )
    columns = st.columns([1, 1.2, 1])
    label = _asked_class(columns[0], "Label", classes, key="label")
    wrong = label_mistakes(predictions, classes, label=label, order=_asked_order(columns[1]))
    st.caption(
        f"{counted(len(wrong), 'label')} of {len(predictions):,} validation images: missed, or seen where they are "
        "not, at a threshold of 50 %."
    )
    if wrong:
        columns_of: dict[str, Sequence[Any]] = {
            "label": [one.label for one in wrong],
            "has it": [one.has for one in wrong],
            "its probability": [one.probability for one in wrong],
        }
        _grid(seen.study.config, [(one.image, _label_caption(one)) for one in wrong], columns_of)


def _predictions(seen: live.Snapshot, record: TrialRecord) -> NDArray[np.void] | None:
    """Returns what the network says of the validation images; None, once the page says why, if that was not kept."""
    try:
        return predictions_of(seen.study, record)
    except NasError as error:
        st.caption(messages.literal(str(error)))
        return None


def _asked_class(place: DeltaGenerator, words: str, classes: Sequence[str], *, key: str) -> int | None:
    def name(label: int | None) -> str:
        return messages.literal(classes[label]) if label is not None else "any"

    chosen: int | None = place.selectbox(words, [None, *range(len(classes))], key=key, format_func=name)
    return chosen


def _asked_order(place: DeltaGenerator) -> Order:
    chosen: Order = place.segmented_control(
        "First", list(ORDERS), default=Order.SUREST, required=True, key="first", format_func=ORDERS.__getitem__
    )
    return chosen


def _grid(config: StudyConfig, found: Sequence[tuple[int, str]], columns: Mapping[str, Sequence[Any]]) -> None:
    """Shows the first images with their captions, and a table of all of them with further columns."""
    try:
        validation = _validation(config.data.get("fingerprint"), str(config.data["source"]), config)
    except NasError as error:
        st.caption(f"Their pictures cannot be shown: {messages.literal(str(error))}")
        validation = None
    if validation is not None:
        rows = np.array([image for image, _ in found[:SHOWN_AT_ONCE]])
        with st.container(horizontal=True, gap="small"):
            for (_, caption), pixels in zip(found, validation.images[rows], strict=False):
                st.image(_enlarged(pixels), messages.literal(caption), width=THUMBNAIL)
        if len(found) > SHOWN_AT_ONCE:
            st.caption(f"The first {SHOWN_AT_ONCE} are shown; the table has all.")
    names = validation.names if validation is not None else None
    with st.expander("As a table"):
        st.dataframe(
            {"image": [names[image] if names else str(image) for image, _ in found], **columns},
            column_config={
                column: st.column_config.NumberColumn(column, format="percent")
                for column in ("its probability", "of the class")
            },
            hide_index=True,
        )


@st.cache_resource(max_entries=2, show_spinner="Loading the images …")
def _validation(fingerprint: str | None, source: str, _config: StudyConfig) -> Validation:
    """Loads a study's validation images, once for all sessions; the fingerprint tells splits apart."""
    split = images_of(_config).judged
    return Validation(split.images, image_names(split, source))


def _enlarged(pixels: Images) -> Images:
    """Repeats the pixels of a small image, which a browser would blur."""
    times = max(1, -(-THUMBNAIL // len(pixels)))
    grown = pixels.repeat(times, axis=0).repeat(times, axis=1)
    return grown[..., 0] if grown.shape[2] == 1 else grown


def _caption(one: Classified) -> str:
    """Names what the image was taken for, and how sure the network was of it."""
    arrow = f"{one.label} → {one.predicted}" if one.label != one.predicted else one.label
    return f"{arrow}, {one.confidence:.0%}"


def _label_caption(one: Labelled) -> str:
    """Names the label that the image has, or has not, and how probable the network finds it."""
    return f"{'has' if one.has else 'no'} {one.label}, {one.probability:.0%}"
