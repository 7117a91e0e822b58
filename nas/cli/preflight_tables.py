"""Tables that describe a search space and a recipe before a search."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.architectures.cost import cost
from nas.cli.tables import FLOPS_NOTE, add_columns
from nas.data.images import ImageData
from nas.data.splitting import MOST_VALIDATION
from nas.spaces.preflight import Estimate, Preflight
from nas.study.precision import least_significant_difference
from nas.units import count_text, duration_text, epochs_text, percent_text
from nas.workflows.tune_recipe import TunedRecipe

__all__ = ["show_precision", "show_preflight", "show_recipe"]

USUAL_ACCURACY = 0.9
"""Of which precision is said before any network is trained; it is better at higher accuracies."""


def show_preflight(console: Console, report: Preflight, took: Estimate) -> None:
    """Prints what a space contains, and the estimated cost of searching it."""
    space = report.space
    about = "" if report.exact else "about "
    console.print(Text.assemble((space.name, "bold"), f"  {space.purpose}"), soft_wrap=True)
    console.print(
        f"{space.combinations:,} combinations, {space.valid:,} valid architectures, "
        f"{about}{report.within_budgets:,} within the budgets"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    add_columns(table, "part", "smallest", "median", "largest", "budget")
    for name, spread, budget in (
        ("FLOPs", report.flops, space.max_flops),
        ("parameters", report.params, space.max_params),
    ):
        table.add_row(name, *map(count_text, spread), count_text(budget) if budget else "none")
    table.columns[0].header = ""
    console.print(table)
    for example in report.examples:
        amounts = cost(example)
        size = f"{count_text(amounts.flops)} FLOPs, {count_text(amounts.params)} parameters"
        console.print(Text(f"for example {example.name}: {size}"))
    console.print(
        f"{took.trials} trials of {took.epochs} epochs on {took.images:,} training images: "
        f"about {duration_text(took.seconds)} by one worker on this machine ({took.device})"
        + ("; other programs are at work here, which makes it longer" if took.is_busy else "")
    )
    console.print(FLOPS_NOTE, style="dim")


def show_precision(console: Console, images: ImageData) -> None:
    """Prints how small a difference of two networks the validation images show, and what more of them would."""
    train, validation = len(images.train.labels), len(images.judged.labels)
    words = f"On {validation:,} validation images, {_chance_text(validation)} may be chance"
    more = min(2 * validation, MOST_VALIDATION)
    left = train + validation - more
    if images.validation_share is not None and not images.folds and validation < more < left:
        words += f"; on {more:,} (--validation {more}), {_chance_text(more)}, with {left:,} images left to train on"
    console.print(f"{words}.", soft_wrap=True)


def _chance_text(images: int) -> str:
    points = 100 * least_significant_difference(USUAL_ACCURACY, images)
    return f"differences of up to {points:.1f} points"


def show_recipe(console: Console, found: TunedRecipe) -> None:
    """Prints the effects of the changes that were tried, and the recipe that is left."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    add_columns(table, "recipe", "accuracy", "trainings", "kept")
    table.columns[0].justify = "left"
    table.add_row("as it is", percent_text(found.accuracy), "", "")
    for effect in found.effects:
        points = f"{100 * effect.mean:+.1f} ± {100 * effect.margin:.1f} points".replace("-", "−")
        table.add_row(effect.change, points, str(effect.pairs), "yes" if effect in found.kept else "no")
    console.print(table)
    amounts = " and ".join(count_text(cost(network).flops) for network in found.networks)
    console.print(
        f"Networks of {amounts} FLOPs, {epochs_text(found.base.epochs)} each, paired by network and seed; ±: 95 %. "
        "A change is kept if it helps by more than that.",
        style="dim",
    )
    if found.space.recipe == found.base:
        console.print("The recipe stays as it is.")
    else:
        kept = ", ".join(effect.change for effect in found.kept)
        console.print(f"Kept: {kept}. With --yaml, the space is printed with that recipe, as a file to search.")
