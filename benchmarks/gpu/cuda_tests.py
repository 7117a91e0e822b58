"""The tests in tests/cuda: how many passed, and the end of what pytest printed."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.kit import Kit

SECONDS = 110.0
ROOT = Path(__file__).parents[2]
SHOWN_CHARACTERS = 20_000


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """One row, when all tests have ended; another one, when the time has."""
    if "pytest" in done:
        return
    # A bare machine has other versions of packages that are not ours: their warnings are no failures here.
    options = ["-v", "-rfEs", "--tb=short", "-p", "no:cacheprovider", "-W", "default", "--durations=10"]
    command = [sys.executable, "-m", "pytest", "tests/cuda", *options]
    with tempfile.TemporaryFile("w+") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(10.0, seconds - 5))
        process.kill()
        code = process.wait()
        file.seek(0)
        said = file.read()
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", said)}
    yield {
        "key": "pytest" if code >= 0 else "pytest, cut off",
        "exit_code": code,
        "counts": counts,
        "output": said[-SHOWN_CHARACTERS:],
    }


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The counts, and the lines that name what failed."""
    for row in rows:
        yield ", ".join(f"{number} {word}" for word, number in row["counts"].items()) or row["output"][-500:]
        yield from (f"- {line}" for line in row["output"].splitlines() if re.match(r"(FAILED|ERROR) ", line))
