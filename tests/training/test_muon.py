from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nas import Recipe, SearchSpace, build_network
from nas.data.images import ImageData
from nas.training.muon import RATE, Muon, orthogonalized
from nas.training.train import on_device, train


@pytest.mark.parametrize("shape", [(1, 16, 16), (4, 8, 72), (3, 64, 8), (2, 1, 9)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
    assert values.median() > 0.5
    assert values.max() < 1.3


def test_a_step_moves_every_group_of_a_filter_by_an_orthogonal_matrix() -> None:
    torch.manual_seed(0)
    grouped = nn.Conv2d(8, 16, 3, groups=4, bias=False)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), grouped)
    rate, before = torch.tensor(0.1, dtype=torch.float64), grouped.weight.detach().clone()
    optimizer = Muon(network, lr=rate, weight_decay=0.0, momentum=0.9)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]  # pixels belong to AdamW
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    moved = (before - grouped.weight.detach()).reshape(4, 4, -1) / (RATE * 0.1)
    values = torch.linalg.svdvals(moved)
    assert values.median() > 0.5
    assert values.max() < 1.3


def test_no_gradient_moves_nothing_and_decay_shrinks(tiny: SearchSpace) -> None:
    network = build_network(tiny.architecture(next(tiny.points())))
    optimizer = Muon(network, lr=torch.tensor(0.1, dtype=torch.float64), weight_decay=0.5, momentum=0.9)
    filters = [parameter for group in optimizer.param_groups[1:] for parameter in group["params"]]
    assert all(parameter.ndim == 4 for parameter in filters)
    before = [parameter.detach().clone() for parameter in filters]
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for old, parameter in zip(before, filters, strict=True):
        torch.testing.assert_close(parameter.detach(), old * (1 - RATE * 0.1 * 0.5))


def test_a_training_is_repeatable_and_learns(digits: ImageData, tiny: SearchSpace, tmp_path: Path) -> None:
    recipe = replace(Recipe(), optimizer="muon", epochs=6)
    architecture = tiny.architecture(list(tiny.points())[-1])
    data = on_device(digits, recipe, "cpu")
    first, second = (train(architecture, data, recipe, seed=1) for _ in range(2))
    assert first.curve == second.curve
    assert first.accuracy > 0.9
