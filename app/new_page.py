"""The page New search: the images, the space and what it holds, and the start of a search."""

import json
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import access
import chart
import launch
import live
import messages
import panel
import search_fields
import streamlit as st

from nas.analysis.figures.architecture import drawing_figure
from nas.analysis.figures.space import space_figure
from nas.architectures.cost import cost, stem_cost
from nas.data.images import Images
from nas.data.inspection import SourceShape, example_images, inspect_source
from nas.data.report import report_on
from nas.errors import NasError
from nas.spaces.built_in import load_space
from nas.spaces.generation import generate_space, usual_budget
from nas.spaces.preflight import Preflight, preflight, sample_networks
from nas.spaces.rows import PART, differences, from_rows, to_rows
from nas.spaces.search_space import SearchSpace
from nas.study.catalog import as_study_name, study_name
from nas.system.files import write_whole
from nas.system.resources import ready_spaces
from nas.units import count_text, duration_text, parse_count

MADE, DIGITS = "made for the images", "digits"
EXAMPLES, EXAMPLE_SIZE, SAMPLED = 10, 64, 1000
CLASSES_SHOWN, OF_EACH_CLASS, HEIGHT_OF_CLASSES = 50, 7, 420
SECONDS_KEPT = 60
HELP = {
    "depth": "Numbers of blocks.",
    "mid": "Widths of the grouped convolutions; in the stem, of its convolution.",
    "groups": "Numbers of groups. Only those that divide a width are combined with it.",
    "out": "Widths of the stage's output; mid: the same as mid.",
    "stride": "2 halves the size of the map.",
}


class Source(NamedTuple):
    """The images to search on: where they are, their shape, and an example of each of some classes."""

    where: str
    shape: SourceShape
    examples: dict[str, list[Images]]


def show(place: live.Place, seen: live.Snapshot | None) -> None:
    """Renders the page; `seen` is the selected study, if there is one."""
    if not access.may_act():
        messages.calm("No search can be started from here", access.refusal())
        return
    left, right = st.columns([1.25, 1], gap="large")
    with left:
        source = _source(seen)
        if source is None:
            return
        base = _base(source, seen)
        space = _edited(base) if base else None
    if base is None or space is None:
        return
    with right:
        _holds(space)
    with left:
        _start(place, source, base=base, space=space, seen=seen)


def _source(seen: live.Snapshot | None) -> Source | None:
    """Asks where the images are, at first those of the selected study, and shows what is there."""
    known = str(seen.study.config.data["source"]) if seen is not None else DIGITS
    where = st.text_input(
        "Images",
        known if Path(known).exists() else DIGITS,
        key=search_fields.key("images", seen.study.name if seen is not None else "no study"),
        help="A folder with a folder of images for each class, a parquet, WebDataset, CSV or npz file, digits.",
    ).strip()
    if not where:
        return None
    try:
        found = _look(where)
    except NasError as error:
        st.warning(messages.literal(str(error)))
        return None
    colours = "grey" if found.shape.input.channels == 1 else "colour"
    shape = found.shape
    kinds = f"with any of {shape.classes} labels" if shape.multi_label else f"of {shape.classes} classes"
    st.caption(f"{shape.images:,} images {kinds}, {colours}, of {shape.input} pixels.")
    with st.container(horizontal=True, gap="small"):
        for name, (image, *_) in found.examples.items():
            st.image(image, messages.literal(name[:9]), width=EXAMPLE_SIZE, clamp=True)
    words = "Finds unreadable files, copies, leaks and rare classes."
    if st.toggle("Look at every image", help=words, key=f"all {where}"):
        for sentence in _advice(where):
            st.text(sentence)
        with st.container(height=HEIGHT_OF_CLASSES):
            for name, images in _of_each_class(where).items():
                st.caption(messages.literal(name))
                with st.container(horizontal=True, gap="xsmall"):
                    for image in images:
                        st.image(image, width=EXAMPLE_SIZE, clamp=True)
    return found


@st.cache_data(ttl=SECONDS_KEPT, max_entries=20, show_spinner="Looking at the images …")
def _look(where: str) -> Source:
    return Source(where, inspect_source(where), example_images(where, size=EXAMPLE_SIZE, most=EXAMPLES))


@st.cache_data(ttl=SECONDS_KEPT * 10, max_entries=5, show_spinner="Looking at every image …")
def _advice(where: str) -> list[str]:
    return report_on(where).advice()


@st.cache_data(ttl=SECONDS_KEPT * 10, max_entries=5, show_spinner="Looking at every image …")
def _of_each_class(where: str) -> dict[str, list[Images]]:
    return example_images(where, size=EXAMPLE_SIZE, most=CLASSES_SHOWN, each=OF_EACH_CLASS)


def _base(source: Source, seen: live.Snapshot | None) -> SearchSpace | None:
    """Asks for the space to begin with, and its budget in FLOPs."""
    spaces = {name: load_space(name) for name in ready_spaces()}
    fitting = {name: space for name, space in spaces.items() if space.input == source.shape.input}
    if seen is not None and seen.study.config.space.input == source.shape.input:
        fitting[f"that of study {seen.study.name}"] = seen.study.config.space
    left, right = st.columns([1.5, 1])
    offered = [*fitting, MADE] if source.where == DIGITS else [MADE, *fitting]  # what `nas search` takes comes first
    chosen = left.selectbox("Space", offered, key=search_fields.key("space", source.where))
    usual = count_text(usual_budget(source.shape.input)).replace(" ", "")
    most = search_fields.key("most FLOPs", source.where)
    typed = right.text_input("Most FLOPs", placeholder=usual if chosen == MADE else "no limit", key=most)
    try:
        budget = parse_count(typed, "max_flops") if typed.strip() else None
        if chosen == MADE:
            return generate_space(source.shape.input, source.shape.classes, max_flops=budget)
        return fitting[chosen].with_changes(classes=source.shape.classes, max_flops=budget)
    except NasError as error:
        st.warning(messages.literal(str(error)))
        return None


def _edited(base: SearchSpace) -> SearchSpace | None:
    """Shows the stem and the stages as a table to edit; returns the space as edited, None if it is not valid."""
    rows = to_rows(base)
    if st.session_state.get("rows of") != rows:  # another space to begin with
        st.session_state["rows of"] = rows
        _show_rows(rows)
    elif f"editor {st.session_state['editor']}" not in st.session_state:  # the page was left
        _show_rows(st.session_state["edited rows"])
    changed = st.data_editor(
        st.session_state["rows"],
        key=f"editor {st.session_state['editor']}",
        hide_index=True,
        disabled=[PART],
        column_config={name: st.column_config.Column(name, help=words) for name, words in HELP.items()},
    )
    st.session_state["edited rows"] = changed
    stages = sum(row[PART].startswith("stage") for row in changed)
    buttons = st.columns(3)
    buttons[0].button(
        "Add a stage", on_click=_show_rows, args=([*changed, changed[-1] | {PART: f"stage {stages + 1}"}],)
    )
    buttons[1].button("Remove the last", on_click=_show_rows, args=(changed[:-1],), disabled=stages < 2)
    buttons[2].button("Start again", on_click=_show_rows, args=(rows,), disabled=changed == rows)
    try:
        return from_rows(base, changed)
    except NasError as error:
        st.warning(messages.literal(str(error)))
        return None


def _show_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Puts other rows into the table, whose key changes, as the edits of the old one belong to its rows."""
    st.session_state["rows"] = st.session_state["edited rows"] = list(rows)
    st.session_state["editor"] = st.session_state.get("editor", 0) + 1


def _earlier(seen: live.Snapshot | None, space: SearchSpace) -> str | None:
    """Shows how the space differs from that of the selected study; returns that study if one can learn from it."""
    if seen is None or seen.study.config.space.input != space.input or not any(each.trained for each in seen.records):
        return None
    mine, theirs = space.parameters, seen.study.config.space.parameters
    if set(mine) != set(theirs) or any(not set(mine[name]) & set(theirs[name]) for name in mine):
        return None
    if lines := differences(seen.study.config.space, space):
        with st.expander(f"What differs from the space of {messages.literal(seen.study.name)} ({len(lines)})"):
            for line in lines:
                st.text(line)
    return seen.study.name


def _holds(space: SearchSpace) -> None:
    """Shows what the space holds: how many architectures, their costs, and three of them."""
    try:
        report, flops, share = _report(space.to_yaml(), space)
    except NasError as error:
        st.warning(messages.literal(str(error)))
        return
    panel.metrics(
        {
            "architectures": count_text(space.valid),
            "within the budget": f"{'' if report.exact else '≈ '}{count_text(report.within_budgets)}",
            "fewest FLOPs": count_text(report.flops.smallest),
            "most": f"{'' if report.exact else '≈ '}{count_text(report.flops.largest)}",
            "of which the stem": f"{share:.0%}",
        }
    )
    words = "histogram of the FLOPs of architectures drawn at random from the space"
    chart.chart(chart.ready(space_figure(flops, budget=space.max_flops)), "space", alt=words, bare=True)
    for tab, example in zip(st.tabs(["small", "median", "large"]), report.examples, strict=True):
        with tab:
            amounts = cost(example)
            st.caption(f"{count_text(amounts.flops)} FLOPs, {count_text(amounts.params)} parameters")
            words = f"the network {example.name}: its layers from stem to classifier, groups as groups"
            chart.chart(chart.ready(drawing_figure(example)), f"example {amounts.flops}", alt=words, bare=True)


@st.cache_data(max_entries=20, show_spinner="Counting …")
def _report(yaml: str, _space: SearchSpace) -> tuple[Preflight, list[int], float]:
    """Returns the pre-flight, the FLOPs of random architectures, and the mean share of their stems; by the `yaml`."""
    networks = sample_networks(_space, SAMPLED)
    flops = [cost(network).flops for network in networks]
    stems = [stem_cost(network.stem, network.input).flops for network in networks]
    share = sum(stem / whole for stem, whole in zip(stems, flops, strict=True)) / SAMPLED
    return preflight(_space), flops, share


def _start(
    place: live.Place, source: Source, *, base: SearchSpace, space: SearchSpace, seen: live.Snapshot | None
) -> None:
    """Asks for the budget, shows the command, and starts it; offers to learn from the trials of the selected study."""
    earlier = _earlier(seen, space)
    key, fields = partial(search_fields.key, of=source.where), st.columns(4)
    study = fields[0].text_input("Name", as_study_name(Path(source.where).name), key=key("name"))
    words = "In full-length ones."
    trials = fields[1].number_input("Trainings", 1, 1_000_000, 50, help=words, key=key("trainings"))
    epochs = fields[2].number_input("Epochs", 1, 100_000, None, placeholder="as it suits", key=key("epochs"))
    workers = fields[3].number_input("Workers", 1, 1024, None, placeholder="auto", key=key("workers"))
    judging = search_fields.judging(source.where, multi_label=source.shape.multi_label)
    of_images = search_fields.folds(source.where)
    of_images += search_fields.of_files(source.where, seen) if source.where != DIGITS else []
    options = [
        *_space_options(place, study, source, base=base, space=space),
        *("--data", source.where, "--trials", str(trials), "--workers", str(workers or "auto")),
        *(["--epochs", str(epochs)] if epochs else []),
        *judging,
        *of_images,
    ]
    if earlier is not None and earlier != study and place.storage is None:
        words = "The search begins with what that study knows of the values that both spaces have."
        if st.checkbox(
            f"Learn from the trials of {messages.literal(earlier)}", help=words, key=key(f"learning from {earlier}")
        ):
            options += ["--warm-start", earlier]
    if study in live.names(place):
        st.caption("A study of this name exists: with the same space and images its search goes on.")
    buttons = st.columns(3)
    begin = buttons[0].button("Start the search", type="primary", icon=":material/play_arrow:", width="stretch")
    buttons[1].download_button("YAML", space.to_yaml(), f"{space.name}.yaml", on_click="ignore", width="stretch")
    if buttons[2].button("How long?", help="Times some training steps here.", width="stretch"):
        recipe = space.recipe.with_values(epochs=epochs) if epochs else space.recipe
        st.caption(_duration(source.where, space.with_changes(recipe=recipe), trials, of_images))
    st.code(shlex.join(launch.command(place, study, options)), language="bash", wrap_lines=True)
    if begin:
        try:
            study_name(study)  # before a file is named after it
            if _file(place, study) == options[0]:
                Path(place.runs).mkdir(parents=True, exist_ok=True)
                write_whole(Path(options[0]), space.to_yaml().encode())
            st.session_state["launch"] = launch.start(place, study, options)
        except (NasError, OSError) as error:
            messages.calm("It was not started", str(error))
        else:
            st.rerun()


def _space_options(
    place: live.Place, study: str, source: Source, *, base: SearchSpace, space: SearchSpace
) -> list[str]:
    """Returns the arguments that name the space: none or a ready one where that is what it is, else a file."""
    chosen, typed = (st.session_state[search_fields.key(name, source.where)] for name in ("space", "most FLOPs"))
    ready = chosen in ready_spaces()
    if space == base and (ready or (chosen == MADE and source.where != DIGITS)):
        return [*([chosen] if ready else []), *(["--max-flops", typed.strip()] if typed.strip() else [])]
    return [_file(place, study)]


def _file(place: live.Place, study: str) -> str:
    return str(Path(place.runs) / f"{study}.space.yaml")


def _duration(source: str, space: SearchSpace, trials: int, of_images: list[str]) -> str:
    """Says how long a search takes on this machine, from training steps in another process."""
    with st.spinner("Timing some training steps …"):
        given = ["--data", source, *of_images, "--trials", str(trials), "--json"]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "space.yaml"
            file.write_text(space.to_yaml(), encoding="utf-8")
            command = [*launch.NAS, "space", str(file), *given]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return messages.literal(ran.stderr.strip() or "It could not be timed.")
    took = json.loads(ran.stdout)["estimate"]
    busy = "; other programs are at work here, which makes it longer" if took["is_busy"] else ""
    return f"About {duration_text(took['seconds'])} by one worker, {took['epochs']} epochs each{busy}."
