"""Promotion from scratch or from the short training's weights, on architectures of the digits.

From scratch for the full 27 epochs, or from the weights of a complete schedule of 9 epochs with one of 18 more (a warm
restart, which costs as many epochs in all, and a third fewer if the short training is paid for already).
"""

from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.search import TABLES
from nas import Architecture, GroupConvNet, build_network, load_data, load_space
from nas.training.train import on_device, train

ARCHITECTURES, SHORT = 20, 9


def measure() -> Iterator[tuple[str, list[float], str]]:
    """Accuracies in per cent, and how well each way ranks architectures by another seed's full training."""
    space = load_space(TABLES / "digits-27.yaml")
    full = space.recipe.epochs
    data = on_device(load_data("digits", space.input), space.recipe)
    points = list(space.points())
    chosen = np.random.default_rng(0).choice(len(points), ARCHITECTURES, replace=False)
    from_scratch, continued, other = list[float](), list[float](), list[float]()
    for index in chosen:
        architecture = space.architecture(points[index])
        from_scratch.append(train(architecture, data, space.recipe, seed=0).accuracy)
        other.append(train(architecture, data, space.recipe, seed=1).accuracy)
        short = train(architecture, data, replace(space.recipe, epochs=SHORT), seed=0)

        def begun(
            _: Architecture, architecture: Architecture = architecture, weights: dict[str, torch.Tensor] = short.weights
        ) -> GroupConvNet:
            network = build_network(architecture)
            network.load_state_dict(weights)
            return network

        with patch("nas.training.module.build_network", begun):
            rest = train(architecture, data, replace(space.recipe, epochs=full - SHORT), seed=2)
        continued.append(rest.accuracy)
    yield f"from scratch, {full} epochs", [100 * value for value in from_scratch], "%"
    yield f"{SHORT} epochs, then {full - SHORT} more", [100 * value for value in continued], "%"
    yield "from scratch: Kendall's τ with another seed", [float(kendalltau(from_scratch, other)[0])], ""
    yield "continued: Kendall's τ with another seed", [float(kendalltau(continued, other)[0])], ""
    yield "continued less from scratch", [100 * (a - b) for a, b in zip(continued, from_scratch, strict=True)], "points"
