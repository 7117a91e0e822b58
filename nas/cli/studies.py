"""The `nas` commands that read a study: front, trials, show, dashboard."""

import sys
from typing import TYPE_CHECKING

import click

from nas.cli.console import json_option, make_console, note, print_json, reads_study, runs_option, storage_option
from nas.errors import InvalidValue, NasError
from nas.validation import shown

if TYPE_CHECKING:
    from nas.study.study import Study

__all__ = ["dashboard", "front", "show", "trials"]


@click.command(short_help="Show the front of a study.")
@reads_study
@json_option
@click.option("--report", is_flag=True, help="Show how well short trainings predicted full ones, instead of the front.")
def front(study: "Study", as_json: bool, report: bool) -> None:
    """Show the front of STUDY: accuracy and FLOPs, or latency, if that is what it was searched for."""
    if report:
        from nas.analysis.rank_correlation import proxies
        from nas.cli.tables import show_proxies

        if as_json:
            print_json([{**proxy._asdict(), "misleads": proxy.misleads} for proxy in proxies(study.records())])
        else:
            show_proxies(make_console(), study)
        return
    from nas.analysis.confirmation import confirmed, front_rows

    found = confirmed(study)
    if as_json:
        print_json(front_rows(study, found))
        return
    if found is not None:
        from nas.cli.confirmation_tables import show_confirmed

        show_confirmed(make_console(), found, study=study)
        return
    from nas.cli.tables import show_front

    if not study.front():
        raise NasError(f"study '{study.name}' has no trained network yet; `nas trials {study.name}` shows what it has")
    show_front(make_console(), study)


@click.command()
@reads_study
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def trials(study: "Study", as_json: bool, as_csv: bool) -> None:
    """Show all trials of STUDY."""
    records = study.estimated_records()
    if as_json:
        print_json([record.to_dict() for record in records])
        return
    if as_csv:
        from nas.analysis.trial_table import csv_text, trial_rows

        click.echo(csv_text(trial_rows(records, study.config.space)), nl=False)
        return
    from nas.cli.tables import trials_table
    from nas.spaces.references import families

    _has_trials(study)
    make_console().print(trials_table(records, families(study.config.space)))


class _Number(click.ParamType[int]):
    """The number of a trial, which stands before its study's name."""

    name = "trial"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not str(value).isdecimal():
            study, _, trial = str(value).partition(":")
            raise InvalidValue(
                f"TRIAL={shown(value)}: must be a number; the study comes after it: nas show {trial or 'N'} {study}"
            )
        return int(str(value))


@click.command(short_help="Show one trial, stage by stage.")
@click.argument("trial", type=_Number())
@reads_study
@json_option
def show(study: "Study", trial: int, as_json: bool) -> None:
    """Show one TRIAL of STUDY: its architecture, what it costs stage by stage, how it learned."""
    record = study.record(trial)
    if as_json:
        layers = [layer._asdict() for layer in record.cost.layers]
        print_json([{**record.to_dict(), "layers": layers}])
        return
    from nas.cli.tables import show_trial

    show_trial(make_console(), record)


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
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where it listens: here, only this machine can reach it.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--read-only", "acting", flag_value="read-only", help="Nobody can start, steer or queue anything.")
@click.option(
    "--allow-actions",
    "acting",
    flag_value="allow-actions",
    help="Whoever has the printed link can, from other machines, too.",
)
def dashboard(runs: str, storage: str | None, *, port: int, host: str, no_browser: bool, acting: str | None) -> None:
    """Open the dashboard on the studies of a folder or a database.

    Where only this machine can reach it, it can start searches, steer those that run, and queue networks.
    """
    import os
    from importlib.util import find_spec

    from nas.errors import MissingExtra
    from nas.system.resources import dashboard_server

    if find_spec("streamlit") is None:
        raise MissingExtra("the dashboard", "dashboard")
    address = _free_address(host, port)
    place = [runs, *([storage] if storage else [])]
    settings = [address, str(port), "no-browser" if no_browser else "browser", acting or "here", *place]
    command = [sys.executable, str(dashboard_server()), *settings]
    os.execv(sys.executable, command)  # replaces this process, so that signals reach the server


def _free_address(host: str, port: int) -> str:
    """Resolves `host` to a numeric address where `port` is free; prints a warning if other machines can reach it."""
    import errno
    import socket
    from ipaddress import ip_address

    from nas.validation import shown

    try:
        family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise NasError(f"host={shown(host)}: there is no such address; it is one of this machine's own") from None
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise NasError(f"host={shown(host)}: is not one of this machine's addresses") from None
            raise NasError(f"port={port}: cannot be used ({error.strerror}); name another with --port") from None
    if not ip_address(address).is_loopback:
        note(
            f"Whoever can reach port {port} of {address} can read these studies and export their networks: there is no "
            "password, and nothing is encrypted."
        )
        tunnel = f"ssh -N -L {port}:127.0.0.1:{port} USER@{socket.gethostname()}"
        note(f"Safer: leave out --host, and type where your browser is: {tunnel}")
    return str(address)


def _has_trials(study: "Study") -> None:
    if not study.records():
        raise NasError(f"study '{study.name}' has no trial yet")
