"""Shared by the `nas` commands: options, the console, JSON output, error reporting."""

import functools
import json
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nas.errors import NasWarning

if TYPE_CHECKING:
    from rich.console import Console

    from nas.cli.live_view import LiveView, PlainView

__all__ = [
    "device_option",
    "fail",
    "folds_option",
    "group_by_option",
    "json_option",
    "make_console",
    "note",
    "print_json",
    "reads_study",
    "resize_option",
    "runs_option",
    "show_warnings",
    "storage_option",
    "validation_option",
    "watched",
    "workers_options",
]

USER_ERROR = 2

runs_option = click.option("--runs", default="runs", show_default=True, metavar="DIR", help="The folder of studies.")
storage_option = click.option("--storage", metavar="URL", help="A database for Optuna in place of a journal file.")
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to compute."
)
validation_option = click.option(
    "--validation",
    type=float,
    metavar="SHARE|N",
    help="Images to compare networks by, if the data has no such set; by default a fifth, at most 5,000.",
)
folds_option = click.option(
    "--folds",
    type=int,
    metavar="K",
    help="Train K networks for each trial, each judged by another K-th of the images; for few images.",
)
group_by_option = click.option(
    "--group-by",
    metavar="folder|COLUMN|PATTERN",
    help="Keep images that belong together, such as a patient's, in one split.",
)
resize_option = click.option(
    "--resize",
    metavar="crop|letterbox|stretch",
    help="How images of other proportions are made to fit; by default cropped.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def reads_study(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates a command with the options that select a study, and passes it the opened study instead of them."""

    @click.argument("study", required=False)
    @click.option("--study", "named", metavar="NAME", help="The study; without it, the latest in the folder.")
    @runs_option
    @storage_option
    @functools.wraps(command)
    def with_study(study: str | None, named: str | None, runs: str, storage: str | None, **options: Any) -> None:
        from nas.cli.arguments import read_study

        command(read_study(named or study, runs=runs, storage=storage), **options)

    return with_study


def workers_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates a command with the options for the number of workers and where they run."""
    options = [
        click.option(
            "--workers",
            default="auto",
            show_default=True,
            metavar="N|auto",
            help="How many train at once; 1: in turn, repeatable; 0: only those of nas worker.",
        ),
        click.option(
            "--workers-per-gpu", default="auto", show_default=True, metavar="N|auto", help="How many share a GPU."
        ),
        click.option("--ray", metavar="ADDRESS|auto", help="Have the workers run on a Ray cluster."),
        click.option(
            "--cpus-per-worker", default=1.0, show_default=True, metavar="C", help="What each takes of the cluster."
        ),
        click.option(
            "--gpus-per-worker", default=0.0, show_default=True, metavar="G", help="The same; may be a fraction."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def fail(message: str) -> NoReturn:
    """Prints a one-line error message and exits with code 2."""
    note(f"nas: {' '.join(message.split())}")
    sys.exit(USER_ERROR)


def note(text: str) -> None:
    """Prints a line to standard error, if that is still there: a terminal that was closed is not."""
    with suppress(OSError):
        click.echo(text, err=True)


def show_warnings() -> None:
    """Makes warnings of `nas` print as one line on standard error, like errors."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, NasWarning):
            note(f"nas: {' '.join(str(message).split())}")
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show


def make_console() -> "Console":
    """Returns a console as wide as the terminal, or 160 columns wide, enough for any table, without a terminal."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=160)


@contextmanager
def watched(console: "Console") -> "Iterator[LiveView | PlainView]":
    """Shows a view of the trainings, to be used as their listener; on Ctrl-C, prints the command that resumes."""
    from nas.cli.live_view import LiveView, PlainView
    from nas.system.signals import interruptible

    view = LiveView(console) if console.is_terminal else PlainView(console)
    try:
        with interruptible(), view:
            yield view
    except KeyboardInterrupt:
        kept = f"; kept: {view.progress()}. Go on" if view.study else ". Begin again"
        note(f"Stopped{kept} with: {shlex.join(['nas', *sys.argv[1:]])}")
        raise


def print_json(value: Any) -> None:
    """Prints a value as indented JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))
