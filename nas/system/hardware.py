"""The hardware that this machine trains with: cores, memory, GPUs, and devices by name."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nas.errors import InvalidValue
from nas.validation import integer, one_of, shown

if TYPE_CHECKING:
    import torch

__all__ = [
    "AUTO",
    "CUDA_GRAPHS",
    "DEVICES",
    "HALF_ON_CPU_FROM",
    "cores",
    "cpu_multiplies_bfloat16",
    "device_id",
    "device_of",
    "free_memory",
    "gpu_count",
    "in_words",
    "seconds_waited",
    "total_memory",
    "usual_workers",
    "visible_gpus",
    "workers_asked_for",
]

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda")
WORKER_MEMORY = 10**9
"""Bytes that a CPU worker needs besides the shared images: Python, torch and a small network."""
HALF_ON_CPU_FROM = 10_000_000
"""FLOPs of a network from which training in bfloat16 is faster on CPUs with instructions for it (docs/benchmarks.md);
in smaller ones, conversions take longer than they save."""
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
CUDA_GRAPHS = "NAS_CUDA_GRAPHS"
"""Environment variable: 1 (the default) captures GPU training steps as CUDA graphs, 0 does not."""
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of these exists on any Linux machine whose GPU torch can use; checking is faster than importing torch."""


def cores() -> int:
    """Returns the number of physical cores that this process may use, within CPU affinity and cgroup limits."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or allowed
    return max(1, min(allowed, physical, _cgroup_cores()))


def cpu_multiplies_bfloat16() -> bool:
    """Returns whether the CPU has instructions for bfloat16 (AVX-512-BF16 or AMX); without, it only emulates them."""
    import torch

    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.13
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def free_memory() -> int:
    """Returns the available main memory in bytes."""
    return int(psutil.virtual_memory().available)


def total_memory() -> int:
    """Returns the total main memory in bytes."""
    return int(psutil.virtual_memory().total)


def gpu_count() -> int:
    """Returns the number of GPUs that torch can use, without initialising any."""
    if sys.platform == "linux" and not any(Path(driver).exists() for driver in GPU_DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def device_of(name: str) -> "torch.device":
    """Returns the device for one of `DEVICES`; `auto` is the first CUDA device if there is one, else the CPU.

    Raises:
        InvalidValue: `name` is not in `DEVICES`, or is `cuda` without a CUDA device.
    """
    import torch

    one_of(name, "device", DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidValue("device='cuda': this machine has no CUDA device that torch can use; allowed: auto, cpu")
    if name == "cuda" or (name == AUTO and torch.cuda.is_available()):
        return torch.device("cuda", 0)
    return torch.device("cpu")


def in_words(device: "torch.device") -> str:
    """Returns a readable name of a device; for the CPU, the number of torch's threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"


def device_id(device: "torch.device") -> str:
    """Returns an ID of a device that all processes share; `cuda:0` depends on the GPUs that a process can see."""
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else device.type


def workers_asked_for(value: int | str, name: str) -> int | None:
    """Parses a number of workers, from 0 to 10,000; None for `auto`.

    Raises:
        InvalidValue: `value` is neither; the message calls it `name`.
    """
    if value == AUTO:
        return None
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, str):
        raise InvalidValue(f"{name}={shown(value)}: must be a number of workers, or {AUTO}")
    return integer(value, name, minimum=0, maximum=10_000)


def usual_workers() -> int:
    """Returns the number of workers that keep the CPU busy: one per core, as far as free memory allows."""
    return max(1, min(cores(), free_memory() // WORKER_MEMORY))


def _cgroup_cores() -> int:
    """Returns the cgroup's core limit, rounded up; `sys.maxsize` without a limit."""
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        return sys.maxsize


def visible_gpus() -> list[str]:
    """Returns the visible GPUs by their names in `CUDA_VISIBLE_DEVICES`."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(gpu_count())]


def seconds_waited() -> float:
    """Returns the total seconds that this process's threads were runnable without a core; 0 if unknown."""
    try:
        found = [file.read_text() for file in Path("/proc/self/task").glob("*/schedstat")]
    except OSError:  # a thread has just ended
        return 0.0
    return sum(int(text.split()[1]) for text in found) / 1e9
