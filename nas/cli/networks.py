"""The `nas` commands on a single network: train, profile, mistakes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from nas.cli.console import (
    device_option,
    json_option,
    make_console,
    note,
    print_json,
    runs_option,
    storage_option,
    watched,
    workers_options,
)
from nas.errors import InvalidValue, NasError
from nas.units import counted
from nas.validation import shown

if TYPE_CHECKING:
    from nas.analysis.mistakes import Classified, Labelled, Order
    from nas.study.study import Study

__all__ = ["mistakes", "profile", "train"]


@click.command(short_help="Measure what a network's groups save here.")
@click.argument("target", metavar="ARCHITECTURE|STUDY[:TRIAL]")
@click.option(
    "--sizes", metavar="S,S,...", help="Pixels along a side; by default 32,64,128,224 and the network's own size."
)
@json_option
@device_option
@runs_option
@storage_option
def profile(target: str, *, sizes: str | None, as_json: bool, device: str, runs: str, storage: str | None) -> None:
    """Measure a network on this machine, beside the same one without groups and a narrower one of equal FLOPs.

    The network is an architecture in a YAML file, a trial of a study, or the one that nas pick recommends.
    """
    from nas.architectures.profiler import profile as run_profile
    from nas.architectures.profiler import usual_sizes
    from nas.cli.arguments import read_target
    from nas.cli.profile_tables import show_profile

    architecture = read_target(target, runs=runs, storage=storage).architecture
    pixels = usual_sizes(architecture) if sizes is None else _sizes(sizes)
    report = None if as_json else lambda size: note(f"measuring at {size}×{size} pixels")
    found = run_profile(architecture, sizes=pixels, device=device, report=report)
    if as_json:
        print_json(found.to_dict())
    else:
        show_profile(make_console(), found)


def _sizes(text: str) -> tuple[int, ...]:
    """Parses sizes such as `32,64`, sorted and without duplicates."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        raise InvalidValue(f"sizes={shown(text)}: must be whole numbers of pixels with commas between, such as 32,64")
    return tuple(sorted({int(part) for part in parts}))


@click.command(short_help="Train one architecture at full length, on one or several seeds.")
@click.argument("target", metavar="ARCHITECTURE|STUDY[:TRIAL]")
@click.option("--data", metavar="SRC", help="The images; by default the study's own.")
@click.option("--study", metavar="NAME", help="The folder of a file's trainings; by default the file's name.")
@runs_option
@click.option(
    "--recipe",
    metavar="SPACE",
    help="Train a file's architecture by that space's recipe, else by one that follows from the images.",
)
@click.option(
    "--epochs", type=int, metavar="E", help="Epochs of each training; by default the recipe's, twice with --all-images."
)
@click.option("--skip-bad-images", is_flag=True, help="Leave out files of --data that cannot be read.")
@click.option("--seeds", default=1, show_default=True, metavar="N", help="How many trainings.")
@click.option("--seed", type=int, metavar="S", help="Of the splits of a file's images; by default 0.")
@click.option(
    "--all-images", is_flag=True, help="Train a trial on the validation images too; the test images judge it, once."
)
@click.option(
    "--distill",
    is_flag=True,
    help="With --all-images: learn from the study's three most accurate networks too, if it is much smaller than they.",
)
@click.option(
    "--logger",
    default="none",
    show_default=True,
    metavar="tensorboard|csv|none",
    help="Also write the curves to the study's folder, as they grow.",
)
@device_option
@workers_options
@storage_option
def train(target: str, runs: str, storage: str | None, seeds: int, logger: str, **options: Any) -> None:
    """Train one architecture from scratch: from a YAML file, a trial of a study, or what nas pick recommends of it.

    The same command resumes an interrupted training after its last epoch.
    """
    from nas.analysis.confirmation import confirmed
    from nas.cli.arguments import read_target
    from nas.cli.confirmation_tables import show_trained
    from nas.spaces.built_in import load_space
    from nas.workers.listeners import logged
    from nas.workflows.retrain import retrain, retrain_trial

    chosen = read_target(target, runs=runs, storage=storage)
    console = make_console()
    name, recipe, seed, skip = (options.pop(key) for key in ("study", "recipe", "seed", "skip_bad_images"))
    with watched(console) as view, logged(view, logger) as listener:
        if chosen.study is not None:
            view.repeats(chosen.study)
            given = {"--study": name, "--recipe": recipe, "--seed": seed, "--skip-bad-images": skip or None}
            if option := next((option for option, value in given.items() if value is not None), None):
                raise InvalidValue(f"{option}: is for the architecture of a file; a study has its own")
            assert chosen.trial is not None  # a target with a study has a trial
            found = retrain_trial(chosen.study, chosen.trial, seeds=seeds, listener=listener, **options)
        elif option := next((name for name in ("all_images", "distill") if options.pop(name)), None):
            raise InvalidValue(f"--{option.replace('_', '-')}: is for a trial of a study, chosen by validation images")
        else:
            found = retrain(
                target,
                options.pop("data"),
                name=name,
                runs=runs,
                recipe=load_space(recipe).recipe if recipe is not None else None,
                seeds=seeds,
                seed=seed or 0,
                skip_bad_images=skip,
                storage=storage,
                listener=listener,
                **options,
            )
    trained = confirmed(found)
    member = trained.of(chosen.architecture) if trained is not None else None
    if member is None:
        raise NasError(f"no training was completed; `nas trials {found.name} --runs {found.folder.parent}` says why")
    show_trained(console, member, searched=chosen.study)


@click.command(short_help="List the validation images that a network takes for something else.")
@click.argument("target", metavar="STUDY[:TRIAL]")
@click.option("--label", metavar="CLASS", help="Only images of this class.")
@click.option("--predicted", metavar="CLASS", help="Only images that were taken for this class.")
@click.option("--closest", is_flag=True, help="First those that it was least sure of; by default the surest.")
@click.option("--top", default=20, show_default=True, metavar="N", help="At most N images.")
@click.option("--data", metavar="SRC", help="Where the study's images are now, if they were moved.")
@json_option
@runs_option
@storage_option
def mistakes(
    target: str,
    *,
    label: str | None,
    predicted: str | None,
    closest: bool,
    top: int,
    data: str | None,
    as_json: bool,
    runs: str,
    storage: str | None,
) -> None:
    """List the validation images that a trial takes for another class, the surest mistakes first.

    Among those are the images whose label is wrong. Where images may have several labels: those that it misses, and
    those that it sees where they are not.
    """
    from nas.analysis.mistakes import Order
    from nas.cli.arguments import read_target

    chosen = read_target(target, runs=runs, storage=storage)
    if chosen.study is None or chosen.trial is None:
        raise InvalidValue(f"{target}: is a file; name a study, or one of its trials as STUDY:TRIAL")
    order = Order.CLOSEST if closest else Order.SUREST
    found, said = _mistakes(chosen.study, chosen.trial, label=label, predicted=predicted, order=order)
    names = _image_names(chosen.study, data)
    rows = [{"name": names[one.image] if names else None, **one.to_dict()} for one in found[:top]]
    if as_json:
        print_json(rows)
        return
    click.echo(f"Trial {chosen.trial} {said}")
    for one, row in zip(found, rows, strict=False):
        click.echo(f"  {row['name'] or f'image {one.image}'}: {one.text()}")
    if len(found) > top:
        click.echo(f"  and {len(found) - top:,} more; --top {len(found)} lists all")


def _mistakes(
    study: "Study", trial: int, *, label: str | None, predicted: str | None, order: "Order"
) -> "tuple[Sequence[Classified | Labelled], str]":
    """Returns what a trial is wrong about, and how much of it there is, in words."""
    from nas.analysis.mistakes import class_index, label_mistakes
    from nas.analysis.mistakes import mistakes as run_mistakes
    from nas.study.artifacts import predictions_of

    predictions = predictions_of(study, study.record(trial))
    classes = study.config.classes
    wanted = class_index(label, classes, field="--label") if label is not None else None
    if study.config.is_multi_label:
        if predicted is not None:
            raise InvalidValue(
                f"--predicted={shown(predicted)}: is for images of one class each, and these may have several labels; "
                "--label names one"
            )
        wrong = label_mistakes(predictions, classes, label=wanted, order=order)
        return wrong, f"is wrong about {counted(len(wrong), 'label')} of {len(predictions):,} validation images."
    taken_for = class_index(predicted, classes, field="--predicted") if predicted is not None else None
    found = run_mistakes(predictions, classes, label=wanted, predicted=taken_for, order=order)
    others = sum(predictions["label"] != predictions["predicted"])
    return found, f"takes {others:,} of {len(predictions):,} validation images for another class."


def _image_names(study: "Study", data: str | None) -> list[str] | None:
    """Returns the names of the validation images; None where they are not files, or are not there any more."""
    from nas.data.inspection import image_names
    from nas.study.images import images_of

    try:
        return image_names(images_of(study.config, data).judged, data or study.config.data["source"])
    except NasError as error:
        note(f"nas: {error}")
        return None
