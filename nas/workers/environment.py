"""Inspects this machine: its hardware and software, the default number of workers, and its training throughput."""

import platform
from typing import Any, NamedTuple

from nas.spaces.search_space import SearchSpace
from nas.system.gpus import Gpu, gpus
from nas.system.hardware import cores, cpu_multiplies_bfloat16, free_memory, gpu_count, total_memory, usual_workers
from nas.system.software import version_of
from nas.workers.throughput import Throughput, best_per_gpu, throughput

__all__ = ["EXTRAS", "Machine", "examine", "measure"]

PACKAGES = ("nas", "torch", "lightning", "optuna", "numpy", "scikit-learn")
EXTRAS = {
    "dashboard": "streamlit",
    "data": "datasets",
    "export": "onnxruntime",
    "heic": "pillow-heif",
    "litert": "litert-torch",
    "postgresql": "psycopg",
    "ray": "ray",
    "s3": "s3fs",
    "tensorboard": "tensorboard",
}
"""The optional extras of `nas`, each with a package that indicates whether it is installed."""


class Machine(NamedTuple):
    """The machine's hardware and software: versions by package (None: not installed), cores, memory in bytes, GPUs.

    `bfloat16` says whether the CPU has instructions for it; `usual_workers` is the number of workers that `auto` starts
    on a machine without a GPU.
    """

    system: str
    python: str
    versions: dict[str, str | None]
    extras: dict[str, str | None]
    cores: int
    bfloat16: bool
    usual_workers: int
    free_memory: int
    total_memory: int
    gpus: tuple[Gpu, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the machine as the plain values that `--json` prints."""
        return {**self._asdict(), "gpus": [gpu._asdict() for gpu in self.gpus]}


def examine() -> Machine:
    """Returns a description of this machine without running any measurement."""
    return Machine(
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        {package: version_of(package) for package in PACKAGES},
        {extra: version_of(package) for extra, package in EXTRAS.items()},
        cores(),
        cpu_multiplies_bfloat16(),
        usual_workers(),
        free_memory(),
        total_memory(),
        gpus(),
    )


def measure(space: SearchSpace, *, seconds: float) -> list[Throughput]:
    """Measures training throughput on a space's examples with one worker, then with as many as `--workers auto` starts.

    Only the first GPU is measured.

    Args:
        space: provides the example architectures and the recipe.
        seconds: approximate total duration.

    Returns:
        One measurement per worker count; only the first where `auto` starts a single worker.

    Raises:
        TrainingFailed: nothing can be trained on this machine.
    """
    device = "cuda" if gpu_count() else "cpu"
    alone = throughput(space, workers=1, seconds=seconds / 4, device=device)
    workers = best_per_gpu(space) if device == "cuda" else usual_workers()
    return [alone] if workers == 1 else [alone, throughput(space, workers=workers, seconds=seconds / 4, device=device)]
