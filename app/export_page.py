"""The Export page: downloads of a trial as files, written and verified by `nas export` in a separate process."""

import io
import shlex
import subprocess
import tempfile
import threading
import zipfile
from concurrent.futures import Future
from pathlib import Path

import access
import final_panel
import launch
import live
import messages
import panel
import selection
import streamlit as st

from nas.exporters.formats import FILES, FORMATS, USUAL
from nas.exporters.trained_network import trained_weights

SECONDS_BETWEEN_LOOKS = 1.0
_exporting = threading.Lock()
"""Serializes exports: each starts a process with torch, and many users may press the button at once."""


def show(seen: live.Snapshot) -> None:
    """Renders the page."""
    if messages.too_early(seen):
        return
    trial = _chosen_trial(seen)
    record = seen.find(trial)
    assert record is not None  # only existing trials are offered
    panel.facts(seen, record)
    source = _moved_images(seen)
    data = ["--data", source] if source else []
    if not final_panel.show(seen, record, data=data):
        return
    formats = st.pills(
        "Formats",
        FORMATS,
        selection_mode="multi",
        default=USUAL,
        key="formats",
        format_func=lambda name: FILES[name],
        help="model.html is a page for any browser; model.py needs torch, and Pillow for all but PNG; .pt2 is for "
        "torch.export; ONNX is for ONNX Runtime and others, int8 its smaller form in integers, refused if it loses "
        "more than a point; .tflite is for LiteRT, on phones and boards.",
    )
    chosen = [] if set(formats) == set(USUAL) else ["--formats", ",".join(formats)]
    command = ["export", seen.study.name, "--trial", str(trial), *chosen, *data, *seen.place.options]
    kept = trained_weights(seen.study, trial).weights_file.is_file()
    if not kept:
        messages.calm(
            "Nothing to export",
            "Its weights are not in the study's folder: deleted as others beat it, or trained by one's own.",
        )
    st.button(
        "Export",
        type="primary",
        icon=":material/deployed_code_update:",
        disabled=not kept or not formats or _is_exporting(command),
        on_click=_begin,
        args=(command, f"{seen.study.name}-trial-{trial}"),
    )
    _offer_bundle(seen, command, trial)
    st.markdown("**The same in a terminal**")
    st.code(
        shlex.join(["nas", *command, "--out", f"{seen.study.name}-trial-{trial}"]), language="bash", wrap_lines=True
    )


def _chosen_trial(seen: live.Snapshot) -> int:
    """Shows the selection of a trial: at first the opened one, or the recommended one with the reasons for it."""
    axis = selection.axis_for(seen.records, seen.axes)
    choice = seen.shared(panel.picked, axis.key, selection.current().budget)
    opened = seen.find(selection.current().trial)
    picked = choice.pick.record.trial if choice is not None else seen.front[0].trial
    fitting = opened.trial if opened is not None and opened.trained else picked
    selection.show_in("exported", fitting, panel.label(seen, fitting))
    trial = st.selectbox(
        "Trial",
        panel.offered(seen, [fitting], only=lambda record: record.trained),
        key="exported",
        format_func=lambda number: panel.label(seen, number),
        on_change=lambda: selection.choose(trial=panel.number_of(st.session_state["exported"])),
    )
    if choice is not None and trial == picked:
        for sentence in choice.sentences:
            st.text(sentence)
    return trial


def _offer_bundle(seen: live.Snapshot, command: list[str], trial: int) -> None:
    """Shows the result of the last export, if it is the one that `command` asks for."""
    asked: tuple[list[str], Future[tuple[str, bytes | None]]] | None = st.session_state.get("bundle")
    if asked is None or asked[0] != command:
        return
    if not asked[1].done():
        _await(asked[1])
        return
    text, bundle = asked[1].result()
    if bundle is None:
        messages.calm("It could not be exported", text)
        return
    st.success("Written, loaded back, compared.", icon=":material/check:")
    st.text(text)
    # The label is Markdown, so it must not contain the study's name.
    name = f"{seen.study.name}-trial-{trial}.zip"
    st.download_button("Download the files", bundle, name, "application/zip", on_click="ignore")


def _is_exporting(command: list[str]) -> bool:
    asked = st.session_state.get("bundle")
    return asked is not None and asked[0] == command and not asked[1].done()


def _begin(command: list[str], name: str) -> None:
    """Exports in another thread, as the page may be rerun meanwhile, and would take the export with it."""
    export: Future[tuple[str, bytes | None]] = Future()
    st.session_state["bundle"] = (command, export)

    def run() -> None:
        try:
            export.set_result(_export(command, name))
        except Exception as error:
            export.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # which does not keep a server from ending


def _await(export: "Future[tuple[str, bytes | None]]") -> None:
    """Says that an export is under way, until it has ended; then reruns the page."""

    @st.fragment(run_every=SECONDS_BETWEEN_LOOKS)
    def look() -> None:
        if export.done():
            st.rerun()
        st.caption("Writing the files, loading each back in another process and comparing them …")

    look()


def _moved_images(seen: live.Snapshot) -> str:
    """Returns the new location of moved images, if given; only asked where users may name paths."""
    if not access.may_act():
        return ""
    return st.text_input(
        "Where the images are now",
        key=f"source of {seen.study.name}",
        placeholder=str(seen.study.config.data.get("source", "")),
        help="Only if they were moved since the search. They are needed to train, and to check that the files give the "
        "accuracy.",
    )


def _export(command: list[str], name: str) -> tuple[str, bytes | None]:
    """Runs `nas export` in a process, as it needs torch; returns its output, and the folder as a zip on success."""
    with _exporting, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        ran = subprocess.run(
            [*launch.NAS, *command, "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            return ran.stderr.strip().removeprefix("nas: ") or "it ended without a message", None
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
            for file in sorted(out.rglob("*")):
                bundle.write(file, Path(name) / file.relative_to(out))
        return ran.stdout.strip().replace(str(out), name), packed.getvalue()
