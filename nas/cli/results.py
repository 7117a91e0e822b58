"""The `nas` commands to use after a search: confirm, latency, pick, export."""

import functools
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nas.architectures.cost import cost
from nas.cli.console import (
    device_option,
    json_option,
    make_console,
    print_json,
    reads_study,
    watched,
    workers_options,
)
from nas.exporters.formats import ACCEPTED_LOSS, FILES, FORMATS, INT8, USUAL, WEB
from nas.units import count_text, percent_text

if TYPE_CHECKING:
    from nas.analysis.requirements import Requirements
    from nas.study.study import Study

__all__ = ["confirm", "export", "latency", "pick"]


def requirement_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates a command with the options for the wanted network, and passes them to it as one `Requirements`."""

    @click.option("--max-flops", metavar="N", help="Maximum multiply–adds per image, such as 50M.")
    @click.option("--max-params", metavar="N", help="Maximum number of parameters, such as 1M.")
    @click.option("--max-latency", type=float, metavar="MS", help="At most so long for one image, as measured.")
    @click.option("--min-accuracy", type=float, metavar="A", help="The cheapest with at least that, such as 0.95.")
    @click.option("--knee", is_flag=True, help="Where more FLOPs begin to buy little.")
    @functools.wraps(command)
    def with_wishes(*arguments: Any, **options: Any) -> None:
        from nas.analysis.requirements import Requirements

        command(
            *arguments, wanted=Requirements(**{name: options.pop(name) for name in Requirements._fields}), **options
        )

    return with_wishes


@click.command(short_help="Train the front again on several seeds: what is it worth?")
@reads_study
@click.option(
    "--top", type=int, metavar="K", help="The K most accurate; by default the front and all that may well be on it."
)
@click.option("--seeds", default=3, show_default=True, metavar="N", help="Trainings of each, from scratch.")
@click.option("--epochs", type=int, metavar="E", help="Epochs of each training; by default the recipe's.")
@click.option("--test", is_flag=True, help="Then measure the winners on the test images, once.")
@click.option("--data", metavar="SRC", help="Where the study's images are now, if they were moved.")
@device_option
@workers_options
@json_option
def confirm(study: "Study", as_json: bool, **options: Any) -> None:
    """Retrain the front of STUDY, and trials that noise may have kept off it, from scratch on several seeds.

    The same command resumes where it stopped; with more --seeds it adds the missing trainings.
    """
    from rich.console import Console

    from nas.analysis.confirmation import front_rows
    from nas.cli.confirmation_tables import show_confirmed
    from nas.workflows.confirm import confirm as run_confirm

    console = Console(file=sys.stderr, highlight=False, markup=False) if as_json else make_console()
    with watched(console) as view:
        view.repeats(study)
        found = run_confirm(study, listener=view, **options)
    if as_json:
        print_json(front_rows(study, found))
    else:
        show_confirmed(console, found, study=study)


@click.command(short_help="Say which trial to take, and why.")
@reads_study
@requirement_options
@device_option
@json_option
def pick(study: "Study", wanted: "Requirements", device: str, as_json: bool) -> None:
    """Recommend a trial of STUDY, by confirmed means if there are any: the most accurate within the limits.

    With --min-accuracy it is the cheapest that is accurate enough, with --knee the one beyond which more FLOPs buy
    little.
    """
    from nas.analysis.final_training import final_training
    from nas.analysis.selection import choose
    from nas.cli.next_steps import export_command, train_command

    choice = choose(study, wanted, device=device)
    record = choice.pick.record
    if as_json:
        print_json({**record.to_dict(), "reasons": choice.sentences})
        return
    console = make_console()
    console.print(f"{study.name}:{record.trial}  {record.name}", style="bold", soft_wrap=True)
    for sentence in choice.sentences:
        console.print(sentence, soft_wrap=True)
    train, export = train_command(study, record.trial), export_command(study, record.trial)
    if final_training(study, record.architecture) is None:
        console.print(f"\nTo train it longer, and on the validation images too: {train}", soft_wrap=True)
    else:
        console.print("\nIt was trained on the validation images too; these weights are exported.")
    console.print(f"Next: {export}", soft_wrap=True)


@click.command(short_help="Write a trained network as files that need no nas, verified.")
@reads_study
@click.option("--trial", type=int, metavar="N", help="That one; by default what nas pick says.")
@requirement_options
@click.option("--out", required=True, metavar="DIR", help="A folder that is new or empty.")
@click.option(
    "--formats",
    default=",".join(USUAL),
    show_default=True,
    metavar="F,F,...",
    help=f"What to write, of {', '.join(FORMATS)}.",
)
@click.option(
    "--accept-loss",
    type=float,
    default=ACCEPTED_LOSS,
    show_default=True,
    metavar="SHARE",
    help=f"The accuracy that {INT8} may lose.",
)
@click.option("--data", metavar="SRC", help="Where the study's images are now, if they were moved.")
def export(study: "Study", wanted: "Requirements", out: str, formats: str, **options: Any) -> None:
    """Write a trained network of STUDY, or of the trainings of an ARCHITECTURE's file, and verify what was written.

    The files need no nas. Each format is loaded back in a fresh process and compared on the validation images.
    """
    from nas.exporters.bundle import export as run_export
    from nas.exporters.model_card import integers_text

    command = shlex.join(["nas", *sys.argv[1:]])
    written = run_export(study, out, formats=formats.split(","), command=command, **options, **wanted._asdict())
    trained = written.trained
    flops = count_text(cost(trained.architecture).flops)
    click.echo(f"{written.folder}: {trained.origin}")
    judged = f"{percent_text(written.accuracy)} on the {trained.config.judged_on} images"
    click.echo(f"{trained.architecture.name}, {flops} FLOPs, {judged}")
    for name, found in written.agreements.items():
        if name != INT8:
            click.echo(f"  {FILES[name]:<18} loaded back; its logits differ by at most {found.largest_difference:.1g}")
    if INT8 in written.agreements:
        words = integers_text(written.agreements, metric=trained.config.space.recipe.metric)
        click.echo(f"  {FILES[INT8]:<18} loaded back. {words}")
    if WEB in written.formats:
        click.echo(f"  {FILES[WEB]:<18} for any browser; compares its logits whenever it is opened")


@click.command(short_help="Measure the front's latency on another device.")
@reads_study
@click.option("--on", required=True, metavar="COMMAND", help="What runs a command there, such as 'ssh pi@board'.")
@click.option("--timeout", default=600.0, show_default=True, metavar="S", help="Seconds to wait for an answer.")
@json_option
def latency(study: "Study", on: str, timeout: float, as_json: bool) -> None:
    """Measure how long the networks on the front of STUDY, and confirmed ones, take for one image on another device.

    The device needs Python and onnxruntime. Afterwards `nas pick --max-latency MS` and the dashboard go by its times.
    """
    from nas.analysis.confirmation import confirmed
    from nas.strategy.latency_objective import measure_front_elsewhere

    report = confirmed(study)
    found = measure_front_elsewhere(study, on, also=report.as_records() if report else (), timeout=timeout)
    device = study.attributes.latency_device
    if as_json:
        rows = [{**member.to_dict(), "latency (ms)": milliseconds} for member, milliseconds in found]
        print_json({"device": device, "networks": rows})
        return
    click.echo(f"{study.name}: milliseconds for one image on {device}")
    for member, milliseconds in found:
        flops, accuracy = count_text(cost(member.architecture).flops), percent_text(member.quality)
        click.echo(f"  trial {member.trial:<5} {milliseconds:>8.3g} ms  {accuracy:>8}  {flops:>8} FLOPs  {member.name}")
