import subprocess
import sys

import pytest
import torch
from torch import nn

from nas import build_network
from nas.architectures.architecture import STRIDED
from nas.architectures.network import CBR, GroupResBlock, MergedConv, SlicedConv
from tests.architectures.test_cost import RESNEXT_20_16X4


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_cbr_groups_from_ordinary_to_depthwise(groups: int) -> None:
    layer = CBR(8, 8, kernel=3, groups=groups)
    assert layer[0].weight.shape == (8, 8 // groups, 3, 3)
    before = torch.randn(2, 8, 6, 6)
    other = before.clone()
    other[:, -1] += 1  # seen only by the outputs of the last channel's group
    layer.eval()
    changed = (layer[0](before) != layer[0](other)).any(dim=0).any(dim=-1).any(dim=-1)
    assert changed.tolist() == [channel >= 8 - 8 // groups for channel in range(8)]


def test_cbr_is_convolution_batchnorm_relu_and_rounds_strided_maps_up() -> None:
    layer = CBR(3, 5, kernel=3, stride=2)
    assert [type(part) for part in layer] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    out = layer(torch.randn(2, 3, 7, 7))
    assert out.shape == (2, 5, 4, 4)
    assert out.min() >= 0


@pytest.mark.parametrize(("cin", "cout", "stride", "projected"), [(8, 8, 1, False), (8, 12, 1, True), (8, 8, 2, True)])
def test_block_projects_its_skip_only_where_shapes_differ(cin: int, cout: int, stride: int, projected: bool) -> None:
    block = GroupResBlock(cin, cout, mid=16, groups=4, stride=stride)
    assert isinstance(block.projection, CBR) == projected
    assert block.grouped[0].stride == (stride, stride)
    assert block(torch.randn(2, cin, 8, 8)).shape == (2, cout, 8 // stride, 8 // stride)


def test_block_starts_as_its_skip() -> None:
    block = GroupResBlock(8, 8, mid=16, groups=4)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), torch.relu(x))


def test_network_is_stem_stages_pooling_and_a_linear_layer() -> None:
    network = build_network(RESNEXT_20_16X4)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert [len(stage) for stage in network.stages] == [2, 2, 2]  # type: ignore[arg-type]
    grouped = [module.groups for module in network.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert grouped == [16] * 6
    network.eval()
    larger = network(torch.randn(2, 3, 48, 48))  # pooling takes any size
    assert larger.shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("cin", "cout"), [(3, 16), (8, 8), (15, 24)])
def test_a_strided_projection_of_few_channels_does_not_end_the_process(cin: int, cout: int) -> None:
    """In a process of its own: where torch's own kernel is used, it ends with SIGSEGV or SIGABRT."""
    program = f"""
import torch
from nas.architectures.network import CBR
for size in (48, 56, 96, 112):
    layer = CBR({cin}, {cout}, stride=2, relu=False).to(memory_format=torch.channels_last)
    for _ in range(3):
        x = torch.randn(16, {cin}, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
        layer(x).sum().backward()
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(("cin", "size"), [(3, 32), (8, 28), (15, 31)])
def test_a_sliced_convolution_is_the_strided_one(cin: int, size: int) -> None:
    x = torch.randn(4, cin, size, size)
    sliced, plain = SlicedConv(cin, 16, 1, 2), nn.Conv2d(cin, 16, 1, 2)
    plain.load_state_dict(sliced.state_dict())
    results = [layer(x) for layer in (sliced.train(), sliced.eval(), plain)]
    for result in results[:2]:
        torch.testing.assert_close(result, results[2])


def test_a_strided_shortcut_projects_the_means_of_the_pixels_that_it_merges_or_one_of_them() -> None:
    block = GroupResBlock(1, 1, mid=1, groups=1, stride=2).eval()  # its other branch begins as 0
    strided = GroupResBlock(1, 1, mid=1, groups=1, stride=2, shortcuts=STRIDED).eval()
    nn.init.ones_(block.projection[0].weight)  # type: ignore[index, arg-type]
    strided.load_state_dict(block.state_dict())
    x = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    expected = torch.tensor([[(1 + 2 + 4 + 5) / 4, (3 + 6) / 2], [(7 + 8) / 2, 9]])
    torch.testing.assert_close(block(x)[0, 0], expected, rtol=1e-4, atol=0)  # of the pixels that there are
    torch.testing.assert_close(strided(x)[0, 0], x[0, 0, ::2, ::2], rtol=1e-4, atol=0)
    assert block(torch.ones(1, 1, 1, 1)).shape == (1, 1, 1, 1)


@pytest.mark.parametrize(("width", "groups", "stride"), [(32, 8, 1), (64, 32, 2), (24, 8, 1), (36, 18, 1), (6, 3, 2)])
def test_merged_groups_convolve_as_the_groups_do(width: int, groups: int, stride: int) -> None:
    torch.manual_seed(0)
    block = CBR(width, width, kernel=3, stride=stride, groups=groups)
    convolution = block[0]
    assert isinstance(convolution, MergedConv)
    assert set(block.state_dict()) == set(CBR(width, width, kernel=3).state_dict())
    x = torch.randn(2, width, 5, 5)
    merged, apart = convolution.merged(x), convolution(x)
    assert torch.allclose(merged, apart, atol=1e-5)
    one, other = (torch.autograd.grad(y.square().sum(), convolution.weight)[0] for y in (merged, apart))
    assert torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(("width", "groups"), [(32, 1), (32, 2), (32, 4), (32, 32)])
def test_wide_groups_and_depthwise_convolutions_are_not_merged(width: int, groups: int) -> None:
    assert type(CBR(width, width, kernel=3, groups=groups)[0]) is nn.Conv2d
