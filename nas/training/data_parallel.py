"""ProcessGroup: the processes that train one network together, each on its share of every batch."""

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
    """This process, the `rank`-th from 0 of those that share a training; they have met in torch.distributed.

    All of them take the same steps in the same order, since each waits for the others where something is exchanged. A
    single process exchanges nothing.
    """

    rank: int = 0
    processes: int = 1

    def shard(self, whole: Shards) -> Shards:
        """This process's shard; together the shards are the whole."""
        return whole[self.rank :: self.processes]

    def own_generator(self, generator: torch.Generator) -> torch.Generator:
        """A generator for this process's shard, from one that is in the same state in all processes."""
        if self.processes == 1:
            return generator
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device).item())
        return torch.Generator(generator.device).manual_seed(seed + self.rank)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network to call in training: its gradients are averaged over the processes."""
        # Buffers are left alone: no step uses BatchNorm's running statistics, and they are averaged once an epoch.
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
