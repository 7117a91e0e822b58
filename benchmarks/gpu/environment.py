"""The card, its driver, and the versions."""

import os
import platform
import statistics
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.gpu.kit import Kit
from nas.system.cuda_graph import TimedReplay

SECONDS = 5.0
PACKAGES = ("torch", "lightning", "optuna", "numpy", "filelock", "psutil")
MATRIX = 8192


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """One row of facts; and how fast the card multiplies large matrices, beside which shares of its peak are given."""
    if "facts" in done:
        return
    facts: dict[str, Any] = {"key": "facts", "python": platform.python_version(), "cores": os.cpu_count()}
    facts["versions"] = {name: _version(name) for name in PACKAGES}
    if device == "cuda":
        seen = torch.cuda.get_device_properties(0)
        facts |= {"card": seen.name, "memory": seen.total_memory, "multiprocessors": seen.multi_processor_count}
        facts |= {"cuda": torch.version.cuda, "cudnn": _cudnn(), "driver": _driver()}
        facts["tflops"] = _tflops()
    yield facts


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line."""
    for row in rows:
        versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items() if number)
        card = row.get("card", "no GPU")
        yield f"{card}, {row['cores']} cores; Python {row['python']}, {versions}"
        if "tflops" in row:
            yield (
                f"driver {row['driver']}, CUDA {row['cuda']}, cuDNN {row['cudnn']}; an {MATRIX}×{MATRIX} product in "
                f"bfloat16 runs at {row['tflops']:.0f} TFLOP/s"
            )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def _cudnn() -> int | None:
    number: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return number


def _tflops() -> float:
    """Of a product of random matrices, in 10¹² operations a second, a multiply–add counted as two."""
    a, b = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    timed = TimedReplay(lambda: torch.mm(a, b, out=product), torch.device("cuda"))
    return 2 * MATRIX**3 / (statistics.median(timed() for _ in range(10)) / 1000) / 1e12
