import random

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nas import Architecture, Input, Stage, StemConv, build_network, cost
from nas.architectures.cost import LayerCost, peak_activations
from nas.architectures.latency import peak_memory
from nas.architectures.network import fold
from nas.spaces.built_in import load_space


def architecture(
    depths: tuple[int, ...],
    mids: tuple[int, ...],
    groups: tuple[int, ...],
    outs: tuple[int, ...],
    *,
    strides: tuple[int, ...] = (1, 2, 2),
    stem: StemConv = StemConv(64),  # noqa: B008 - frozen
    size: int = 32,
    classes: int = 10,
) -> Architecture:
    stages = tuple(Stage(*values) for values in zip(depths, mids, groups, outs, strides, strict=True))
    return Architecture(Input(3, size), classes, (stem,), stages)


RESNEXT_OUTS = (256, 512, 1024)
RESNEXT_29_32X4 = architecture((3, 3, 3), (128, 256, 512), (32, 32, 32), RESNEXT_OUTS)
RESNEXT_29_16X64 = architecture((3, 3, 3), (1024, 2048, 4096), (16, 16, 16), RESNEXT_OUTS)
RESNEXT_20_16X4 = architecture((2, 2, 2), (64, 128, 256), (16, 16, 16), RESNEXT_OUTS)
REGNETX_200MF = architecture(
    (1, 1, 4, 7),
    (24, 56, 152, 368),
    (3, 7, 19, 46),
    (24, 56, 152, 368),
    strides=(2, 2, 2, 2),
    stem=StemConv(32, 2),
    size=224,
    classes=1000,
)


@pytest.mark.parametrize(
    ("network", "params"),
    [
        (RESNEXT_29_32X4, 4_775_754),
        (RESNEXT_29_16X64, 68_155_210),
        (RESNEXT_20_16X4, 1_995_082),
        (REGNETX_200MF, 2_684_792),
    ],
)
def test_published_parameter_counts(network: Architecture, params: int) -> None:
    assert cost(network).params == params


def test_published_flops_of_regnetx_200mf() -> None:
    assert round(cost(REGNETX_200MF).flops / 1e9, 3) == 0.199


def random_architecture(rng: random.Random) -> Architecture:
    def stage() -> Stage:
        width, groups = rng.randint(1, 6), rng.randint(1, 6)
        return Stage(rng.randint(1, 3), width * groups, groups, rng.randint(1, 24), rng.choice((1, 2, 3)))

    stem = tuple(StemConv(rng.randint(1, 16), rng.choice((1, 2))) for _ in range(rng.randint(1, 3)))
    stages = tuple(stage() for _ in range(rng.randint(1, 3)))
    shape = Input(rng.randint(1, 4), rng.randint(216, 240), rng.choice((0, rng.randint(216, 400))))
    return Architecture(shape, rng.randint(2, 12), stem, stages)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_equals_what_torch_counts_on_random_architectures(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(32):
        made = random_architecture(rng)
        amounts = cost(made)
        with torch.device("meta"):
            network = build_network(made)
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, made.input.channels, *made.input.sides))
        assert amounts.flops * 2 == counter.get_total_flops()
        assert amounts.params == sum(parameter.numel() for parameter in network.parameters())


def test_layers_are_the_modules_of_the_network_and_sum_to_the_totals() -> None:
    amounts = cost(RESNEXT_20_16X4)
    network = build_network(RESNEXT_20_16X4)
    seen: dict[str, int] = {}
    for layer in amounts.layers:
        module = network.get_submodule(layer.layer)
        assert layer.params == sum(parameter.numel() for parameter in module.parameters())
        module.register_forward_hook(lambda _m, _i, out, name=layer.layer: seen.update({name: out.numel()}))
    network(torch.zeros(1, 3, 32, 32))
    assert seen == {layer.layer: layer.activations for layer in amounts.layers}
    for field in ("flops", "params", "activations"):
        assert sum(getattr(layer, field) for layer in amounts.layers) == getattr(amounts, field)


def test_a_small_network_by_hand() -> None:
    made = Architecture(Input(1, 4), 2, (StemConv(2),), (Stage(1, 4, 2, 6, 2),))
    assert cost(made).layers == (
        LayerCost("stem.0", "stem", 0, 2 * 9 * 16, 18 + 4, 2 * 16),
        LayerCost("stages.0.0.reduce", "reduce", 1, 2 * 4 * 16, 8 + 8, 4 * 16),
        LayerCost("stages.0.0.grouped", "grouped", 1, 4 * 2 * 9 * 4, 72 + 8, 4 * 4),
        LayerCost("stages.0.0.expand", "expand", 1, 4 * 6 * 4, 24 + 12, 6 * 4),
        LayerCost("stages.0.0.projection", "projection", 1, 2 * 6 * 4, 12 + 12, 6 * 4),
        LayerCost("classifier", "classifier", 0, 12, 12 + 2, 2),
    )


def test_the_peak_of_the_activations_is_that_of_the_largest_moment() -> None:
    small = Architecture(Input(1, 8), 10, (StemConv(4),), (Stage(2, 8, 2, 16, 2),))
    # The first block: 4×64 wait, and 16×16 of the projection, while 8×64 become 8×16.
    assert peak_activations(small) == 4 * 64 + 16 * 16 + 8 * 64 + 8 * 16
    wide_stem = Architecture(Input(1, 8), 10, (StemConv(40), StemConv(60)), (Stage(1, 8, 2, 16, 2),))
    assert peak_activations(wide_stem) == 40 * 64 + 60 * 64
    same = Architecture(Input(1, 8), 10, (StemConv(16),), (Stage(3, 8, 2, 16, 1),))
    assert peak_activations(same) == 16 * 64 + 16 * 64 + 8 * 64  # no projection; the grouped output is expanded


@pytest.mark.parametrize(("seed", "width"), [(0, 32), (1, 32), (2, 32), (3, 50), (4, 75)])
def test_the_peak_is_that_of_a_forward_pass(seed: int, width: int) -> None:
    space = load_space("groupconv32").with_changes(input=Input(3, 32, width))
    network = space.architecture(space.sample(np.random.default_rng(seed)))
    folded = build_network(network)
    fold(folded)
    held = sum(each.numel() for each in folded.state_dict().values()) + 3 * 32 * width  # weights and the image
    measured = peak_memory(network, device="cpu") / 4 - held
    # In Python the callers of a stage hold its input until it ends, which other runtimes do not.
    assert peak_activations(network) <= measured <= 1.2 * peak_activations(network)
