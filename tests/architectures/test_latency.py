import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.cost import cost
from nas.architectures.latency import REST, measure_latency, measure_together, peak_memory, time_by_layer
from nas.architectures.network import build_network, fold
from nas.errors import InvalidValue

SMALL = Architecture(Input(3, 16), 10, (StemConv(8),), (Stage(2, 16, 4, 16, 1), Stage(1, 32, 8, 32)))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Several wait for each other where other tests run beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_latency_is_a_median_between_its_quartiles() -> None:
    found = measure_latency(SMALL, device="cpu", batch=2, seconds=0.01)
    assert 0 < found.low <= found.median <= found.high
    assert found.per_image == found.median / 2
    assert (found.batch, found.runs >= 10) == (2, True)
    assert 0 <= found.waited <= 1
    assert found.device.startswith(f"CPU, {torch.get_num_threads()} thread")


def test_several_are_measured_in_turn_and_each_often_enough() -> None:
    found = measure_together([SMALL, replace(SMALL, classes=20)], device="cpu", seconds=0)
    assert [each.runs for each in found] == [10, 10]


def test_measuring_leaves_random_numbers_and_garbage_collection_as_they_were() -> None:
    state = torch.get_rng_state()
    measure_latency(SMALL, device="cpu", seconds=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert gc.isenabled()
    with pytest.raises(InvalidValue, match="batch=0: must be from 1"):
        measure_latency(SMALL, device="cpu", batch=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_told_of() -> None:
    with pytest.raises(InvalidValue, match="no CUDA device"):
        measure_latency(SMALL, device="cuda")


def test_folding_keeps_the_logits_and_leaves_no_batchnorm() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as training leaves them: neither 0 nor 1
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    images = torch.rand(4, 3, 16, 16)
    with torch.inference_mode():
        before = network.eval()(images)
        fold(network)
        after = network(images)
    assert before.std() > 0.01
    assert torch.allclose(before, after, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_time_is_parted_by_layer() -> None:
    shares = time_by_layer(SMALL, device="cpu", batch=2)
    assert set(shares) == {*(layer.layer for layer in cost(SMALL).layers), REST}
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert shares[REST] < 0.9


def test_memory_is_weights_and_the_most_that_is_alive_at_once() -> None:
    weights = 4 * (cost(SMALL).params - 8 - 2 * (16 + 16 + 16) - 16 - 32 - 32 - 32 - 32)  # folded: a shift, no scale
    one, two, eight = (peak_memory(SMALL, device="cpu", batch=batch) for batch in (1, 2, 8))
    assert two - one == pytest.approx((eight - two) / 6)  # what each image adds
    assert one - (two - one) == weights
    image = 4 * 3 * 16 * 16
    assert image < two - one < image + 4 * cost(SMALL).activations  # not all activations live at once


def test_larger_images_take_more_memory_and_as_many_weights() -> None:
    assert peak_memory(replace(SMALL, input=Input(3, 32)), device="cpu") > peak_memory(SMALL, device="cpu")
