"""The `nas` command on images before a search: data."""

import click

from nas.cli.console import json_option, make_console, print_json
from nas.units import counted

__all__ = ["data"]

MOST_NAMED = 5


@click.command(short_help="Look at a data set before a search: classes, duplicates, leaks, what to choose.")
@click.argument("source", metavar="SRC")
@click.option("--top", default=10, show_default=True, metavar="N", help="List at most N groups of copies of each kind.")
@json_option
def data(source: str, top: int, as_json: bool) -> None:
    """Look at every image of SRC, a source as `nas search --data` takes it.

    Lists classes, sizes and colours, unreadable files, duplicates and near duplicates, those that stand in several
    splits or several classes, and what to choose for a search.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from nas.cli.tables import add_columns
    from nas.data.report import report_on

    found = report_on(source)
    if as_json:
        print_json(found.to_dict())
        return
    console = make_console()
    low, median, high = found.sides
    colours = (
        "all grey" if found.grey == 1 else "all in colour" if found.grey == 0 else f"{found.grey:.0%} of them grey"
    )
    kinds = (
        f"with any of {len(found.classes)} labels"
        if found.multi_label
        else f"of {counted(len(found.classes), 'class')}"
    )
    shapes = f"{found.oblong:.0%} are not square" if found.oblong else "all square"
    pixels = f"{low} pixels" if low == high else f"{low} to {high} pixels, in the median {median}"
    console.print(
        f"{counted(found.images, 'image')} {kinds}, {colours}; their shorter sides have {pixels}; {shapes}.",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    add_columns(table, *(found.counts if len(found.counts) > 1 else ["images"]))
    for label, name in enumerate(found.classes):
        table.add_row(Text(name), *(f"{counts[label]:,}" for counts in found.counts.values()))
    console.print(table)
    for sentence in found.advice():
        console.print(sentence, soft_wrap=True)
    for title, groups in (
        ("In more than one split", found.leaks),
        ("With different labels", [group for group in found.contradictions if not group.is_leak]),
        ("Other copies", [group for group in found.copies if not group.is_leak and not group.is_contradictory]),
    ):
        if groups:
            console.print(f"\n{title}: {counted(len(groups), 'group')}", style="bold")
        for group in groups[:top]:
            kind = "the same file" if group.exact else "nearly the same"
            where = zip(group.names, group.splits, group.classes, strict=True)
            named = ", ".join(f"{name} ({split}, {label})" for name, split, label in [*where][:MOST_NAMED])
            more = f" and {len(group.names) - MOST_NAMED} more" if len(group.names) > MOST_NAMED else ""
            console.print(f"  {kind}: {named}{more}", soft_wrap=True, markup=False)
        if len(groups) > top:
            console.print(f"  and {len(groups) - top:,} more; --top {len(groups)} lists all", style="dim")
