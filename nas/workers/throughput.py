"""Measures training throughput in images per second, for one worker or several at once."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import queue
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from nas.architectures.architecture import Architecture
from nas.errors import TrainingFailed
from nas.spaces.preflight import noise, preflight
from nas.spaces.search_space import SearchSpace
from nas.system.files import cache_folder, write_whole
from nas.system.gpus import Gpu, gpus
from nas.system.hardware import AUTO, CUDA_GRAPHS, cores
from nas.system.processes import METHOD, prepare

__all__ = ["Throughput", "best_per_gpu", "throughput"]

LEAST_GAIN = 1.1
"""Factor by which doubling the workers must raise throughput to be worth the memory."""
MOST_PER_GPU = 8
CONTEXT_MEMORY = 6 * 10**8
"""GPU memory per process besides its tensors (the CUDA context), in bytes."""
SECONDS_TO_START = 120.0


class Throughput(NamedTuple):
    """The total images per second of a number of workers, and the peak GPU memory, in bytes, of any one of them."""

    workers: int
    images_per_second: float
    gpu_memory: int


def throughput(space: SearchSpace, *, workers: int, seconds: float, device: str = AUTO) -> Throughput:
    """Measures throughput by training a space's examples on noise in several processes at once.

    Args:
        space: provides the example architectures and the recipe.
        workers: number of concurrent processes.
        seconds: duration of the measurement, not counting start-up.
        device: the CPU or the first GPU.

    Raises:
        TrainingFailed: a process could not train (`no_throughput`), for lack of memory, for example.
    """
    prepare()  # otherwise each process would import torch itself
    context: Any = multiprocessing.get_context(METHOD)
    ready, results = context.Barrier(workers), context.Queue()
    examples = preflight(space).examples
    threads = max(1, cores() // workers)
    processes = [
        context.Process(
            target=_train,
            args=(space, examples),
            kwargs={"device": device, "threads": threads, "seconds": seconds, "ready": ready, "results": results},
        )
        for _ in range(workers)
    ]
    try:
        for process in processes:
            process.start()
        found = [results.get(timeout=SECONDS_TO_START + seconds) for _ in processes]
    except queue.Empty:
        found = [None]
    finally:
        for process in processes:
            process.kill()
            process.join()
    measured = [result for result in found if result is not None]
    if len(measured) < workers:
        raise TrainingFailed("no_throughput", f"{workers} workers at once cannot train on this machine")
    return Throughput(workers, sum(rate for rate, _ in measured), max(memory for _, memory in measured))


def best_per_gpu(space: SearchSpace, *, seconds: float = 3.0) -> int:
    """Returns the number of workers per GPU with the highest total throughput, within its memory and the CPU cores.

    Measured once per card and space, then read from the cache folder as long as enough GPU memory is free.
    """
    found = gpus()
    gpu, file = found[0], _known_file(space, found)
    if (known := _known(file)) is not None and _has_room(gpu, known.workers, known.gpu_memory):
        return known.workers
    best = throughput(space, workers=1, seconds=seconds, device="cuda")
    while 2 * best.workers <= min(MOST_PER_GPU, max(1, cores() // len(found))):
        if not _has_room(gpu, 2 * best.workers, best.gpu_memory):
            break
        try:
            more = throughput(space, workers=2 * best.workers, seconds=seconds, device="cuda")
        except TrainingFailed:
            break
        if more.images_per_second < LEAST_GAIN * best.images_per_second:
            break
        best = more
    with contextlib.suppress(OSError):  # it is then measured again next time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(best._asdict()).encode())
    return best.workers


def _has_room(gpu: Gpu, workers: int, memory: int) -> bool:
    """Returns whether the GPU has free memory for `workers` processes with `memory` bytes of tensors each."""
    return workers * (memory + CONTEXT_MEMORY) <= gpu.free


def _known_file(space: SearchSpace, found: Sequence[Gpu]) -> Path:
    """Returns the cache file for a measurement, keyed by everything the measurement depends on."""
    depends = {
        "gpus": [(gpu.name, gpu.total) for gpu in found],
        "cores": cores(),
        "versions": [version("nas"), version("torch")],
        "graphs": os.environ.get(CUDA_GRAPHS),
        "examples": [example.key for example in preflight(space).examples],
        "batch": space.recipe.batch_size,
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / f"workers-{digest}.json"


def _known(file: Path) -> Throughput | None:
    """Reads a cached measurement; None if the file is missing or damaged."""
    try:
        known = Throughput(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    whole = [known.workers, known.gpu_memory]
    return known if all(type(number) is int and number >= 0 for number in whole) and known.workers else None


def _train(
    space: SearchSpace,
    examples: Sequence[Architecture],
    *,
    device: str,
    threads: int,
    seconds: float,
    ready: Any,
    results: Any,
) -> None:
    """Trains for `seconds` once all processes are ready; puts (images per second, GPU memory) or None in `results`."""
    import torch

    from nas.training.train import on_device, steps

    torch.set_num_threads(threads)
    try:
        data = on_device(noise(space), space.recipe, device)
        running = [steps(example, data, space.recipe) for example in examples]
        for step in running:
            next(step)  # warms up
        ready.wait(SECONDS_TO_START)
        trained, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            trained += sum(next(step) for step in running)
        rate = trained / (time.perf_counter() - start)
        results.put((rate, torch.cuda.max_memory_reserved() if data.device.type == "cuda" else 0))
    except Exception:  # any failure means that this many workers are too many
        ready.abort()
        results.put(None)
