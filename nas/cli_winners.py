"""The commands of `nas` after a search: confirm, pick, export."""

from typing import TYPE_CHECKING, Any

import click

from nas.terminal import device_option, json_option, make_console, print_json, reads_study, watched, workers_options

if TYPE_CHECKING:
    from nas.study import Study

__all__ = ["confirm"]


@click.command(short_help="Train the front again on several seeds: what is it worth?")
@reads_study
@click.option("--top", type=int, metavar="K", help="At most K; by default the front and all that may well be on it.")
@click.option("--seeds", default=3, show_default=True, metavar="N", help="Trainings of each, from scratch.")
@click.option("--epochs", type=int, metavar="E", help="Epochs of each training; by default the recipe's.")
@click.option("--test", is_flag=True, help="Then measure the winners on the test images, once.")
@click.option("--data", metavar="SRC", help="Where the study's images are now, if they were moved.")
@device_option
@workers_options
@json_option
def confirm(study: "Study", as_json: bool, **options: Any) -> None:
    """Train the front of STUDY again from scratch on several seeds, with what noise may have hidden behind it.

    The same command again goes on where it stopped; with more --seeds it adds what is missing.
    """
    import sys

    from rich.console import Console

    from nas.confirmed_tables import show_confirmed
    from nas.confirming import confirm as run_confirm

    console = Console(file=sys.stderr, highlight=False, markup=False) if as_json else make_console()
    with watched(console) as view:
        found = run_confirm(study, listener=view, **options)
    if as_json:
        print_json([{**member.record.to_dict(), "confirmed": member.to_dict()} for member in found.members])
    else:
        show_confirmed(console, found, name=study.name)
