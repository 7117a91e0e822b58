"""Cost of an architecture: closed form compared with torch's counter."""

import time
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from nas import build_network, cost, load_space

REPEATS = 7
RESNEXT_29_32X4 = {
    **{f"stage{number}.depth": 3 for number in (1, 2, 3)},
    **{f"stage{number}.mid": 64 * 2**number for number in (1, 2, 3)},
    **{f"stage{number}.groups": 32 for number in (1, 2, 3)},
}


def measure() -> Iterator[tuple[str, list[float], str]]:
    """ResNeXt-29 32×4d, once by arithmetic and once by building it on the meta device and running it."""
    architecture = load_space("resnext29").architecture(RESNEXT_29_32X4)
    closed, counted = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(1000):
            amounts = cost(architecture)
        closed.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        with torch.device("meta"):
            network = build_network(architecture)
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, 3, 32, 32))
        counted.append((time.perf_counter() - start) * 1e3)
        assert counter.get_total_flops() == 2 * amounts.flops
    yield "`nas.cost`, ResNeXt-29 32×4d", closed, "µs"
    yield "build on the meta device and `FlopCounterMode`", counted, "ms"
