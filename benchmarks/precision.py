"""float32 against bfloat16 on a CPU: how many times as fast a training step of 32 images is in bfloat16, one thread.

Networks are random members of generated spaces, at every sixth of the sample's FLOPs; a figure is the ratio of the
medians of two runs of steps. Below 1, bfloat16 is slower.
"""

import time
from collections.abc import Iterator
from statistics import median
from unittest.mock import patch

import numpy as np
import torch

from nas import Architecture, Input, Recipe, cost
from nas.data.images import ImageData, Split
from nas.spaces.generation import generate_space
from nas.training import train

SIZES = ((1, 28, 8_000_000), (3, 32, 20_000_000), (3, 64, 60_000_000), (3, 96, 100_000_000))
"""Channels, pixels along a side and FLOPs budget of the spaces."""
DRAWN, TAKEN, REPEATS, SECONDS, BATCH = 400, 6, 3, 1.0, 32


def measure() -> Iterator[tuple[str, list[float], str]]:
    """The ratio for each network."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for channels, size, max_flops in SIZES:
        shape = Input(channels, size)
        space = generate_space(shape, 10, max_flops=max_flops)
        images = rng.integers(0, 256, (BATCH, size, size, channels), dtype=np.uint8)
        split = Split(images, rng.integers(0, 10, BATCH))
        data = ImageData("noise", tuple("0123456789"), split, split, split)
        drawn = [space.architecture(space.sample(rng)) for _ in range(DRAWN)]
        drawn.sort(key=lambda network: cost(network).flops)
        for place in np.linspace(0, DRAWN - 1, TAKEN).astype(int):
            network = drawn[place]
            ratios = [_seconds(network, data, half=False) / _seconds(network, data, half=True) for _ in range(REPEATS)]
            yield f"{size} pixels, {cost(network).flops / 1e6:.1f} M FLOPs", ratios, "times"


def _seconds(network: Architecture, data: ImageData, *, half: bool) -> float:
    recipe = Recipe.from_dict({}).for_images(4000, data.input)
    taken: list[float] = []
    with patch.object(train, "in_half", lambda *_: half):
        running = train.steps(network, train.on_device(data, recipe, "cpu"), recipe)
        next(running)
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(taken) < 3:
            start = time.perf_counter()
            next(running)
            taken.append(time.perf_counter() - start)
    return median(taken)
