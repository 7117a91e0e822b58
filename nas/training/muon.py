"""Muon, for the filters of convolutions, beside AdamW for everything else."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon"]

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that brings singular values near 1 (Jordan et al., 2024)."""
STEPS = 3
"""Iterations; the usual five take longer."""
RATE = 3.0
"""Learning rate of the filters, as a multiple of AdamW's."""


class Muon(torch.optim.AdamW):
    """Moves convolution filters by their orthogonalised momentum, and all other parameters by AdamW.

    Every group of a grouped convolution is a matrix of its own, (outputs, inputs × kernel), whose update has singular
    values near 1 (Jordan et al., https://kellerjordan.github.io/posts/muon/, 2024; for convolutions arXiv:2404.00498).
    The first convolution, which sees pixels, belongs to AdamW.

    Args:
        network: the network, in its final place and memory layout.
        lr: peak learning rate of AdamW, a tensor; the filters' is `RATE` times as high.
        weight_decay: decoupled weight decay of all parameters.
        momentum: Nesterov momentum of the filters.
        capturable: whether steps may be captured as a CUDA graph.
    """

    def __init__(
        self, network: nn.Module, *, lr: Tensor, weight_decay: float, momentum: float, capturable: bool = False
    ) -> None:
        convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)][1:]
        filters: dict[int, list[Tensor]] = defaultdict(list)
        for conv in convs:
            filters[conv.groups].append(conv.weight)
        taken = {id(conv.weight) for conv in convs}
        others = [parameter for parameter in network.parameters() if id(parameter) not in taken]
        super().__init__(others, lr=lr, weight_decay=weight_decay, fused=True, capturable=capturable)
        for groups, parameters in filters.items():
            self.add_param_group({"params": parameters, "groups": groups, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Takes one step; `closure` is not used."""
        ours = [group for group in self.param_groups if "groups" in group]
        gradients = {parameter: parameter.grad for group in ours for parameter in group["params"]}
        for parameter in gradients:
            parameter.grad = None  # AdamW leaves parameters without a gradient alone
        super().step()
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        for group in ours:
            self._step_filters(group)

    def _step_filters(self, group: dict[str, Any]) -> None:
        """Moves the filters of convolutions with equally many groups, those of one shape at once."""
        alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[parameter.shape].append(parameter)
        rate = RATE * group["lr"]
        for shape, parameters in alike.items():
            moved = torch.stack([self._momentum(parameter, group["momentum"]) for parameter in parameters])
            matrices = moved.reshape(len(parameters), group["groups"], shape[0] // group["groups"], -1)
            rows, columns = matrices.shape[-2:]
            steps = orthogonalized(matrices) * max(1.0, rows / columns) ** 0.5
            for parameter, step in zip(parameters, steps.reshape(moved.shape), strict=True):
                parameter.mul_(1 - rate * group["weight_decay"]).sub_(rate * step)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Updates the momentum of a filter, and returns its Nesterov step."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["step"] = torch.zeros(())  # AdamW expects one of every parameter that has a state
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        buffer.mul_(momentum).add_(parameter.grad)
        return parameter.grad + momentum * buffer


def orthogonalized(matrices: Tensor) -> Tensor:
    """Returns the nearest semi-orthogonal matrices, about: (..., m, n) with large singular values brought near 1."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x
