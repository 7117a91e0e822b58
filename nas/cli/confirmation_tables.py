"""Terminal output of confirmations: the front with its spread over seeds, and the optimism of the search's scores."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.analysis.confirmation import Confirmation, ConfirmationReport, by_expense
from nas.analysis.cost_metrics import LATENCY
from nas.analysis.final_training import final_training
from nas.cli.tables import FLOPS_NOTE, add_columns, latency_cells
from nas.study.records import TrialRecord
from nas.study.study import Study
from nas.units import count_text, epochs_text, percent_text

__all__ = ["confirmed_table", "show_confirmed", "show_trained"]


def confirmed_table(
    members: Sequence[Confirmation], *, unconfirmed: Sequence[TrialRecord] = (), title: str | None = None
) -> Table:
    """Returns a table of confirmed architectures by increasing cost; those on the front of the means are bold.

    Trials that are not confirmed stand among them with what the search says.
    """
    rows: list[tuple[TrialRecord, Confirmation | None]] = [(member.record, member) for member in members]
    rows += [(record, None) for record in unconfirmed]
    rows.sort(key=lambda row: by_expense(row[0]))
    cells = latency_cells([record for record, _ in rows])
    shown = {
        "search": bool(unconfirmed) or any(member.optimism is not None for member in members),
        "epochs": len({member.epochs for member in members}) > 1,
        "test": any(member.tested for member in members),
        LATENCY.key: bool(cells),
    }
    names = ["trial", "architecture", "search", "confirmed", "seeds", "epochs", "on the front", "test", LATENCY.key]
    names = [name for name in [*names, "FLOPs", "parameters"] if shown.get(name, True)]
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    add_columns(table, *names)
    for record, member in rows:
        known: dict[str, str | Text] = {
            "trial": str(record.trial),
            "architecture": Text(record.name),
            "confirmed": "not yet",
            **({"search": percent_text(record.quality)} if member is None else _confirmed_cells(member)),
            **({LATENCY.key: cells[record.trial]} if cells else {}),
            "FLOPs": count_text(record.flops),
            "parameters": count_text(record.params),
        }
        style = "bold" if member is not None and member.on_front else None
        table.add_row(*(known.get(name, "–") for name in names), style=style)
    return table


def _confirmed_cells(member: Confirmation) -> dict[str, str]:
    return {
        **({"search": percent_text(member.record.quality)} if member.optimism is not None else {}),
        "confirmed": member.validation.text(),
        "seeds": str(len(member.trainings)),
        "epochs": str(member.epochs),
        **({"on the front": f"{100 * member.probability:.0f} %"} if member.probability is not None else {}),
        **({"test": member.test.text()} if member.test else {}),
    }


def show_confirmed(console: Console, found: ConfirmationReport, *, study: Study) -> None:
    """Prints the confirmed front, with notes on the numbers."""
    lengths = {member.epochs for member in found.members}
    epochs = f" for {epochs_text(min(lengths))}" if len(lengths) == 1 else ""
    title = f"{study.name}, each trained from scratch{epochs} on several seeds"
    unconfirmed = found.missing(study.front())
    console.print(confirmed_table(found.members, unconfirmed=unconfirmed, title=title))
    images = study.config.validation_images
    notes = [
        f"Confirmed: mean ± standard deviation over seeds, on the {f'{images:,} ' if images else ''}validation images.",
        *(["Bold: on the front of the means."] if console.is_terminal else []),
        "On the front: how probable it is to be there, by the spread over seeds.",
        *([study.config.metric_note] if study.config.metric_note else []),
        FLOPS_NOTE,
    ]
    console.print(" ".join(notes), style="dim")
    if optimism := found.optimism_text():
        console.print(optimism)
    if unfinished := found.unfinished_text():
        console.print(unfinished, style="yellow")
    if unconfirmed:
        console.print("Not yet: on the search's front, by its estimates; nas confirm trains what is missing.")
    if any(member.tested for member in found.members):
        console.print("Test: on images that neither the search nor the choice has seen, read once.", style="dim")


def show_trained(console: Console, member: Confirmation, *, searched: Study | None = None) -> None:
    """Prints each training of one architecture with its accuracy and weights file, then their mean and spread.

    Args:
        console: where to print.
        member: the trainings.
        searched: the search that the architecture is of, if it is of one.
    """
    record, study = member.record, member.study
    assert study is not None  # what was trained is stored
    amounts = f"{count_text(record.flops)} FLOPs, {count_text(record.params)} parameters"
    console.print(Text(f"{record.name}: {amounts}", style="bold"), soft_wrap=True)
    for training in member.trainings:
        accuracy = percent_text(training.accuracy or 0.0)
        console.print(f"seed {training.seed}  {accuracy}  {study.weights_file(training.trial)}", soft_wrap=True)
    console.print(f"{study.config.scored(member.validation.text())}, after {epochs_text(member.epochs)} each")
    if study.config.on_all_images:
        taken = final_training(searched, record.architecture) if searched is not None else None
        weights = f"those of {taken[0].name}" if taken is not None and taken[0].name != study.name else "these weights"
        console.print(f"Trained on all other images, those for validation too; nas export takes {weights}.")
    if teachers := study.config.teachers:
        console.print(f"Taught by the trials {', '.join(map(str, teachers))} of the search.")
