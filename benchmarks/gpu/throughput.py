"""Images a second of one training: ours, eager and captured, a bare loop, and the script by hand with its loaders.

All train with AdamW, as the bare loop does; ours with Muon too, which most searches use.
"""

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
from nas.architectures import network as network_module
from nas.system.cuda_graph import CapturedStep
from nas.system.hardware import CUDA_GRAPHS
from nas.training.module import TrainingModule
from nas.training.train import on_device, steps, threads_for, train

SECONDS = 95.0
SIZES = (10e6, 20e6)
"""FLOPs of the networks of groupconv32 that are nearest to these; then one of thin groups, and a ResNeXt-29 8×64d."""
THIN = Architecture(
    Input(3, 32),
    10,
    (StemConv(16), StemConv(32)),
    (Stage(2, 64, 32, 64), Stage(2, 128, 32, 128, stride=2), Stage(2, 128, 32, 256, stride=2)),
)
LARGE = Architecture(
    Input(3, 32),
    10,
    (StemConv(64),),
    tuple(Stage(3, 512 * 2**number, 8, 256 * 2**number, stride=2 if number else 1) for number in range(3)),
)
TRAINED, VALIDATED = 20_000, 2_000
CAPTURED = "captured"
RUN_SECONDS, MOST_EPOCHS = 3.0, 20
LOADERS = 4


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """First steps of all training images, kernels, then images a second for each network and way."""
    by_hand.quiet()
    small = device == "cpu"
    space = load_space("groupconv32")
    recipe = space.recipe.with_values(optimizer="adamw", batch_size=32 if small else 128)
    images = kit.images(32, train=96 if small else TRAINED, validation=32 if small else VALIDATED)
    data = on_device(images, recipe, device)
    chosen = [nearest(space, flops) for flops in SIZES[: 1 if small else None]]

    def row(key: str, network: Architecture, **figures: Any) -> dict[str, Any]:
        return {"key": key, "network": network.name, "flops": cost(network).flops, **figures}

    if (key := "first steps") not in done:  # comes first, while the process has trained nothing yet
        yield row(key, chosen[0], seconds=_step_seconds(chosen[0], data, recipe))
    if (key := "kernels of a step") not in done:
        yield row(key, chosen[0], count=_kernels(chosen[0], data, recipe))
    for network in chosen if small else [chosen[0], THIN, LARGE, *chosen[1:]]:
        for side, run in _sides(network, data, recipe, device).items():
            if (key := f"{network.name}: {side}") not in done:
                rate = _rate(run, len(data.train), recipe.batch_size)
                said = f"{side}, which failed" if side.startswith(CAPTURED) and CapturedStep.failed else side
                yield row(key, network, side=said, images_per_second=rate)
    side = f"the script by hand, {LOADERS} loaders"
    if (key := f"{chosen[0].name}: {side}") not in done:
        loaded = by_hand.Data(images, recipe, loaders=LOADERS)
        rate = _rate(
            lambda epochs: by_hand.train(chosen[0], loaded, replace(recipe, epochs=epochs), seed=0),
            len(data.train),
            recipe.batch_size,
        )
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


def _sides(network: Architecture, data: Any, recipe: Recipe, device: str) -> dict[str, Callable[[int], object]]:
    """The ways to train a network for a number of epochs."""

    def ours(
        graphs: str, optimizer: str = "adamw", merged_below: int = network_module.MERGED_BELOW
    ) -> Callable[[int], object]:
        def run(epochs: int) -> object:
            os.environ[CUDA_GRAPHS] = graphs
            kept, network_module.MERGED_BELOW = network_module.MERGED_BELOW, merged_below
            try:
                return train(network, data, replace(recipe, optimizer=optimizer, epochs=epochs))
            finally:
                network_module.MERGED_BELOW = kept

        return run

    def bare(epochs: int) -> object:
        with threads_for(network, recipe):
            return bare_loop(network, data, replace(recipe, epochs=epochs))

    if device == "cpu":
        return {"eager": ours("0"), "a bare loop": bare}
    if network is LARGE:
        return {"eager": ours("0"), CAPTURED: ours("1")}
    if network is THIN:
        return {CAPTURED: ours("1"), f"{CAPTURED}, groups not merged": ours("1", merged_below=0)}
    return {"eager": ours("0"), "a bare loop": bare, CAPTURED: ours("1"), f"{CAPTURED}, Muon": ours("1", "muon")}


def _rate(run: Callable[[int], object], images: int, batch_size: int) -> float:
    """Training images a second, start and validation included, of a run of about `RUN_SECONDS` after one that warms."""
    start = time.perf_counter()
    run(1)
    epochs = max(1, min(MOST_EPOCHS, round(RUN_SECONDS / (time.perf_counter() - start))))
    start = time.perf_counter()
    run(epochs)
    return epochs * (images // batch_size) * batch_size / (time.perf_counter() - start)


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
    module = TrainingModule(network, data, recipe, seed=0, report=None)
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
