import pytest
import torch
from torch import nn

from nas import build_network
from nas.architectures.network import CBR, GroupResBlock
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
