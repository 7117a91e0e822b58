"""The `nas` commands for networks that a person designs: predict, queue."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from nas.cli.console import json_option, make_console, print_json, runs_option, storage_option
from nas.errors import InvalidValue

if TYPE_CHECKING:
    from nas.architectures.architecture import Architecture
    from nas.study.study import Study

__all__ = ["predict", "queue"]


def _designs(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates a command with the options that name a study and a network."""
    options = [
        click.argument("study"),
        click.argument("file", metavar="[ARCHITECTURE.yaml]", required=False),
        click.option("--like", type=int, metavar="TRIAL", help="Start from a trial of the study."),
        click.option("--set", "edits", multiple=True, metavar="FIELD=N", help="Change a field: stage2.groups=16."),
        runs_option,
        storage_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _designed(
    study: str, *, file: str | None, like: int | None, edits: tuple[str, ...], runs: str, storage: str | None
) -> "tuple[Study, Architecture]":
    from nas.architectures.architecture import Architecture
    from nas.architectures.edits import edited
    from nas.cli.arguments import read_study

    if (file is None) == (like is None):
        raise InvalidValue("name a network: either a YAML file, or a trial of the study with --like")
    opened = read_study(study, runs=runs, storage=storage)
    start = Architecture.from_yaml(file) if file is not None else opened.record(like or 0).architecture
    return opened, edited(start, edits)


@click.command(short_help="Say what a network would cost, and what a study expects of it.")
@_designs
@json_option
def predict(
    study: str,
    *,
    file: str | None,
    like: int | None,
    edits: tuple[str, ...],
    runs: str,
    storage: str | None,
    as_json: bool,
) -> None:
    """Say what a network would cost, how accurate STUDY expects it to be, and where it would stand on the front.

    The network is that of a YAML file or of a trial, with the given fields changed.
    """
    from nas.analysis.prediction import predict as run_predict
    from nas.units import count_text, memory_text

    opened, architecture = _designed(study, file=file, like=like, edits=edits, runs=runs, storage=storage)
    found = run_predict(opened, architecture)
    if as_json:
        print_json(found.to_dict())
        return
    console = make_console()
    console.print(f"{architecture.name}", style="bold")
    latency = f", about {found.latency:.3g} ms for an image" if found.latency is not None else ""
    console.print(
        f"{count_text(found.cost.flops)} FLOPs, {count_text(found.cost.params)} parameters, activations of at most "
        f"{memory_text(found.peak_memory)} at once{latency}"
    )
    for sentence in found.sentences():
        console.print(sentence, soft_wrap=True)


@click.command(short_help="Queue a network of one's own for training.")
@_designs
def queue(
    study: str, *, file: str | None, like: int | None, edits: tuple[str, ...], runs: str, storage: str | None
) -> None:
    """Queue a network for a full training: the running search of STUDY, or the next one, trains it first.

    The network is that of a YAML file or of a trial, with the given fields changed.
    """
    from nas.workflows.enqueue import enqueue

    opened, architecture = _designed(study, file=file, like=like, edits=edits, runs=runs, storage=storage)
    enqueue(opened, architecture)
    click.echo(f"{architecture.name} is queued: {_when(opened)}.")


def _when(study: "Study") -> str:
    """Says when a queued network will be trained."""
    from nas.study.records import trainings_spent

    state = study.attributes.search
    if state is None:
        return "the next nas search of this study trains it first"
    if state.live:
        return "the running search trains it next"
    spent = trainings_spent(study.records(), study.config.space.recipe.epochs)
    more = f" --trials {int(spent) + 1} or more" if spent >= state.trials else ""
    return f"the next nas search of this study{f', with{more},' if more else ''} trains it first"
