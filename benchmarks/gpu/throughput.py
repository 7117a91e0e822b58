"""Images a second of one training: ours, eager and captured, a bare loop, and the script by hand with its loaders."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks import by_hand
from benchmarks.gpu.kit import Kit, nearest
from benchmarks.training import by_hand as bare_loop
from nas import Architecture, Input, Recipe, Stage, StemConv, cost, load_space
from nas.system.cuda_graph import CapturedStep
from nas.system.hardware import CUDA_GRAPHS
from nas.training.module import TrainingModule
from nas.training.train import on_device, steps, threads_for, train

SECONDS = 80.0
SIZES = (10e6, 20e6, 50e6)
"""FLOPs of the networks of groupconv32 that are nearest to these; then ResNeXt-29 8×64d, which is all arithmetic."""
LARGE = Architecture(
    Input(3, 32),
    10,
    (StemConv(64),),
    tuple(Stage(3, 512 * 2**number, 8, 256 * 2**number, stride=2 if number else 1) for number in range(3)),
)
TRAINED, VALIDATED = 20_000, 2_000
CAPTURED = "captured"


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Steps of a first training, kernels, then images a second for each network and way."""
    by_hand.quiet()
    small = device == "cpu"
    space = load_space("groupconv32")
    # AdamW on both sides, as the bare loop has it.
    recipe = space.recipe.with_values(epochs=1 if small else 2, optimizer="adamw", batch_size=32 if small else 128)
    images = kit.images(32, train=96 if small else TRAINED, validation=32 if small else VALIDATED)
    data = on_device(images, recipe, device)
    chosen = [nearest(space, flops) for flops in SIZES[: 1 if small else None]]

    def row(key: str, network: Architecture, **figures: Any) -> dict[str, Any]:
        return {"key": key, "network": network.name, "flops": cost(network).flops, **figures}

    if (key := "first steps") not in done:  # comes first, while the process has trained nothing yet
        yield row(key, chosen[0], seconds=_step_seconds(chosen[0], data, recipe))
    if (key := "kernels of a step") not in done:
        yield row(key, chosen[0], count=_kernels(chosen[0], data, recipe))
    for network in [*chosen, *([] if small else [LARGE])]:
        for side, train_once in _sides(network, data, recipe, device).items():
            if (key := f"{network.name}: {side}") not in done:
                rate = _rate(train_once, recipe, len(data.train))
                said = f"{side}, which failed" if side == CAPTURED and CapturedStep.failed else side
                yield row(key, network, side=said, images_per_second=rate)
    for loaders in (0, 4):
        side = f"the script by hand, {loaders} loaders"
        if (key := f"{chosen[0].name}: {side}") in done:
            continue
        loaded = by_hand.Data(images, replace(recipe, epochs=1), loaders=loaders)
        once = replace(recipe, epochs=1)
        rate = _rate(lambda: by_hand.train(chosen[0], loaded, once, seed=0), once, len(data.train), warm=False)  # noqa: B023
        yield row(key, chosen[0], side=side, images_per_second=rate)


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of images a second by network and way, with the share that our training has of a bare loop."""
    for row in rows:
        if "seconds" in row:
            first, tenth = 1000 * row["seconds"][0], 1000 * row["seconds"][-1]
            yield f"The first step of {row['network']} took {first:.0f} ms, the tenth {tenth:.1f} ms."
        if "count" in row:
            yield f"A step of {row['network']} is {row['count']} kernels (on a CPU: operators)."
    yield ""
    yield "| network | FLOPs | way | images/s | TFLOP/s |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if "images_per_second" in row:
            # Forward and backward are three passes, and a multiply–add two operations.
            tflops = 6 * row["flops"] * row["images_per_second"] / 1e12
            rate = f"{row['images_per_second']:,.0f}"
            yield f"| {row['network']} | {row['flops'] / 1e6:.0f} M | {row['side']} | {rate} | {tflops:.1f} |"


def _sides(network: Architecture, data: Any, recipe: Recipe, device: str) -> dict[str, Callable[[], object]]:
    def ours(graphs: str) -> Callable[[], object]:
        def run() -> object:
            os.environ[CUDA_GRAPHS] = graphs
            return train(network, data, recipe)

        return run

    def bare() -> object:
        with threads_for(network, recipe):
            return bare_loop(network, data, recipe)

    sides = {"eager": ours("0"), "a bare loop": bare}
    return sides if device == "cpu" else {**sides, CAPTURED: ours("1")}


def _rate(run: Callable[[], object], recipe: Recipe, images: int, *, warm: bool = True) -> float:
    """Training images a second, validation's time included: the better of two runs, as others may share the machine."""
    seconds = []
    for _ in range(2 if warm else 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    trained = recipe.epochs * (images // recipe.batch_size) * recipe.batch_size
    return trained / min(seconds)


def _step_seconds(network: Architecture, data: Any, recipe: Recipe) -> list[float]:
    os.environ[CUDA_GRAPHS] = "0"
    running, seconds = steps(network, data, recipe), []
    for _ in range(10):
        start = time.perf_counter()
        next(running)
        seconds.append(time.perf_counter() - start)
    return seconds


def _kernels(network: Architecture, data: Any, recipe: Recipe) -> int:
    """Kernels that a step launches on a GPU; on a CPU the operators that it calls."""
    module = TrainingModule(network, data, recipe, seed=0, report=None).to(data.device)
    optimizer = module.configure_optimizers()
    rows = torch.arange(recipe.batch_size, device=data.device)
    cuda = data.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CUDA if cuda else torch.profiler.ProfilerActivity.CPU]
    with torch.autocast(data.device.type, torch.bfloat16, enabled=cuda, cache_enabled=False):
        module.learn([rows] * 3, optimizer)
        with torch.profiler.profile(activities=activities) as profiler:
            module.learn([rows], optimizer)
            module.wait()
    return sum(event.device_type.name == ("CUDA" if cuda else "CPU") for event in profiler.events() or ())
