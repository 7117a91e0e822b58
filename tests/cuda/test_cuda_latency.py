"""What is measured on a GPU is in the order that arithmetic demands."""

from dataclasses import replace

import torch

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.latency import REST, measure_together, peak_memory, time_by_layer

SMALL = Architecture(Input(3, 32), 10, (StemConv(32),), (Stage(1, 64, 8, 64), Stage(1, 64, 8, 128)))
LARGE = replace(SMALL, stem=(StemConv(128),), stages=(Stage(3, 512, 8, 512), Stage(3, 512, 8, 512)))


def test_a_network_of_fifty_times_the_work_takes_longer_and_more_memory() -> None:
    small, large = measure_together([SMALL, LARGE], device="cuda", batch=256, seconds=0.2)
    assert 0 < 3 * small.median < large.median
    assert small.low <= small.median <= small.high
    assert small.device == torch.cuda.get_device_name(0)
    assert peak_memory(SMALL, device="cuda", batch=64) < peak_memory(LARGE, device="cuda", batch=64)
    assert peak_memory(SMALL, device="cuda") < peak_memory(SMALL, device="cuda", batch=256)


def test_one_image_is_not_timed_with_python_s_launches() -> None:
    """Eagerly this network takes some 20 launches, above 0.1 ms; its arithmetic a small part of that."""
    [one] = measure_together([SMALL], device="cuda", seconds=0.2)
    assert one.median < 0.5


def test_layers_add_up_and_the_widest_is_no_small_part() -> None:
    shares = time_by_layer(LARGE, device="cuda", batch=64)
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert shares[REST] < 0.8
    assert min(shares.values()) >= 0
