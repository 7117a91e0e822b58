"""The commands of `nas` on a study that was searched: front, trials, show, export, dashboard."""

import sys
from typing import TYPE_CHECKING, Any

import click

from nas.errors import NasError
from nas.terminal import device_option, json_option, make_console, print_json, reads_study, runs_option, storage_option
from nas.units import count_text, percent_text

if TYPE_CHECKING:
    from nas.study import Study

__all__ = ["dashboard", "export", "front", "show", "trials"]


@click.command()
@reads_study
@json_option
@click.option("--report", is_flag=True, help="How well short trainings foretold full ones, in place of the front.")
def front(study: "Study", as_json: bool, report: bool) -> None:
    """Show the accuracy–FLOPs front of STUDY."""
    if report:
        from nas.proxies import proxies
        from nas.tables import show_proxies

        if as_json:
            print_json([{**proxy._asdict(), "misleads": proxy.misleads} for proxy in proxies(study.records())])
        else:
            show_proxies(make_console(), study)
        return
    if as_json:
        print_json([record.to_dict() for record in study.front()])
        return
    from nas.tables import show_front

    if not study.front():
        raise NasError(f"study '{study.name}' has no complete trial yet; `nas trials {study.name}` shows what it has")
    show_front(make_console(), study)


@click.command()
@reads_study
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def trials(study: "Study", as_json: bool, as_csv: bool) -> None:
    """Show all trials of STUDY."""
    records = study.records()
    if as_json:
        print_json([record.to_dict() for record in records])
        return
    if as_csv:
        from nas.rows import csv_text, trial_rows

        click.echo(csv_text(trial_rows(records, study.config.space)), nl=False)
        return
    from nas.tables import trials_table

    _has_trials(study)
    make_console().print(trials_table(records))


@click.command(short_help="Show one trial, stage by stage.")
@click.argument("trial", type=int)
@reads_study
@json_option
def show(study: "Study", trial: int, as_json: bool) -> None:
    """Show one TRIAL of STUDY: its architecture, what it costs stage by stage, how it learned."""
    record = study.record(trial)
    if as_json:
        layers = [layer._asdict() for layer in record.cost.layers]
        print_json([{**record.to_dict(), "layers": layers}])
        return
    from nas.tables import show_trial

    show_trial(make_console(), record)


@click.command(short_help="Write a trial's architecture and weights as files, verified.")
@reads_study
@click.option("--trial", type=int, metavar="N", help="By default the most accurate.")
@click.option("--max-flops", metavar="N", help="The most accurate of at most so many, such as 50M.")
@click.option("--out", required=True, metavar="DIR", help="A folder that is new or empty.")
@click.option("--data", metavar="SRC", help="Where the study's images are now, if they were moved.")
@device_option
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


@click.command(short_help="Open the dashboard in the browser.")
@runs_option
@storage_option
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


def _has_trials(study: "Study") -> None:
    if not study.records():
        raise NasError(f"study '{study.name}' has no trial yet")
