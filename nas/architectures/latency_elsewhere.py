"""Measures the latency of architectures on another device, reached by a command such as `ssh pi@board`."""

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
from nas.architectures.onnx_model import require_onnx, write_onnx
from nas.errors import InvalidValue, visible
from nas.validation import real

__all__ = ["TIMEOUT", "MeasuredElsewhere", "measure_elsewhere"]

PROGRAM = Path(__file__).resolve().parent / "templates" / "measure_latency.py"
PYTHON = ("python3", "-")
MOST_BYTES = 2**24
"""Models are sent in parts of about this size: a small device has to hold one in memory, as text."""
LONGEST_NAME = 200
TIMEOUT = 600.0
"""Seconds to wait for an answer."""


class MeasuredElsewhere(NamedTuple):
    """The device's name, and the milliseconds of each architecture for one image."""

    device: str
    milliseconds: list[float]


def measure_elsewhere(architectures: Sequence[Architecture], on: str, *, timeout: float = TIMEOUT) -> MeasuredElsewhere:
    """Measures architectures on another device.

    They are sent as ONNX models in 32-bit floats, untrained, as time does not depend on training. The device needs
    Python and onnxruntime; nothing is left on it.

    Args:
        architectures: at least one.
        on: a command that runs the command that follows it on the device, such as `ssh pi@board` or
            `docker exec -i box`.
        timeout: seconds to wait for an answer to each part of the models.

    Raises:
        InvalidValue: the command cannot be run, fails, takes too long or does not answer as expected; or `timeout` is
            not above 0.
        MissingExtra: the extra that ONNX needs is not installed.
    """
    real(timeout, "timeout", minimum=0.1, maximum=10**6)
    require_onnx()
    try:
        command = [*shlex.split(on), *PYTHON]
    except ValueError as error:
        raise InvalidValue(f"on={on!r}: is not a command: {error}") from None
    device, found = "", list[float]()
    if not on.strip():
        raise InvalidValue("on='': must be a command that runs another one on the device, such as 'ssh pi@board'")
    for models in _parts(architectures):
        device, milliseconds = _ask(command, models, on=on, timeout=timeout)
        found += milliseconds
    return MeasuredElsewhere(device, found)


def _parts(architectures: Sequence[Architecture]) -> Iterator[list[str]]:
    """Yields the models as base64, in parts of at most `MOST_BYTES`, at least one each."""
    part: list[str] = []
    for architecture in architectures:
        model = base64.b64encode(_onnx(architecture)).decode("ascii")
        if part and sum(map(len, part)) + len(model) > MOST_BYTES:
            yield part
            part = []
        part.append(model)
    yield part


def _onnx(architecture: Architecture) -> bytes:
    from nas.architectures.network import build_network

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(build_network(architecture).eval(), architecture, file)
        return file.read_bytes()


def _ask(command: Sequence[str], models: Sequence[str], *, on: str, timeout: float) -> tuple[str, list[float]]:
    """Runs the program on the device; returns the device's name and the milliseconds of each model."""
    program = f"{PROGRAM.read_text(encoding='utf-8')}\n\nmain({json.dumps(models)})\n"
    try:
        ran = subprocess.run(command, input=program.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise InvalidValue(f"on={on!r}: gave no answer within {timeout:g} s") from None
    except FileNotFoundError:
        raise InvalidValue(f"on={on!r}: there is no command {command[0]!r} here") from None
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
