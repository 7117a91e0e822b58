"""How many images a second this machine trains with: by one worker, and by several at once."""

import multiprocessing
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from nas.architecture import Architecture
from nas.errors import TrainingFailed
from nas.machine import AUTO, cores
from nas.preflight import noise, preflight
from nas.processes import METHOD
from nas.space import SearchSpace

__all__ = ["Throughput", "best_per_gpu", "throughput"]

LEAST_GAIN = 1.1
"""Twice as many workers must train this much more, or they are not worth their memory."""
MOST_PER_GPU = 8
CONTEXT_MEMORY = 6 * 10**8
"""What a process takes of a GPU beside its tensors."""
SECONDS_TO_START = 120.0


class Throughput(NamedTuple):
    """What so many workers train together: images a second in all, and the most GPU memory that one of them took."""

    workers: int
    images_per_second: float
    gpu_memory: int


def throughput(space: SearchSpace, *, workers: int, seconds: float, device: str = AUTO) -> Throughput:
    """Trains examples of a space on noise in so many processes at once, on the first GPU or on the CPU.

    Raises:
        TrainingFailed: a process could not train (`no_throughput`), as it found too little memory, say.
    """
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
    """How many workers on one GPU train the most together, as far as its memory and the cores allow."""
    import torch

    free, _ = torch.cuda.mem_get_info(0)
    best = throughput(space, workers=1, seconds=seconds, device="cuda")
    while 2 * best.workers <= min(MOST_PER_GPU, max(1, cores() // torch.cuda.device_count())):
        if 2 * best.workers * (best.gpu_memory + CONTEXT_MEMORY) > free:
            break
        try:
            more = throughput(space, workers=2 * best.workers, seconds=seconds, device="cuda")
        except TrainingFailed:
            break
        if more.images_per_second < LEAST_GAIN * best.images_per_second:
            break
        best = more
    return best.workers


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
    """Trains until the time is up, once all are ready; puts images a second and GPU memory, or None."""
    import torch

    from nas.training import on_device, steps

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
    except Exception:  # whatever it is, this many workers are too many
        ready.abort()
        results.put(None)
