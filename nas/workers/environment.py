"""examine(): what this machine has, what a search would make of it, and how fast it trains."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from nas.spaces.search_space import SearchSpace
from nas.system.gpus import Gpu, gpus
from nas.system.hardware import cores, free_memory, gpu_count, total_memory, usual_workers
from nas.workers.throughput import Throughput, best_per_gpu, throughput

__all__ = ["EXTRAS", "Machine", "examine", "measure"]

PACKAGES = ("nas", "torch", "lightning", "optuna", "numpy", "scikit-learn")
EXTRAS = {"dashboard": "streamlit", "data": "datasets", "ray": "ray", "postgresql": "psycopg"}
"""What can be installed beside, and a package of each by which it is known."""


class Machine(NamedTuple):
    """What there is: versions by package (None: not installed), cores, memory in bytes, GPUs."""

    system: str
    python: str
    versions: dict[str, str | None]
    extras: dict[str, str | None]
    cores: int
    usual_workers: int
    free_memory: int
    total_memory: int
    gpus: tuple[Gpu, ...]

    def to_dict(self) -> dict[str, Any]:
        """The form that `--json` prints."""
        return {**self._asdict(), "gpus": [gpu._asdict() for gpu in self.gpus]}


def examine() -> Machine:
    """Looks; measures nothing. `usual_workers` are those that `auto` starts where there is no GPU."""
    return Machine(
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        {package: _version(package) for package in PACKAGES},
        {extra: _version(package) for extra, package in EXTRAS.items()},
        cores(),
        usual_workers(),
        free_memory(),
        total_memory(),
        gpus(),
    )


def measure(space: SearchSpace, *, seconds: float) -> list[Throughput]:
    """What one worker trains of a space's examples, then as many as `--workers auto` starts, in about so many seconds.

    Several GPUs are not measured together: the figures are of the first.

    Raises:
        TrainingFailed: nothing can be trained here.
    """
    device = "cuda" if gpu_count() else "cpu"
    alone = throughput(space, workers=1, seconds=seconds / 4, device=device)
    workers = best_per_gpu(space) if device == "cuda" else usual_workers()
    return [alone] if workers == 1 else [alone, throughput(space, workers=workers, seconds=seconds / 4, device=device)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
