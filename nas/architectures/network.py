"""Builds the torch module of an architecture: CBR, GroupResBlock, GroupConvNet."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nas.architectures.architecture import MEAN, Architecture, Stage

__all__ = ["CBR", "GroupConvNet", "GroupResBlock", "build_network", "fold"]


UNSAFE_BELOW = 16
"""Number of input channels below which `SlicedConv` replaces a strided 1×1 convolution."""
MERGED_BELOW, MERGED_TO = 5, 16
"""Channels per group below which `MergedConv` replaces a grouped convolution, and how many it merges them to."""


def build_network(architecture: Architecture) -> "GroupConvNet":
    """Builds the torch module of an architecture, initialised from torch's global random state."""
    return GroupConvNet(architecture)


class CBR(nn.Sequential):
    """Convolution, BatchNorm, ReLU: (N, cin, H, W) → (N, cout, ⌈H/stride⌉, ⌈W/stride⌉).

    `groups` = 1 is an ordinary convolution, `groups` = `cin` a depthwise one. `relu` = False omits the ReLU.
    """

    def __init__(
        self, cin: int, cout: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        kind: type[nn.Conv2d] = nn.Conv2d
        if kernel == 1 and stride > 1 and 1 < cin < UNSAFE_BELOW:
            kind = SlicedConv
        elif groups > 1 and 1 < cin // groups < MERGED_BELOW:
            kind = MergedConv
        conv = kind(cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        # He et al. (arXiv:1502.01852): preserves the variance of activations through ReLUs.
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True) if relu else nn.Identity())


class SlicedConv(nn.Conv2d):
    """A strided 1×1 convolution that is trained on a CPU as a plain one on every stride-th pixel.

    In torch 2.13 on x86 CPUs, the backward pass of a strided 1×1 convolution with fewer than 16 input channels in
    channels-last memory writes out of bounds: from about 48 pixels on it ends the process.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, cin, H, W) to (N, cout, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if x.device.type == "cpu" and self.training:
            rows, columns = self.stride
            return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias, groups=self.groups)
        return super().forward(x)


class MergedConv(nn.Conv2d):
    """A convolution in groups of a few channels that is trained on a GPU in fewer, wider groups.

    Tensor cores take 16 channels at a time: on an H100, a layer with 2 to 4 channels per group takes up to five times
    as long as one whose groups have been merged, though that multiplies by zeros (docs/benchmarks.md). The weights are
    the same, and so are the results but for rounding.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        narrow = self.in_channels // self.groups
        divisors = (number for number in range(1, self.groups + 1) if self.groups % number == 0)
        self._merged = next((number for number in divisors if number * narrow >= MERGED_TO), self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, cin, H, W) to (N, cout, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return self.merged(x) if x.is_cuda and self.training else super().forward(x)

    def merged(self, x: Tensor) -> Tensor:
        """Convolves with the weights of as many groups as are merged on the diagonal of those of one."""
        merged = self._merged
        out, narrow, *kernel = self.weight.shape
        apart = self.weight.view(self.groups // merged, merged, out // self.groups, 1, narrow, *kernel)
        diagonal = torch.eye(merged, dtype=self.weight.dtype, device=self.weight.device)
        wide = apart * diagonal.view(1, merged, 1, merged, 1, 1, 1)
        wide = wide.reshape(out, merged * narrow, *kernel)
        return F.conv2d(x, wide, self.bias, self.stride, self.padding, self.dilation, self.groups // merged)


class GroupResBlock(nn.Module):
    """The bottleneck block of ResNeXt (arXiv:1611.05431): relu(skip(x) + expand(grouped(reduce(x)))).

    reduce is 1×1, cin → mid; grouped is 3×3, mid → mid, with `groups` groups and the stride; expand is 1×1, mid → cout.
    skip is the identity if shapes allow, else a 1×1 projection, with a stride as `shortcuts` says.
    """

    def __init__(self, cin: int, cout: int, *, mid: int, groups: int, stride: int = 1, shortcuts: str = MEAN) -> None:
        super().__init__()
        self.reduce = CBR(cin, mid)
        self.grouped = CBR(mid, mid, kernel=3, stride=stride, groups=groups)
        self.expand = CBR(mid, cout, relu=False)
        same_shape = stride == 1 and cin == cout
        self.pool: nn.Module = nn.Identity()
        if shortcuts == MEAN and stride > 1:  # at the edges, the mean of the pixels that there are
            self.pool, stride = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False), 1
        self.projection = nn.Identity() if same_shape else CBR(cin, cout, stride=stride, relu=False)
        # Blocks that start as their skip let deep networks train from the first step (Goyal et al., arXiv:1706.02677).
        nn.init.zeros_(cast("nn.BatchNorm2d", self.expand[1]).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, cin, H, W) to (N, cout, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return F.relu(self.projection(self.pool(x)) + self.expand(self.grouped(self.reduce(x))), inplace=True)


class GroupConvNet(nn.Module):
    """A network of ungrouped stem, stages of grouped bottleneck blocks, global average pooling and linear classifier.

    Maps images (N, channels, height, width) to logits (N, classes).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        cin = architecture.input.channels
        self.stem = nn.Sequential()
        for conv in architecture.stem:
            self.stem.append(CBR(cin, conv.width, kernel=3, stride=conv.stride))
            cin = conv.width
        self.stages = nn.Sequential()
        for stage in architecture.stages:
            self.stages.append(_stage(stage, cin, architecture.shortcuts))
            cin = stage.out
        self.classifier = nn.Linear(cin, architecture.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N, channels, height, width) to logits (N, classes)."""
        features = self.stages(self.stem(x))
        return cast("Tensor", self.classifier(features.mean(dim=(2, 3))))


def _stage(stage: Stage, cin: int, shortcuts: str) -> nn.Sequential:
    blocks = nn.Sequential()
    for block in range(stage.depth):
        stride = stage.stride if block == 0 else 1
        how = {"mid": stage.mid, "groups": stage.groups, "stride": stride}
        blocks.append(GroupResBlock(cin, stage.out, **how, shortcuts=shortcuts))
        cin = stage.out
    return blocks


def fold(network: GroupConvNet) -> None:
    """Folds each BatchNorm into its convolution, in place, for inference.

    The network is left in eval mode.
    """
    network.eval()
    for block in [module for module in network.modules() if isinstance(module, CBR)]:
        convolution, normalization = block[0], block[1]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(normalization, nn.BatchNorm2d)
        block[0] = fuse_conv_bn_eval(convolution, normalization)
        del block[1]
