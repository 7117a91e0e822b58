"""Several seeds of one architecture as one network: milliseconds of a step that trains all, against a step of one.

The channels of all seeds lie side by side, and every convolution has as many times its groups, so that seeds never mix
(`torch.func.vmap` over the weights makes the same convolutions). In the batched way each 1×1 convolution is a product
of a batch of matrices instead, one for each seed. A step is forward, backward and AdamW, replayed as a CUDA graph.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu.kit import Kit, milliseconds, nearest
from nas import Architecture, build_network, cost, load_space

SECONDS = 15.0
BATCH = 128
SIZES = (10e6, 20e6, 50e6)
SEEDS = (1, 2, 4, 8)
WAYS = ("grouped", "batched")


def measure(kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each network, number of seeds and way; one seed is the network as it is."""
    small = device == "cpu"
    space = load_space("groupconv32")
    for flops in SIZES[: 1 if small else None]:
        network = nearest(space, flops)
        for seeds in SEEDS[: 2 if small else None]:
            for way in WAYS[: 1 if seeds == 1 else None]:
                if (key := f"{network.name} {seeds} {way}") not in done:
                    taken = _milliseconds(network, seeds, way, batch=2 if small else BATCH, device=device)
                    about = {"network": network.name, "flops": cost(network).flops, "seeds": seeds, "way": way}
                    yield {"key": key, **about, "milliseconds": taken}


def report(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table: how much longer than one seed's step a step of several takes, for each of them."""
    yield "| network | seeds | way | ms | of as many steps of one |"
    yield "|---|---|---|---|---|"
    alone = {row["network"]: row["milliseconds"] for row in rows if row["seeds"] == 1}
    for row in rows:
        share = row["milliseconds"] / (row["seeds"] * alone[row["network"]])
        size = f"{row['network']}, {row['flops'] / 1e6:.0f} M"
        yield f"| {size} | {row['seeds']} | {row['way']} | {row['milliseconds']:.2f} | {share:.0%} |"


def several(architecture: Architecture, networks: Sequence[nn.Module], *, batched: bool) -> nn.Module:
    """One module of several of an architecture: (N, seeds × channels, H, W) → logits (N, seeds × classes)."""
    seeds = len(networks)
    joined: Any = build_network(architecture)
    pairs = [list(network.named_modules()) for network in networks]
    for same in zip(*pairs, strict=True):
        name, parts = same[0][0], [module for _, module in same]
        made = _side_by_side(parts, seeds, batched=batched)
        if made is not None:
            parent, _, last = name.rpartition(".")
            setattr(joined.get_submodule(parent), last, made)
    return cast("nn.Module", joined)


def _side_by_side(parts: Sequence[nn.Module], seeds: int, *, batched: bool) -> nn.Module | None:
    """The module that stands for one of each seed; None where any number of channels does."""
    first = parts[0]
    weights = [part.weight.detach() for part in parts if isinstance(part, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))]
    if isinstance(first, nn.Conv2d):
        if batched and first.kernel_size == (1, 1):
            return Products(torch.stack(weights), stride=first.stride[0])
        made = nn.Conv2d(
            seeds * first.in_channels,
            seeds * first.out_channels,
            cast("tuple[int, int]", first.kernel_size),
            cast("tuple[int, int]", first.stride),
            padding=cast("tuple[int, int]", first.padding),
            groups=seeds * first.groups,
            bias=False,
        )
        made.weight.data = torch.cat(weights)
        return made
    if isinstance(first, nn.BatchNorm2d):
        norm = nn.BatchNorm2d(seeds * first.num_features)
        norm.weight.data = torch.cat(weights)
        return norm
    if isinstance(first, nn.Linear):
        return Heads(torch.stack(weights), torch.stack([cast("nn.Linear", part).bias.detach() for part in parts]))
    return None


class Products(nn.Module):
    """The 1×1 convolutions of all seeds as one product of batches of matrices; weights (seeds, out, in, 1, 1)."""

    def __init__(self, weights: Tensor, *, stride: int) -> None:
        super().__init__()
        self.weight, self.stride = nn.Parameter(weights.flatten(2)), stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, seeds × in, H, W) → (N, seeds × out, H / stride, W / stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        seeds, out, _ = self.weight.shape
        count, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(count * height * width, seeds, -1)
        y = torch.bmm(pixels.transpose(0, 1), self.weight.mT).transpose(0, 1)
        return y.reshape(count, height, width, seeds * out).permute(0, 3, 1, 2)


class Heads(nn.Module):
    """The linear classifiers of all seeds: (N, seeds × in) → (N, seeds × classes)."""

    def __init__(self, weights: Tensor, biases: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weights), nn.Parameter(biases)

    def forward(self, x: Tensor) -> Tensor:
        """One classifier for each seed's features."""
        features = x.view(len(x), len(self.weight), -1).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], features, self.weight.mT).transpose(0, 1).flatten(1)


def _milliseconds(architecture: Architecture, seeds: int, way: str, *, batch: int, device: str) -> float:
    """The median time of a step."""
    networks = [build_network(architecture) for _ in range(seeds)]
    module = several(architecture, networks, batched=way == "batched") if seeds > 1 else networks[0]
    module = module.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.001, fused=True, capturable=device != "cpu")
    side = architecture.input.size
    x = torch.randn(batch, seeds * architecture.input.channels, side, side, device=device)
    x = x.to(memory_format=torch.channels_last)
    labels = torch.randint(architecture.classes, (batch * seeds,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):
            logits = module(x).view(batch * seeds, -1)
            loss = seeds * F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return milliseconds(step, device)
