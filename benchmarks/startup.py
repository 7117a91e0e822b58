"""Time from entering a command to its output, as whole processes."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import nas

REPEATS = 7


def measure() -> Iterator[tuple[str, list[float], str]]:
    """`--help`, the front of a study of 100 trials, and the start of a search of the digits."""
    with tempfile.TemporaryDirectory() as runs:
        nas.search("digits", trials=100, runs=runs, name="b", evaluate=lambda a, _: int(a.key, 16) % 1000 / 1000)
        for args in (["--help"], ["front", "b", "--runs", runs]):
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                subprocess.run([sys.executable, "-m", "nas", *args], check=True, capture_output=True)
                seconds.append(time.perf_counter() - start)
            yield f"`nas {args[0]}`", seconds, "s"
    for workers in (1, 2):
        yield (
            f"`nas search` to the first training step, {workers} worker(s)",
            [first(workers) for _ in range(REPEATS)],
            "s",
        )


def first(workers: int) -> float:
    """Seconds from the command to the moment when the first trial's training begins."""
    with tempfile.TemporaryDirectory() as runs:
        command = [
            sys.executable,
            "-m",
            "nas",
            "search",
            "digits",
            "--runs",
            runs,
            "--study",
            "b",
            "--epochs",
            "1",
        ]
        start = time.time()
        subprocess.run([*command, "--trials", "2", "--workers", str(workers)], check=True, capture_output=True)
        return min(record.started or 0.0 for record in nas.Study.open("b", runs).records()) - start
