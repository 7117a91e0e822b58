"""What is measured on a GPU: each part a module with `SECONDS`, `measure` and `report`, run as a process of its own.

`measure` yields rows, each with a `key`; what is `done` already it leaves out. After `seconds` its process is ended.
On a CPU, where only the program is tried, amounts are small. `report` gives lines of Markdown.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from benchmarks.gpu.kit import Kit

__all__ = ["PARTS", "Part", "Row", "part"]

PARTS = (
    "environment",
    "cuda_tests",
    "accuracy",
    "throughput",
    "workers",
    "trials",
    "layers",
    "seeds",
    "resnext",
    "search",
    "table",
)
"""In this order: nothing else counts while a training on the GPU is wrong."""

Row = dict[str, Any]


class Part(Protocol):
    """A module of this package."""

    SECONDS: float
    """What it is given of a whole run of 470 seconds."""

    def measure(self, kit: Kit, *, device: str, done: Collection[str], seconds: float) -> Iterator[Row]:
        """The rows that are missing."""

    def report(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """What they say."""


def part(name: str) -> Part:
    """The module of a part."""
    return cast("Part", import_module(f"benchmarks.gpu.{name}"))
