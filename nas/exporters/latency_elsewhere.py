"""Measures the latency of a study's networks on another device, reached by a command such as `ssh pi@board`."""

import base64
import json
import math
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nas.architectures.architecture import Architecture
from nas.errors import InvalidValue, StudyError, visible
from nas.study.records import TrialRecord
from nas.study.study import Study
from nas.validation import real

__all__ = ["MeasuredElsewhere", "measure_elsewhere"]

PROGRAM = Path(__file__).resolve().parent / "templates" / "measure_latency.py"
PYTHON = ("python3", "-")
MOST_BYTES = 2**24
"""Models are sent in parts of about this size: a small device has to hold one in memory, as text."""
LONGEST_NAME = 200


class MeasuredElsewhere(NamedTuple):
    """The device's name, and the measured trials with their milliseconds for one image, by increasing cost."""

    device: str
    latencies: list[tuple[TrialRecord, float]]


def measure_elsewhere(study: Study, on: str, *, timeout: float = 600.0) -> MeasuredElsewhere:
    """Measures the front's networks on another device, and stores the latencies in the study.

    The networks are sent as ONNX models in 32-bit floats, untrained, as time does not depend on training. The device
    needs Python and onnxruntime; nothing is left on it.

    Args:
        study: the study; it must not be one that was searched by latency, as that has the latencies of its own device.
        on: a command that runs the command that follows it on the device, such as `ssh pi@board` or
            `docker exec -i box`.
        timeout: seconds to wait for an answer to each part of the models.

    Raises:
        StudyError: the study was searched by latency, or has no front.
        InvalidValue: the command cannot be run, fails, takes too long or does not answer as expected; or `timeout` is
            not above 0.
    """
    real(timeout, "timeout", minimum=0.1, maximum=10**6)
    if study.attributes.latency_model is not None:
        raise StudyError(f"study '{study.name}': was searched by latency on its own device; latencies cannot be mixed")
    members = study.front()
    if not members:
        raise StudyError(f"study '{study.name}': has no trained network to measure")
    try:
        command = [*shlex.split(on), *PYTHON]
    except ValueError as error:
        raise InvalidValue(f"on={on!r}: is not a command: {error}") from None
    found: list[tuple[TrialRecord, float]] = []
    device = ""
    for part in _parts(members):
        device, milliseconds = _ask(command, [model for _, model in part], on=on, timeout=timeout)
        found += zip((member for member, _ in part), milliseconds, strict=True)
    study.attributes.latencies = {member.trial: latency for member, latency in found}
    study.attributes.latency_device = device
    return MeasuredElsewhere(device, found)


def _parts(members: Sequence[TrialRecord]) -> Iterator[list[tuple[TrialRecord, str]]]:
    """Yields the networks with their models as base64, in parts of at most `MOST_BYTES`, at least one each."""
    part: list[tuple[TrialRecord, str]] = []
    for member in members:
        model = base64.b64encode(_onnx(member.architecture)).decode("ascii")
        if part and sum(len(other) for _, other in part) + len(model) > MOST_BYTES:
            yield part
            part = []
        part.append((member, model))
    yield part


def _onnx(architecture: Architecture) -> bytes:
    from nas.architectures.network import build_network
    from nas.exporters.formats import FILES, checked_formats, write_onnx

    checked_formats(["onnx"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILES["onnx"]
        write_onnx(build_network(architecture).eval(), architecture, file)
        return file.read_bytes()


def _ask(command: Sequence[str], models: Sequence[str], *, on: str, timeout: float) -> tuple[str, list[float]]:
    """Runs the program on the device; returns the device's name and the milliseconds of each model."""
    program = f"{PROGRAM.read_text(encoding='utf-8')}\n\nmain({json.dumps(models)})\n"
    try:
        ran = subprocess.run(command, input=program.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise InvalidValue(f"on={on!r}: gave no answer within {timeout:g} s") from None
    except (OSError, ValueError) as error:
        raise InvalidValue(f"on={on!r}: cannot be run: {error}") from None
    said = ran.stderr.decode(errors="replace").strip().splitlines()
    if ran.returncode:
        last = visible(said[-1]) if said else f"it ended with code {ran.returncode} and said nothing"
        raise InvalidValue(f"on={on!r}: failed: {last}")
    try:
        answer = json.loads(ran.stdout.decode().strip().splitlines()[-1])
        device, times = str(answer["device"]), [float(each) for each in answer["milliseconds"]]
    except (ValueError, LookupError, TypeError):
        shown = visible(ran.stdout.decode(errors="replace").strip()[:LONGEST_NAME]) or "nothing"
        raise InvalidValue(f"on={on!r}: answered {shown!r} instead of latencies") from None
    if len(times) != len(models) or not all(math.isfinite(each) and each > 0 for each in times):
        raise InvalidValue(
            f"on={on!r}: answered {[round(each, 3) for each in times]}; {len(models)} numbers above 0 expected"
        )
    return visible(device)[:LONGEST_NAME], times
