"""What this machine trains with: cores, memory, GPUs, and the device that a name means."""

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
    "cores",
    "device_id",
    "device_of",
    "free_memory",
    "gpu_count",
    "in_words",
    "total_memory",
    "usual_workers",
    "visible_gpus",
    "workers_asked_for",
]

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda")
WORKER_MEMORY = 10**9
"""What a worker on a CPU needs beside the images, which workers share: Python, torch and a small network."""
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
CUDA_GRAPHS = "NAS_CUDA_GRAPHS"
"""An environment variable: 1 captures training steps on a GPU as CUDA graphs, 0 (the default) does not."""
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of these is there on a Linux machine whose GPU torch can use; looking is quicker than importing torch."""


def cores() -> int:
    """The cores that this process may use; two threads of one core count once."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or allowed
    return max(1, min(allowed, physical, _cgroup_cores()))


def free_memory() -> int:
    """Bytes of main memory that programs can still have."""
    return int(psutil.virtual_memory().available)


def total_memory() -> int:
    """Bytes of main memory."""
    return int(psutil.virtual_memory().total)


def gpu_count() -> int:
    """How many GPUs torch can use here. None of them is touched."""
    if sys.platform == "linux" and not any(Path(driver).exists() for driver in GPU_DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def device_of(name: str) -> "torch.device":
    """The device that one of `DEVICES` names; `auto` is the first CUDA device where there is one, and else the CPU.

    Raises:
        InvalidValue: it is none of them, or there is no CUDA device.
    """
    import torch

    one_of(name, "device", DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidValue("device='cuda': this machine has no CUDA device that torch can use; allowed: auto, cpu")
    if name == "cuda" or (name == AUTO and torch.cuda.is_available()):
        return torch.device("cuda", 0)
    return torch.device("cpu")


def in_words(device: "torch.device") -> str:
    """What a device is called; of a CPU, how many threads torch has there."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"


def device_id(device: "torch.device") -> str:
    """A device by a name that is the same in all processes: `cuda:0` is another GPU in each that sees but its own."""
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else device.type


def workers_asked_for(value: int | str, name: str) -> int | None:
    """A number of workers; None for `auto`.

    Raises:
        InvalidValue: it is neither.
    """
    if value == AUTO:
        return None
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, str):
        raise InvalidValue(f"{name}={shown(value)}: must be a number of workers, or {AUTO}")
    return integer(value, name, minimum=0, maximum=10_000)


def usual_workers() -> int:
    """How many workers keep this machine's CPU busy: one a core, if there is memory for them."""
    return max(1, min(cores(), free_memory() // WORKER_MEMORY))


def _cgroup_cores() -> int:
    """The cores that a container may use, rounded up; no limit where there is none."""
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup, or no limit: "max"
        return sys.maxsize


def visible_gpus() -> list[str]:
    """The GPUs of this machine as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(gpu_count())]
