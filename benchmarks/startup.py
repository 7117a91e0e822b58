"""Time from typing a command to its answer, as whole processes."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import nas

REPEATS = 7


def measure() -> Iterator[tuple[str, list[float], str]]:
    """`--help`, and the front of a study of 100 trials."""
    with tempfile.TemporaryDirectory() as runs:
        nas.search("digits", trials=100, runs=runs, name="b", evaluate=lambda a, _: int(a.key, 16) % 1000 / 1000)
        for args in (["--help"], ["front", "b", "--runs", runs]):
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                subprocess.run([sys.executable, "-m", "nas.cli", *args], check=True, capture_output=True)
                seconds.append(time.perf_counter() - start)
            yield f"`nas {args[0]}`", seconds, "s"
