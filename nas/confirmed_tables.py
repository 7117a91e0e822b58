"""Confirmations for the terminal: the front with the spread over seeds, and what the search's scores were worth."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.confirmed import Confirmation, Confirmed, Spread
from nas.tables import FLOPS_NOTE, add_columns
from nas.units import count_text, percent_text

__all__ = ["confirmed_table", "optimism_text", "show_confirmed", "spread_text"]


def spread_text(spread: Spread | None) -> str:
    """`97.21 ± 0.30 %`; without a spread where there is one seed."""
    if spread is None:
        return "–"
    mean, std = spread
    return percent_text(mean) if std is None else f"{100 * mean:.2f} ± {100 * std:.2f} %"


def optimism_text(found: Confirmed) -> str | None:
    """What the search's scores were worth, in a sentence; None where there was no search."""
    if (optimism := found.optimism) is None:
        return None
    points = (
        f"{100 * abs(optimism.mean):.1f}{f' ± {100 * optimism.std:.1f}' if optimism.std is not None else ''} points"
    )
    which = "the confirmed architectures" if len(found.members) > 1 else "the confirmed architecture"
    if optimism.mean > 0:
        return f"The search scored {which} {points} too high: what is picked for its score is picked for its luck too."
    return f"The search scored {which} {points} too low."


def confirmed_table(members: Sequence[Confirmation], *, title: str | None = None) -> Table:
    """Architectures from the fewest FLOPs to the most; those on the front of the means are bold."""
    searched = any(member.optimism is not None for member in members)
    tested = any(member.tested for member in members)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    names = ["trial", "architecture", *(["search"] if searched else []), "confirmed", "seeds", "on the front"]
    add_columns(table, *names, *(["test"] if tested else []), "FLOPs", "parameters")
    for member in members:
        record = member.record
        sure = f"{100 * member.probability:.0f} %" if member.probability is not None else "–"
        table.add_row(
            str(record.trial),
            Text(record.name),
            *([percent_text(record.accuracy or 0.0) if member.optimism is not None else "–"] if searched else []),
            spread_text(member.validation),
            str(len(member.trainings)),
            sure,
            *([spread_text(member.test)] if tested else []),
            count_text(record.flops),
            count_text(record.params),
            style="bold" if member.on_front else None,
        )
    return table


def show_confirmed(console: Console, found: Confirmed, *, name: str) -> None:
    """The confirmed front, and what the numbers mean."""
    title = f"{name}, each trained from scratch for {found.epochs} epochs on several seeds"
    console.print(confirmed_table(found.members, title=title))
    images = found.study.config.validation_images
    notes = [
        f"Confirmed: mean ± standard deviation over seeds, on the {f'{images:,} ' if images else ''}validation images.",
        "Bold: on the front of the means; beside it, how probable that is, by the spread over seeds.",
        FLOPS_NOTE,
    ]
    console.print(" ".join(notes), style="dim")
    if said := optimism_text(found):
        console.print(said)
    if any(member.tested for member in found.members):
        console.print("Test: on images that neither the search nor the choice has seen, read once.", style="dim")
