"""Terminal output of a profile: the cost of each part, a comparison with its dense twins, and the conclusions."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.architectures.architecture import sides_text
from nas.architectures.profile import Part, Profile
from nas.units import count_text, memory_text

if TYPE_CHECKING:
    from nas.architectures.latency import Latency

__all__ = ["parts_table", "show_profile", "sizes_table"]

KINDS_WITHIN_STAGES = {
    "reduce": "1×1 reduce",
    "grouped": "3×3 grouped",
    "expand": "1×1 expand",
    "projection": "1×1 projection",
}


def show_profile(console: Console, profile: Profile) -> None:
    """Prints a profile in at most 100 columns: two tables, the conclusions, and notes on the numbers."""
    console.print(Text.assemble((profile.architecture.name, "bold"), f"  {profile.architecture.input} pixels"))
    console.print(parts_table(profile))
    console.print(sizes_table(profile))
    for sentence in profile.sentences:
        console.print(Text(sentence))
    console.print(
        f"{profile.device}; float32, BatchNorm folded. Times are medians, their quartiles beside them; memory is the "
        "peak of the batch. FLOPs are multiply–adds per image.",
        style="dim",
    )


def parts_table(profile: Profile) -> Table:
    """Returns a table of the cost of stem, stages, classifier and the rest; then of the stages by kind of layer."""
    table = _table("part", "FLOPs", "parameters", "activations", "share of FLOPs", "share of time")
    whole = sum(part.flops for part in profile.stages)
    for part in profile.stages:
        _add_part(table, part.name, part, whole)
    table.add_section()
    for part in profile.kinds:
        if part.name in KINDS_WITHIN_STAGES:
            _add_part(table, KINDS_WITHIN_STAGES[part.name], part, whole)
    return table


def sizes_table(profile: Profile) -> Table:
    """Returns a table with a section per image size and a row per network."""
    table = _table("size", "network", "FLOPs", "parameters", "ms, batch 1", "quartiles", "batch", "ms/image", "memory")
    for sides, networks in profile.sizes:
        for row, network in enumerate(networks):
            table.add_row(
                sides_text(sides) if row == 0 else "",
                network.name,
                count_text(network.flops),
                count_text(network.params),
                _milliseconds(network.one.median),
                _quartiles(network.one),
                str(network.many.batch),
                _milliseconds(network.many.per_image),
                memory_text(network.memory),
            )
        table.add_section()
    return table


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in names:
        table.add_column(name, justify="left" if name in ("part", "size", "network") else "right", no_wrap=True)
    return table


def _add_part(table: Table, name: str, part: Part, whole: int) -> None:
    amounts = (part.flops, part.params, part.activations)
    counts = [count_text(amount) for amount in amounts] if part.activations else ["", "", ""]
    share = f"{100 * part.flops / whole:.1f} %" if part.activations else ""
    table.add_row(name, *counts, share, f"{100 * part.time:.1f} %")


def _quartiles(latency: "Latency") -> str:
    return f"{_milliseconds(latency.low)}–{_milliseconds(latency.high)}"


def _milliseconds(value: float) -> str:
    """Formats milliseconds with three significant digits."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
