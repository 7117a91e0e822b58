"""The `nas` commands that search (search, worker), and those that prepare a search (space, recipe, doctor)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nas.cli.console import (
    device_option,
    folds_option,
    group_by_option,
    json_option,
    make_console,
    print_json,
    resize_option,
    runs_option,
    storage_option,
    validation_option,
    watched,
    workers_options,
)
from nas.errors import NasError
from nas.units import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from nas.study.study import Study

__all__ = ["doctor", "recipe", "search", "space", "worker"]

RECIPE = ("epochs", "metric", "class_weights", "sampling")
"""Options that are fields of the recipe."""


def balance_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates a command with the options for classes of different sizes."""
    options = [
        click.option(
            "--metric",
            metavar="accuracy|balanced_accuracy|macro_f1|mean_average_precision|log_loss",
            help="What networks are judged by; all but the first and last give all classes the same weight.",
        ),
        click.option(
            "--class-weights", metavar="none|balanced|effective", help="How images of rare classes count in training."
        ),
        click.option("--sampling", metavar="all|balanced", help="balanced: draw images of all classes equally often."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


patience_storage_option = click.option(
    "--patience-storage",
    default="10m",
    show_default=True,
    metavar="T",
    callback=lambda _, __, value: parse_duration(value, "patience_storage"),
    help="Wait that long for a database that cannot be used.",
)


@click.command(short_help="Search a space for its front of accuracy and FLOPs, or latency.")
@click.argument("space", required=False)
@click.option(
    "--data", metavar="SRC", help="digits, a folder of images, a parquet, tar, CSV or npz file, or a hub name."
)
@click.option("--study", metavar="NAME", help="The study's name; by default the space's and the data's.")
@runs_option
@click.option(
    "--trials", type=int, metavar="N", help="Total budget, in full-length trainings; by default 50, or the study's own."
)
@click.option("--epochs", type=int, metavar="E", help="Epochs of each training; by default the recipe's.")
@click.option(
    "--sampler",
    default="front",
    show_default=True,
    metavar="NAME",
    help="front, or Optuna's tpe, tpe-multivariate, nsga2, random, gp.",
)
@click.option("--fidelities", type=int, metavar="K", help="Schedule lengths; 1: full only. By default 2 if E allows.")
@click.option("--eta", default=3, show_default=True, metavar="N", help="The factor between schedule lengths.")
@click.option(
    "--stopping",
    default="front",
    show_default=True,
    metavar="front|none",
    help="Stop hopeless trainings early, or none.",
)
@click.option(
    "--patience", type=int, metavar="K", help="End when K trainings' worth of epochs raise the front by < 1 %."
)
@click.option(
    "--references/--no-references",
    default=True,
    help="Train ResNet-, ResNeXt- and RegNet-like networks for comparison, one for every ten trainings; or none.",
)
@click.option("--warm-start", metavar="STUDY", help="An earlier study whose trials the sampler learns from.")
@click.option("--seed", type=int, metavar="S", help="Of splits, sampler and trainings; by default 0.")
@click.option("--max-flops", metavar="N", help="Multiply–adds per image, such as 50M.")
@click.option("--max-params", metavar="N", help="Parameters, such as 1M.")
@click.option("--max-images", type=click.IntRange(min=1), metavar="N", help="Search on a part of the images.")
@validation_option
@folds_option
@group_by_option
@resize_option
@click.option("--skip-bad-images", is_flag=True, help="Leave out images that cannot be read.")
@balance_options
@click.option("--timeout", metavar="T", help="Start no trial after that long: 2h.")
@click.option("--trial-timeout", metavar="T", help="End a training as failed after that long: 30m.")
@click.option(
    "--artifacts",
    metavar="URL",
    help="Keep weights and predictions there too, for other machines: s3://BUCKET/FOLDER, file:///FOLDER.",
)
@click.option(
    "--keep",
    metavar="front|all|none",
    help="Whose weights stay on the disk; by default those that nothing beats.",
)
@click.option(
    "--objectives",
    metavar="A,B",
    help="accuracy,flops, as by default, or accuracy,latency, which is measured before each training: one worker.",
)
@click.option("--measure-latency", is_flag=True, help="At the end, measure the latency of what is on the front.")
@click.option("--latency-on", metavar="COMMAND", help="Measure on another device, reached by such as 'ssh pi@board'.")
@device_option
@workers_options
@storage_option
@patience_storage_option
def search(space: str | None, study: str | None, **options: Any) -> None:
    """Search SPACE, a YAML file or a ready space's name (default: digits), for its front of accuracy and FLOPs.

    The same command resumes an interrupted search; with more --trials it extends a finished one.
    """
    from nas.workflows.search import search as run_search

    console = make_console()
    changes = {name: value for name in RECIPE if (value := options.pop(name)) is not None}
    with watched(console) as view:
        view.end_after(options["timeout"])
        found = run_search(space, name=study, recipe=changes, listener=view, **options)
    _finish(console, found)


@click.command(short_help="Add a worker to a search, from this machine or another.")
@click.argument("study")
@runs_option
@storage_option
@click.option("--data", metavar="SRC", help="Where the study's images are on this machine, if elsewhere.")
@click.option("--timeout", metavar="T", help="Start no trial after that long: 2h.")
@device_option
@patience_storage_option
def worker(study: str, timeout: str | None, **options: Any) -> None:
    """Train trials of STUDY alongside the other workers of its search until the search's budget is spent.

    `nas search` starts the study. A worker reaches it in the same runs folder, or in a database.
    """
    import time

    from nas.cli.live_view import PlainView
    from nas.system.signals import interruptible
    from nas.workers.join import join

    deadline = time.time() + parse_duration(timeout, "timeout") if timeout is not None else float("inf")
    with interruptible(), PlainView(make_console()) as view:
        view.end_after(timeout)
        join(study, deadline=deadline, listener=view, **options)


@click.command(short_help="Say what this machine has, what auto means here, and how fast it trains.")
@click.argument("space", default="groupconv32", metavar="[SPACE]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=20,
    show_default=True,
    metavar="S",
    help="To measure for; 0: not at all.",
)
@json_option
def doctor(space: str, seconds: float, as_json: bool) -> None:
    """Report what this machine has and what `auto` would choose; measure its training throughput on images of SPACE."""
    from nas.cli.tables import show_machine, show_throughput
    from nas.spaces.built_in import load_space
    from nas.workers.environment import examine, measure

    chosen = load_space(space)
    found = examine()
    if as_json:
        measured = measure(chosen, seconds=seconds) if seconds else []
        print_json({**found.to_dict(), "space": chosen.name, "throughput": [each._asdict() for each in measured]})
        return
    screen = make_console()
    show_machine(screen, found)
    if seconds:
        show_throughput(screen, chosen, measure(chosen, seconds=seconds))


def _finish(console: "Console", study: "Study") -> None:
    """Prints the front and the next commands to run, or raises an error if no trial was completed."""
    from nas.cli.next_steps import show_next
    from nas.cli.tables import show_front, show_summary
    from nas.study.records import TrialState

    records = study.records()
    failed = [record for record in records if record.state == TrialState.FAILED and record.finished]
    if not study.front():
        if not failed:
            raise NasError("no trial was completed in the time that was given")
        detail = (failed[-1].detail or "").strip().splitlines() or [""]
        raise NasError(f"no trial was completed: {len(failed)} failed, the last as {failed[-1].reason}: {detail[-1]}")
    show_front(console, study)
    show_summary(console, study)
    if failed:
        console.print(f"{len(failed)} trials failed; `nas trials {study.name}` says why.", style="red")
    show_next(console, study)


@click.command(short_help="Say what a space holds and what a search of it costs here.")
@click.argument("file", required=False, metavar="[SPACE]")
@click.option("--data", metavar="SRC", help="Make a space for these images.")
@click.option("--max-flops", metavar="N", help="Multiply–adds per image, such as 50M.")
@click.option("--max-params", metavar="N", help="Parameters, such as 1M.")
@click.option("--trials", type=click.IntRange(min=1), default=50, metavar="N", help="For the estimate of time.")
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="Training images, for the estimate of time.")
@validation_option
@folds_option
@group_by_option
@resize_option
@click.option("--skip-bad-images", is_flag=True, help="Leave out images that cannot be read.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the space as a file to edit and search.")
@device_option
@json_option
def space(file: str | None, data: str | None, **options: Any) -> None:
    """Show what SPACE contains and estimate the cost of searching it here.

    Without SPACE, show the one that `nas search --data SRC` makes for its images; without either, list the ready ones.
    """
    from nas.data.loading import DIGITS
    from nas.spaces.preflight import estimate, preflight
    from nas.study.images import load_described
    from nas.workflows.search import resolve_space

    budgets = {name: options.pop(name) for name in ("max_flops", "max_params")}
    if file is None and data is None:
        _list_spaces(as_json=options["as_json"])
        return
    chosen, images = resolve_space(file, data, None, recipe={}, **budgets), options["images"]
    source = data if data is not None else "digits" if chosen.input == DIGITS else None
    loaded = None
    if source is not None and images is None:
        how = {name: options[name] for name in ("validation", "folds", "group_by", "resize", "skip_bad_images")}
        loaded, _ = load_described(source, chosen.input, seed=0, **how)
    if images is None:
        images = len(loaded.train.labels) if loaded else 10_000
    multi_label = loaded is not None and loaded.is_multi_label
    recipe = chosen.recipe.for_images(images, chosen.input, multi_label=multi_label)
    chosen = chosen.with_changes(recipe=recipe)
    if options["as_yaml"]:
        click.echo(chosen.to_yaml(), nl=False)
        return
    report = preflight(chosen)
    folds = len(loaded.folds) if loaded and loaded.folds else 1
    took = estimate(report, trials=options["trials"], images=images, folds=folds, device=options["device"])
    if options["as_json"]:
        print_json({**report.to_dict(), "estimate": took._asdict()})
        return
    from nas.cli.preflight_tables import show_precision, show_preflight

    console = make_console()
    show_preflight(console, report, took)
    if loaded:
        show_precision(console, loaded)


@click.command(short_help="Try augmentations and other learning rates on a data set.")
@click.argument("space", required=False, metavar="[SPACE]")
@click.option("--data", required=True, metavar="SRC", help="As for nas search.")
@click.option("--study", metavar="NAME", help="The folder of the trainings; by default the data's name.")
@runs_option
@click.option("--epochs", type=int, metavar="E", help="Epochs of each training; by default the recipe's.")
@click.option("--seeds", default=2, show_default=True, metavar="N", help="Trainings of each network by each recipe.")
@click.option("--seed", default=0, show_default=True, metavar="S", help="Of the splits.")
@click.option("--max-flops", metavar="N", help="Multiply–adds per image, such as 50M.")
@click.option("--max-params", metavar="N", help="Parameters, such as 1M.")
@click.option("--max-images", type=click.IntRange(min=1), metavar="N", help="Train on a part of the images.")
@validation_option
@group_by_option
@resize_option
@click.option("--skip-bad-images", is_flag=True, help="Leave out images that cannot be read.")
@balance_options
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the space with the tuned recipe, as a file to search.")
@device_option
@workers_options
@storage_option
@json_option
def recipe(space: str | None, *, study: str | None, as_yaml: bool, as_json: bool, **options: Any) -> None:
    """Train two networks of SPACE by its recipe and with one field changed at a time, and keep what helps.

    Fields that SPACE sets itself stay. The same command resumes an interrupted one. Search with the result:
    `nas recipe --data photos --yaml > photos.yaml`, then `nas search photos.yaml --data photos`.
    """
    import sys

    from rich.console import Console

    from nas.cli.preflight_tables import show_recipe
    from nas.workflows.search import resolve_space
    from nas.workflows.tune_recipe import tune_recipe

    budgets = {name: options.pop(name) for name in ("max_flops", "max_params")}
    changes = {name: value for name in RECIPE if (value := options.pop(name)) is not None}
    chosen = resolve_space(space, options["data"], None, recipe=changes, **budgets)
    to_read = as_json or as_yaml
    console = Console(file=sys.stderr, highlight=False, markup=False) if to_read else make_console()
    with watched(console) as view:
        found = tune_recipe(chosen, options.pop("data"), name=study, listener=view, **options)
    if as_json:
        print_json(found.to_dict())
    elif as_yaml:
        click.echo(found.space.to_yaml(), nl=False)
    else:
        show_recipe(console, found)


def _list_spaces(*, as_json: bool) -> None:
    from nas.spaces.built_in import load_space
    from nas.system.resources import ready_spaces

    spaces = [load_space(name) for name in ready_spaces()]
    if as_json:
        print_json([{"name": ready.name, "purpose": ready.purpose, "valid": ready.valid} for ready in spaces])
        return
    for ready in spaces:
        click.echo(f"{ready.name:<12} {ready.purpose}")
