"""The fields of the page Design: the parts of the network, where it starts from, and undoing.

A design is kept in the address, as the changes to a trial's network.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import live
import selection
import streamlit as st

from nas.architectures.architecture import Architecture, fit_groups
from nas.architectures.cost import cost
from nas.architectures.edits import changes_text, edited, read_edits
from nas.errors import NasError
from nas.spaces.preflight import sample_networks
from nas.spaces.references import references
from nas.study.records import TrialRecord
from nas.units import count_text

FIELD_WIDTH = 72
"""In pixels; in a narrow window a row of fields wraps."""
MEDIAN_OF = 101
"""Number of random networks whose median, by FLOPs, is that of the space."""
MOST_UNDONE = 100


def show(seen: live.Snapshot, start: TrialRecord) -> Architecture:
    """Shows the fields of the network, each a list of the space's values, and returns the network."""
    if st.session_state.get("designs of") != seen.study.name:  # those of another study cannot be had back in this one
        st.session_state["designs of"], st.session_state["designs"] = seen.study.name, []
    architecture = _designed(start)
    space, change = seen.study.config.space, partial(_change, start, architecture)
    for number, conv in enumerate(architecture.stem, start=1):
        stem = space.stem[number - 1] if number <= len(space.stem) else None
        allowed = {"width": stem.width if stem else (), "stride": (stem.stride,) if stem else ()}
        _row(f"stem{number}", conv, allowed, change)
    for number, stage in enumerate(architecture.stages, start=1):
        known = space.stages[number - 1] if number <= len(space.stages) else None
        groups = known.groups if known else tuple(2**power for power in range(9))
        outs = () if known is None else known.out or (stage.mid,)
        allowed = {
            "depth": known.depth if known else (),
            "mid": known.mid if known else (),
            "groups": tuple(each for each in groups if stage.mid % each == 0),
            "out": outs,
            "stride": (known.stride,) if known else (),
        }
        _row(f"stage{number}", stage, allowed, partial(change, follow=known is not None and known.out is None))
    _buttons(seen, start, architecture)
    return architecture


def _designed(start: TrialRecord) -> Architecture:
    """Returns the network of the starting trial with the changes in the address; invalid ones are dropped."""
    try:
        return edited(start.architecture, read_edits(selection.current().design))
    except NasError:
        selection.choose(design=None)
        selection.write_url()
        return start.architecture


def _row(part: str, values: object, allowed: dict[str, tuple[int, ...]], change: "partial[None]") -> None:
    """Shows the fields of a part in a row."""
    st.caption(part.replace("stem", "stem ").replace("stage", "stage "))
    with st.container(horizontal=True, gap="small"):
        for field, known in allowed.items():
            _field(part, field, getattr(values, field), known, change)


def _field(part: str, field: str, value: int, allowed: Sequence[int], change: "partial[None]") -> None:
    """Shows one field, in which other numbers than those of the space can be typed."""
    key = f"design {part}.{field}"
    selection.show_in(key, value)
    st.selectbox(
        field,
        sorted({*allowed, value}),
        key=key,
        accept_new_options=True,
        format_func=lambda option: f"{option}" if option in allowed or not allowed else f"{option}*",
        on_change=lambda: change(part, field, st.session_state[key]),
        width=FIELD_WIDTH,
    )


def _change(
    start: TrialRecord, architecture: Architecture, part: str, field: str, value: object, *, follow: bool = False
) -> None:
    """Changes one field; groups follow a width that they do not divide, and with `follow` the output, too."""
    typed = str(value).strip()
    edits = [f"{part}.{field}={typed}"]
    try:
        if field == "mid" and typed.isdecimal() and int(typed) > 0:
            groups = architecture.stages[int(part.removeprefix("stage")) - 1].groups
            edits.append(f"{part}.groups={fit_groups(int(typed), groups)}")
            edits += [f"{part}.out={typed}"] if follow else []
        _become(start, edited(architecture, edits))
    except NasError as error:
        st.session_state["design refused"] = str(error)


def _become(start: TrialRecord, architecture: Architecture) -> None:
    """Makes a network the design; what it was before can be had back."""
    _remember()
    selection.choose(trial=start.trial, design=changes_text(start.architecture, architecture) or None)


def _remember() -> None:
    now = selection.current()
    past = st.session_state.setdefault("designs", [])
    past.append((now.trial, now.design))
    del past[:-MOST_UNDONE]


def _undo() -> None:
    trial, design = st.session_state["designs"].pop()
    selection.choose(trial=trial, design=design)


def _start_again() -> None:
    _remember()
    selection.choose(design=None)


def _buttons(seen: live.Snapshot, start: TrialRecord, architecture: Architecture) -> None:
    stages = len(architecture.stages)

    def resize(number: int) -> None:
        _become(start, edited(architecture, [f"stages={number}"]))

    with st.container(horizontal=True):
        st.button("Add a stage", icon=":material/add:", on_click=resize, args=(stages + 1,))
        st.button("Remove the last", icon=":material/remove:", on_click=resize, args=(stages - 1,), disabled=stages < 2)
        unchanged = not st.session_state.get("designs")
        st.button("Undo", icon=":material/undo:", on_click=_undo, disabled=unchanged, shortcut="U")
        st.button("Start again", on_click=_start_again, disabled=selection.current().design is None)
        with st.popover("Other starts"):
            _other_starts(seen, start)


def _other_starts(seen: live.Snapshot, start: TrialRecord) -> None:
    """Offers known shapes, the space's median, and a file."""
    shapes = seen.shared(_shapes)
    chosen = st.selectbox("A known shape", list(shapes), index=None, key="shape", placeholder="Choose one")
    if chosen is not None:
        st.button("Take it", on_click=_take, args=(start, shapes[chosen]))
    file = st.file_uploader("An architecture's YAML file", ["yaml", "yml"], key="design file")
    if file is not None:
        st.button("Take the file's", on_click=_take_file, args=(start, file.getvalue()))


def _shapes(seen: live.Snapshot) -> dict[str, Architecture]:
    """Returns the space's references and its median by name."""
    space = seen.study.config.space
    found = {f"{family}, {count_text(cost(each).flops)} FLOPs": each for family, each in references(space)}
    random = sorted(sample_networks(space, MEDIAN_OF), key=lambda each: cost(each).flops)
    return {**found, "the space's median": random[MEDIAN_OF // 2]}


def _take(start: TrialRecord, architecture: Architecture) -> None:
    ours = start.architecture
    try:
        _become(start, replace(architecture, classes=ours.classes, shortcuts=ours.shortcuts))
    except NasError as error:
        st.session_state["design refused"] = str(error)


def _take_file(start: TrialRecord, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "architecture.yaml"
        file.write_bytes(content)
        try:
            found = Architecture.from_yaml(file)
        except NasError as error:
            st.session_state["design refused"] = str(error).replace(f"{folder}/", "")
            return
    mine, theirs = start.architecture.input, found.input
    if theirs == mine:
        _take(start, found)
        return
    st.session_state["design refused"] = (
        f"input={theirs.channels}×{theirs}: the study's images are {mine.channels}×{mine} (channels × height × width)"
    )
