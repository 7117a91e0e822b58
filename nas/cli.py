"""`nas`: thin commands over the package. What is heavy is imported inside them, so that `nas --help` is quick."""

import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nas.errors import NasError
from nas.units import amount_text, count_text, percent_text

if TYPE_CHECKING:
    from rich.console import Console

    from nas.study import Study

__all__ = ["main"]

USER_ERROR, INTERRUPTED = 2, 130


_runs = click.option("--runs", default="runs", show_default=True, metavar="DIR", help="The folder of studies.")
_storage = click.option("--storage", metavar="URL", help="A database for Optuna in place of a journal file.")
_device = click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to compute.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _reads_study(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which study, and the study opened in their place."""

    @click.argument("study", required=False)
    @click.option("--study", "named", metavar="NAME", help="The study; without it, the latest in the folder.")
    @_runs
    @_storage
    @functools.wraps(command)
    def with_study(study: str | None, named: str | None, runs: str, storage: str | None, **options: Any) -> None:
        from nas.studies import list_studies
        from nas.study import Study

        name = named or study or next(iter(list_studies(runs)), None)
        if name is None:
            raise NasError(f"there is no study in {runs} yet; `nas search` makes one")
        command(Study.open(name, runs, storage=storage), **options)

    return with_study


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nas", message="nas %(version)s")
def cli() -> None:
    """Finds, for your own images, the grouped-convolution network with the best accuracy for its compute."""


@cli.command(short_help="Search a space for its accuracy–FLOPs front.")
@click.argument("space", required=False)
@click.option("--data", metavar="SRC", help="digits, a folder of images, a parquet file or folder, or a hub name.")
@click.option("--study", metavar="NAME", help="The study's name; by default the space's and the data's.")
@_runs
@click.option(
    "--trials", default=50, show_default=True, metavar="N", help="Spend the epochs of so many full trainings in all."
)
@click.option("--epochs", type=int, metavar="E", help="Epochs of each training; by default the recipe's.")
@click.option(
    "--sampler",
    default="front",
    show_default=True,
    metavar="NAME",
    help="front, or Optuna's tpe, tpe-multivariate, nsga2, random, gp.",
)
@click.option("--fidelities", type=int, metavar="K", help="Schedule lengths; 1: full only. By default 3 if E allows.")
@click.option("--eta", default=3, show_default=True, metavar="N", help="The factor between schedule lengths.")
@click.option(
    "--stopping",
    default="front",
    show_default=True,
    metavar="front|none",
    help="Give up trainings beyond hope, or not.",
)
@click.option(
    "--patience", type=int, metavar="K", help="End when K trainings' worth of epochs raise the front by < 1 %."
)
@click.option("--warm-start", metavar="STUDY", help="An earlier study whose trials the sampler learns from.")
@click.option("--seed", type=int, metavar="S", help="Of splits, sampler and trainings; by default 0.")
@click.option("--max-flops", metavar="N", help="Multiply–adds per image, such as 50M.")
@click.option("--max-params", metavar="N", help="Parameters, such as 1M.")
@click.option("--max-images", type=click.IntRange(min=1), metavar="N", help="Search on a part of the images.")
@click.option("--skip-bad-images", is_flag=True, help="Leave out images that cannot be read.")
@click.option("--timeout", metavar="T", help="Start no trial after that long: 2h.")
@_device
@_storage
def search(space: str | None, study: str | None, **options: Any) -> None:
    """Search SPACE, a YAML file or a ready space's name (default: digits), for its accuracy–FLOPs front.

    The same command again goes on where it stopped; with more --trials it adds what is missing.
    """
    from nas.loop import search as run_search
    from nas.views import LiveView, PlainView

    console = _console()
    view = LiveView(console) if console.is_terminal else PlainView(console)
    try:
        with view:
            found = run_search(space, name=study, listener=view, **options)
    except KeyboardInterrupt:
        kept = (
            f", {amount_text(view.finished)} of {view.total} trials are finished and kept. Go on"
            if view.study
            else ". Begin again"
        )
        _note(f"Stopped{kept} with: {shlex.join(['nas', *sys.argv[1:]])}")
        raise
    _finish(console, found)


def _finish(console: "Console", study: "Study") -> None:
    """The front and what to type next; an error where nothing was completed."""
    from nas.records import FAILED
    from nas.tables import show_front, show_summary

    records = study.records()
    failed = [record for record in records if record.state == FAILED and record.finished]
    if not study.front():
        if not failed:
            raise NasError("no trial was completed in the time that was given")
        detail = (failed[-1].detail or "").strip().splitlines() or [""]
        raise NasError(f"no trial was completed: {len(failed)} failed, the last as {failed[-1].reason}: {detail[-1]}")
    show_front(console, study)
    show_summary(console, study)
    if failed:
        console.print(f"{len(failed)} trials failed; `nas trials {study.name}` says why.", style="red")
    where = "" if study.folder.parent == Path("runs") else f" --runs {shlex.quote(str(study.folder.parent))}"
    best = study.front()[-1]
    console.print("\nNext:")
    hints = {
        f"nas show {best.trial} {study.name}{where}": "one trial, stage by stage",
        f"nas export {study.name}{where} --out best": "the most accurate, as files",
        f"nas dashboard{where}": "the front in the browser",
    }
    width = max(map(len, hints))
    for command, purpose in hints.items():
        console.print(f"  {command:<{width}}   {purpose}", soft_wrap=True)


@cli.command(short_help="Say what a space holds and what a search of it costs here.")
@click.argument("file", required=False, metavar="[SPACE]")
@click.option("--trials", type=click.IntRange(min=1), default=50, metavar="N", help="For the estimate of time.")
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="Training images, for the estimate of time.")
@_device
@_json
def space(file: str | None, trials: int, images: int | None, device: str, as_json: bool) -> None:
    """Say what SPACE holds and what a search of it will cost here; without SPACE, list the ready ones."""
    from nas.loading import DIGITS, load_data
    from nas.preflight import estimate, preflight
    from nas.resources import ready_spaces
    from nas.space import load_space

    if file is None:
        spaces = [load_space(name) for name in ready_spaces()]
        if as_json:
            _print_json([{"name": ready.name, "purpose": ready.purpose, "valid": ready.valid} for ready in spaces])
            return
        for ready in spaces:
            click.echo(f"{ready.name:<12} {ready.purpose}")
        return
    report = preflight(load_space(file))
    if images is None:
        takes_digits = report.space.input == DIGITS
        images = len(load_data("digits", DIGITS).train.labels) if takes_digits else 10_000
    took = estimate(report, trials=trials, images=images, device=device)
    if as_json:
        _print_json({**report.to_dict(), "estimate": took._asdict()})
        return
    from nas.tables import show_preflight

    show_preflight(_console(), report, took)


@cli.command()
@_reads_study
@_json
@click.option("--report", is_flag=True, help="How well short trainings foretold full ones, in place of the front.")
def front(study: "Study", as_json: bool, report: bool) -> None:
    """Show the accuracy–FLOPs front of STUDY."""
    if report:
        from nas.proxies import proxies
        from nas.tables import show_proxies

        if as_json:
            _print_json([{**proxy._asdict(), "misleads": proxy.misleads} for proxy in proxies(study.records())])
        else:
            show_proxies(_console(), study)
        return
    if as_json:
        _print_json([record.to_dict() for record in study.front()])
        return
    from nas.tables import show_front

    if not study.front():
        raise NasError(f"study '{study.name}' has no complete trial yet; `nas trials {study.name}` shows what it has")
    show_front(_console(), study)


@cli.command()
@_reads_study
@_json
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def trials(study: "Study", as_json: bool, as_csv: bool) -> None:
    """Show all trials of STUDY."""
    records = study.records()
    if as_json:
        _print_json([record.to_dict() for record in records])
        return
    if as_csv:
        from nas.rows import csv_text, trial_rows

        click.echo(csv_text(trial_rows(records, study.config.space)), nl=False)
        return
    from nas.tables import trials_table

    _has_trials(study)
    _console().print(trials_table(records))


@cli.command(short_help="Show one trial, stage by stage.")
@click.argument("trial", type=int)
@_reads_study
@_json
def show(study: "Study", trial: int, as_json: bool) -> None:
    """Show one TRIAL of STUDY: its architecture, what it costs stage by stage, how it learned."""
    record = study.record(trial)
    if as_json:
        layers = [layer._asdict() for layer in record.cost.layers]
        _print_json([{**record.to_dict(), "layers": layers}])
        return
    from nas.tables import show_trial

    show_trial(_console(), record)


@cli.command(short_help="Write a trial's architecture and weights as files, verified.")
@_reads_study
@click.option("--trial", type=int, metavar="N", help="By default the most accurate.")
@click.option("--max-flops", metavar="N", help="The most accurate of at most so many, such as 50M.")
@click.option("--out", required=True, metavar="DIR", help="A folder that is new or empty.")
@click.option("--data", metavar="SRC", help="Where the study's images are now, if they were moved.")
@_device
def export(study: "Study", out: str, **options: Any) -> None:
    """Write a trial of STUDY as architecture.yaml and model.safetensors, and check what was written."""
    from nas.bundle import export as run_export

    written = run_export(study, out, **options)
    record = written.record
    click.echo(f"{written.folder}: trial {record.trial}, {record.name}, {count_text(record.flops)} FLOPs")
    click.echo(
        f"loaded back and measured: {percent_text(written.accuracy)} on the validation images, "
        f"{percent_text(record.accuracy or 0)} recorded"
    )


@cli.command(short_help="Open the dashboard in the browser.")
@_runs
@_storage
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8501,
    show_default=True,
    metavar="P",
    help="Where the browser finds it.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def dashboard(runs: str, storage: str | None, port: int, no_browser: bool) -> None:
    """Open the dashboard on the studies of a folder or a database; it only reads them."""
    import os
    import socket
    from importlib.util import find_spec

    from nas.errors import MissingExtra
    from nas.resources import dashboard_server

    if find_spec("streamlit") is None:
        raise MissingExtra("the dashboard", "dashboard")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise NasError(f"port={port}: cannot be used ({error.strerror}); name another with --port") from None
    settings = [str(port), "no-browser" if no_browser else "browser", runs, *([storage] if storage else [])]
    command = [sys.executable, str(dashboard_server()), *settings]
    os.execv(sys.executable, command)  # in this process's place, so that what ends it ends the server


def main() -> NoReturn:
    """Runs a command; a user's mistake is one line on standard error and exit code 2, Ctrl-C is 130."""
    try:
        cli.main(prog_name="nas", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
    except click.ClickException as error:
        _fail(error.format_message())
    except NasError as error:
        _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
    except (OSError, UnicodeError) as error:  # a disk that is full, a path that no system allows
        _fail(str(error))
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    _note(f"nas: {' '.join(message.split())}")
    sys.exit(USER_ERROR)


def _note(text: str) -> None:
    click.echo(text, err=True)


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=160)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _has_trials(study: "Study") -> None:
    if not study.records():
        raise NasError(f"study '{study.name}' has no trial yet")


if __name__ == "__main__":
    main()
