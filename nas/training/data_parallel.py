"""Defines `ProcessGroup`, the processes that train one network data-parallel, each on its shard of every batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["ALONE", "ProcessGroup"]

Shards = TypeVar("Shards", Tensor, list[slice])


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place in a data-parallel training: `rank`, from 0, of `processes`.

    With several processes, torch.distributed must be initialised, and all must take the same steps in the same order,
    as collectives wait for every rank. A single process communicates nothing.
    """

    rank: int = 0
    processes: int = 1

    def shard(self, whole: Shards) -> Shards:
        """Returns this process's shard; the shards of all processes make up the whole."""
        return whole[self.rank :: self.processes]

    def own_generator(self, generator: torch.Generator) -> torch.Generator:
        """Returns a generator for this process's shard, seeded from one that has the same state in all processes."""
        if self.processes == 1:
            return generator
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device).item())
        return torch.Generator(generator.device).manual_seed(seed + self.rank)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Returns the network to call in training, whose gradients are averaged over the processes."""
        # Buffers are not broadcast: no step uses BatchNorm's running statistics, and they are averaged once per epoch.
        return DistributedDataParallel(network, broadcast_buffers=False) if self.processes > 1 else network

    def all_reduce_mean(self, tensors: Iterable[Tensor]) -> None:
        """Averages floating-point tensors over the processes, in place; integers count steps and are equal already."""
        for tensor in tensors:
            if self.processes > 1 and tensor.is_floating_point():
                distributed.all_reduce(tensor)
                tensor.div_(self.processes)

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Sums a tensor over the processes, in place."""
        if self.processes > 1:
            distributed.all_reduce(tensor)


ALONE = ProcessGroup()
