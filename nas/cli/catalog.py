"""The `nas` commands for the studies of a folder: studies, rename, archive, restore, delete."""

import click

from nas.cli.console import json_option, make_console, note, print_json, runs_option, storage_option
from nas.errors import NasError

__all__ = ["archive", "delete", "rename", "restore", "studies"]


@click.command(short_help="List the studies of a folder or a database.")
@runs_option
@storage_option
@click.option("--put-away", is_flag=True, help="Those in the archive and in the bin.")
@json_option
def studies(runs: str, storage: str | None, put_away: bool, as_json: bool) -> None:
    """List the studies of a folder or a database: what they hold, and whether a search is running on them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from nas.analysis.overview import Overview, overview
    from nas.cli.tables import add_columns
    from nas.study.catalog import list_studies
    from nas.study.housekeeping import ARCHIVE, BIN, list_put_away
    from nas.study.study import Study
    from nas.units import amount_text, count_text, percent_text

    if put_away:
        away = {place: list_put_away(runs, place) for place in (ARCHIVE, BIN)}
        for place, names in away.items():
            for name in names:
                click.echo(f"{name}  in {place}")
        if not any(away.values()):
            click.echo(f"The archive and the bin of {runs} are empty.")
        return
    found: list[Overview] = []
    for name in list_studies(runs, storage=storage):
        try:
            found.append(overview(Study.open(name, runs, storage=storage)))
        except NasError as error:
            note(str(error))
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    if not found:
        click.echo(f"There is no study in {storage or runs} yet; nas search makes one.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("study")
    table.add_column("images")
    table.add_column("search")
    add_columns(table, "trainings", "front", "best", "from", "to FLOPs")
    for one in found:
        ends = [count_text(flops) for flops, _ in (one.front[0], one.front[-1])] if one.front else ["–", "–"]
        table.add_row(
            Text(one.name),
            Text(one.source),
            one.status,
            f"{one.trainings:,}" + (f" ({amount_text(one.spent)} of {one.budget:,})" if one.budget else ""),
            str(len(one.front)),
            percent_text(one.best) if one.best is not None else "–",
            *ends,
        )
    make_console().print(table)


@click.command(short_help="Rename a study.")
@click.argument("study")
@click.argument("new")
@runs_option
def rename(study: str, new: str, runs: str) -> None:
    """Rename STUDY to NEW."""
    from nas.study.housekeeping import rename_study

    rename_study(study, new, runs)
    click.echo(f"{study} is {new} now.")


@click.command(short_help="Put studies away into the archive.")
@click.argument("names", metavar="STUDY...", nargs=-1, required=True)
@runs_option
def archive(names: tuple[str, ...], runs: str) -> None:
    """Move studies to the archive, where no command and no page of the dashboard lists them."""
    from nas.study.housekeeping import archive_study

    for name in names:
        folder = archive_study(name, runs)
        click.echo(f"{name} is in {folder.parent} now; nas restore {folder.name} brings it back.")


@click.command(short_help="Bring studies back from the archive or the bin.")
@click.argument("names", metavar="STUDY...", nargs=-1, required=True)
@runs_option
def restore(names: tuple[str, ...], runs: str) -> None:
    """Bring studies back from the archive or, if they are not there, from the bin."""
    from nas.study.housekeeping import restore_study

    for name in names:
        restore_study(name, runs)
        click.echo(f"{name} is back.")


@click.command(short_help="Move studies to the bin.")
@click.argument("names", metavar="STUDY...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@runs_option
def delete(names: tuple[str, ...], yes: bool, runs: str) -> None:
    """Move studies to the bin, a folder that can be emptied by hand; asks before it does."""
    from nas.study.housekeeping import delete_study

    if not yes:
        click.confirm(f"Move {', '.join(names)} to the bin?", abort=True)
    for name in names:
        folder = delete_study(name, runs)
        click.echo(f"{name} is in {folder.parent} now; nas restore {folder.name} brings it back.")
