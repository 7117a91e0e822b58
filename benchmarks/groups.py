"""FLOPs against milliseconds: one training step of a network with an increasing number of groups.

On a GPU also how many images a second one, two, four and eight workers train together.
"""

import time
from collections.abc import Iterator

import torch

from nas import Architecture, Input, Recipe, Stage, cost, load_space
from nas.architectures.architecture import DEFAULT_STEM
from nas.spaces.preflight import noise
from nas.training.train import on_device, steps
from nas.workers.throughput import throughput

GROUPS, STEPS = (1, 2, 4, 8, 16, 32), 15
WIDTHS = (64, 128, 256)


def measure() -> Iterator[tuple[str, list[float], str]]:
    """A batch of 128 images of 32×32 pixels, three stages of one block each, in so many groups."""
    space = load_space("groupconv32")
    recipe = Recipe(batch_size=128)
    data = on_device(noise(space), recipe)
    for groups in GROUPS:
        network = Architecture(
            Input(3, 32),
            10,
            DEFAULT_STEM,
            tuple(Stage(depth=1, mid=width, groups=groups, out=width, stride=2) for width in WIDTHS),
        )
        running, taken = steps(network, data, recipe), []
        next(running)
        for _ in range(STEPS):
            start = time.perf_counter()
            images = next(running)
            taken.append((time.perf_counter() - start) / images * 1e6)
        yield f"groups {groups}: {cost(network).flops / 1e6:.1f} M FLOPs, an image", taken, "µs"
    if torch.cuda.is_available():
        for workers in (1, 2, 4, 8):
            rates = [throughput(space, workers=workers, seconds=5, device="cuda").images_per_second for _ in range(5)]
            yield f"{workers} workers on one GPU", rates, "images/s"
