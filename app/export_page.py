"""Export: a trial as files, written and verified by `nas export` in a process of its own, to be downloaded."""

import io
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import live
import messages
import panel
import selection
import streamlit as st

from nas.axes import FLOPS
from nas.picking import pick
from nas.records import COMPLETE
from nas.units import count_text


def show(seen: live.Snapshot) -> None:
    """The page."""
    if messages.too_early(seen):
        return
    budget = selection.current().budget if selection.current().axis == "flops" else None
    picked = pick(seen.records, FLOPS, budget)
    opened = seen.find(selection.current().trial)
    fitting = opened if opened is not None and opened.state == COMPLETE else picked.record if picked else seen.front[0]
    selection.show_in("exported", fitting.trial)
    trial = st.selectbox(
        "Trial",
        panel.offered(seen, [fitting.trial], only=lambda record: record.state == COMPLETE),
        key="exported",
        format_func=lambda number: panel.label(seen, number),
        on_change=lambda: selection.choose(trial=st.session_state["exported"]),
    )
    if picked and trial == picked.record.trial:
        limit = f" of at most {count_text(budget)} FLOPs" if budget else ""
        st.caption(f"The most accurate trial{limit}.")
    record = seen.find(trial)
    assert record is not None  # it was offered
    panel.facts(seen, record)
    source = st.text_input(
        "Where the images are now",
        key=f"source of {seen.study.name}",
        placeholder=str(seen.study.config.data.get("source", "")),
        help="Only if they were moved since the search. They are needed to check that the files give the accuracy.",
    )
    data = ["--data", source] if source else []
    place = seen.place
    where = ["--runs", place.runs] if place.runs != "runs" else []
    where += ["--storage", place.storage] if place.storage else []
    command = ["export", seen.study.name, "--trial", str(trial), *data, *where]
    kept = seen.study.weights_file(trial).is_file()
    if not kept:
        messages.calm(
            "Nothing to export", "Its weights are not in the study's folder: deleted, or trained by one's own."
        )
    if st.button("Export", type="primary", icon=":material/deployed_code_update:", disabled=not kept):
        with st.spinner("Writing the files, loading them back and measuring their accuracy …"):
            st.session_state["bundle"] = (command, *_export(command, f"{seen.study.name}-trial-{trial}"))
    done = st.session_state.get("bundle")
    if done and done[0] == command:
        _, said, bundle = done
        if bundle is None:
            messages.calm("It could not be exported", said)
        else:
            st.success("Written, loaded back, measured.", icon=":material/check:")
            st.text(said)
            name = f"{seen.study.name}-trial-{trial}.zip"
            st.download_button(f"Download {name}", bundle, name, "application/zip", on_click="ignore")
    st.markdown("**The same in a terminal**")
    st.code(
        shlex.join(["nas", *command, "--out", f"{seen.study.name}-trial-{trial}"]), language="bash", wrap_lines=True
    )


def _export(command: list[str], name: str) -> tuple[str, bytes | None]:
    """What `nas export` said, and its folder as a zip where it succeeded. In another process: it needs torch."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        ran = subprocess.run(
            [sys.executable, "-m", "nas.cli", *command, "--out", str(out)], capture_output=True, text=True, check=False
        )
        if ran.returncode:
            return ran.stderr.strip().removeprefix("nas: ") or "it ended without a word", None
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
            for file in sorted(out.rglob("*")):
                bundle.write(file, Path(name) / file.relative_to(out))
        return ran.stdout.strip().replace(str(out), name), packed.getvalue()
