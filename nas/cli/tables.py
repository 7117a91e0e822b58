"""Terminal output: the front, trials, a single trial, a preflight report, this machine."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.analysis.confirmation import holds_repetitions
from nas.analysis.convergence import extrapolate
from nas.analysis.cost_metrics import LATENCY, default_cost_metric
from nas.analysis.doubts import baseline_sentences, undertrained_sentence
from nas.analysis.front import front_numbers
from nas.analysis.gain import gain_sentences
from nas.analysis.rank_correlation import proxies
from nas.architectures.architecture import Architecture, sides_text, strided
from nas.architectures.cost import cost
from nas.errors import install_command
from nas.spaces.search_space import SearchSpace
from nas.study.records import TrialRecord, TrialState, trainings_spent
from nas.study.study import Study
from nas.system.hardware import HALF_ON_CPU_FROM
from nas.units import amount_text, count_text, counted, duration_text, epochs_text, memory_text, percent_text

if TYPE_CHECKING:
    from nas.workers.environment import Machine
    from nas.workers.throughput import Throughput

__all__ = [
    "FLOPS_NOTE",
    "add_columns",
    "front_table",
    "headline",
    "latency_cells",
    "show_front",
    "show_machine",
    "show_proxies",
    "show_summary",
    "show_throughput",
    "show_trial",
    "sparkline",
    "trials_table",
]

AVOIDED = {
    "duplicates": "duplicates",
    "over_budget": "over the budgets",
    "fallbacks": "drawn at random, as the model could not be fitted",
}
BARS = "▁▂▃▄▅▆▇█"
DISTURBED = 0.25
"""Relative error of a `LatencyModel` above which measurements count as disturbed; far above that of an idle device."""
ESTIMATED_NOTE = (
    "Measured: on the validation images. Accuracy: that weighed with all other trainings, ± its standard error; the "
    "front goes by it."
)
FLOPS_NOTE = "FLOPs are multiply–adds per image."
KNEE_NOTE = "◆ the knee: beyond it, accuracy rises more slowly with each doubling of {}."


def headline(study: Study) -> str:
    """Returns a line that describes a study: its space, its images, its epochs."""
    space, data = study.config.space, study.config.data
    what = f"space {space.name}, {space.valid:,} architectures"
    if holds_repetitions(study):
        what = "chosen architectures, trained again" if space.valid > 1 else space.name
    images = f"{data['train_images']:,} training images" if "train_images" in data else "one's own training"
    if study.config.folds > 1:
        images = f"{study.config.validation_images:,} images in {study.config.folds} folds"
    if data.get("skipped_images"):
        images += f" ({data['skipped_images']} that cannot be read left out)"
    side, size = data.get("original_side"), space.input.size
    if side and side != size:
        images += f" {'shrunk' if side > size else 'enlarged'} from about {side} to {size} pixels"
    prior = plan.prior if (plan := study.attributes.plan) is not None else ()
    learned = f"; learning from {counted(len(prior), 'training')} of an earlier study" if prior else ""
    return f"{study.name}: {what}; {images}, {epochs_text(space.recipe.epochs)}{learned}"


def front_table(records: Sequence[TrialRecord], *, rows: int | None = None, title: str | None = None) -> Table:
    """Returns a table of the front by increasing cost, with columns for latencies and lengths where members have any.

    Args:
        records: all trials.
        rows: show only this many of the most accurate members, without what was measured beside an estimate. None: all.
        title: the table's title.
    """
    numbers = front_numbers(records)
    cells = latency_cells(numbers.front)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    latency = [LATENCY.key] if cells else []
    lengths = any(record.state == TrialState.SHORT for record in numbers.front)
    epochs = ["epochs"] if lengths else []
    measured = ["measured"] if rows is None and any(record.estimate for record in numbers.front) else []
    names = ("trial", "architecture", "accuracy", *measured, *latency, "FLOPs", "parameters", *epochs, "seconds")
    add_columns(table, *names)
    shown = numbers.front[-rows:] if rows else numbers.front
    for record in shown:
        is_knee = numbers.knee is not None and record.trial == numbers.knee.trial
        table.add_row(
            str(record.trial),
            Text(record.name + (" ◆" if is_knee else "")),
            record.estimate.text() if record.estimate else percent_text(record.quality),
            *([percent_text(record.accuracy or 0.0)] if measured else []),
            *([cells[record.trial]] if cells else []),
            count_text(record.flops),
            count_text(record.params),
            *([str(len(record.curve) or record.length or "")] if lengths else []),
            f"{record.seconds or 0:.1f}",
            style="bold" if is_knee else None,
        )
    return table


def latency_cells(records: Sequence[TrialRecord]) -> dict[int, str]:
    """Returns the latency cells of a table by trial; empty if no trial has a latency."""
    found = {record.trial: LATENCY.value(record) for record in records}
    if not any(found.values()):
        return {}
    return {trial: LATENCY.write(value) if value is not None else "–" for trial, value in found.items()}


def trials_table(records: Sequence[TrialRecord], family_of: Mapping[str, str]) -> Table:
    """Returns a table of all trials by number, with the front and the references marked.

    Args:
        records: all trials.
        family_of: the families of the space's references, by the key of the architecture.
    """
    on_front = {record.trial for record in front_numbers(records).front}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    add_columns(table, "trial", "architecture", "accuracy", "FLOPs", "parameters", "seconds")
    table.add_column("state")
    for record in records:
        state = "front" if record.trial in on_front else record.state
        if record.state == TrialState.SHORT:
            state = f"{state}: {epochs_text(record.length or 0)}"
        if family := family_of.get(record.architecture.key):
            state = f"{state}, {family}"
        if record.by_person:
            state = f"{state}, queued by a person"
        style = "red" if record.finished and record.accuracy is None else None
        style = "bold" if record.trial in on_front else style
        table.add_row(
            str(record.trial),
            Text(record.name),
            percent_text(record.accuracy) if record.accuracy is not None else "–",
            count_text(record.flops),
            count_text(record.params),
            f"{record.seconds:.1f}" if record.seconds is not None else "–",
            Text(f"{state}: {record.reason}" if record.reason else state),
            style=style,
        )
    return table


def architecture_table(architecture: Architecture) -> Table:
    """Returns a table of an architecture's parts with their shapes and costs."""
    amounts = cost(architecture)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    add_columns(table, "part", "depth", "mid", "groups", "per group", "out", "size", "FLOPs", "parameters")
    sides = architecture.input.sides
    for conv in architecture.stem:
        sides = strided(sides, conv.stride)
    shapes: list[tuple[str, ...]] = [("stem", "", "", "", "", str(architecture.stem[-1].width), sides_text(sides))]
    for number, stage in enumerate(architecture.stages, start=1):
        sides = strided(sides, stage.stride)
        values = (stage.depth, stage.mid, stage.groups, stage.mid // stage.groups, stage.out)
        shapes.append((f"stage {number}", *map(str, values), sides_text(sides)))
    shapes.append(("classifier", "", "", "", "", str(architecture.classes), ""))
    parts = ["stem", *range(1, len(architecture.stages) + 1), "classifier"]
    for part, shape in zip(parts, shapes, strict=True):
        layers = [layer for layer in amounts.layers if part in (layer.kind, layer.stage)]
        table.add_row(
            *shape, count_text(sum(layer.flops for layer in layers)), count_text(sum(layer.params for layer in layers))
        )
    return table


def show_front(console: Console, study: Study) -> None:
    """Prints the front and its knee, with notes on the numbers."""
    records = study.estimated_records()
    numbers = front_numbers(records)
    axis = default_cost_metric(records)
    console.print(front_table(records, title=f"The accuracy–{axis.name} front of {study.name}"))
    notes = [
        ESTIMATED_NOTE if any(each.estimate for each in numbers.front) else "Accuracy is on the validation images.",
        *([study.config.metric_note] if study.config.metric_note else []),
        FLOPS_NOTE,
        *([KNEE_NOTE.format(axis.name)] if numbers.knee else []),
    ]
    console.print(" ".join(notes), style="dim")
    model = study.attributes.latency_model
    if device := model.device if model else study.attributes.latency_device:
        console.print(f"Latency is that of one image on {device}.", style="dim")
    images = study.config.validation_images
    if numbers.front and (points := 100 * numbers.front[-1].least_difference(study.config.effective_images)):
        on = f"On {images:,} images, " if images and not numbers.front[-1].estimate else ""
        words = f"{on}differences below about {points:.1f} points may be chance."
        console.print(words[0].upper() + words[1:], style="dim")
    for number, sentence in enumerate(baseline_sentences(study, numbers.front)):
        console.print(sentence, style="yellow" if number else "dim")
    for sentence in gain_sentences(records, study.config):
        console.print(sentence, style="dim")
    if undertrained := undertrained_sentence(study):
        console.print(undertrained, style="yellow")


def show_summary(console: Console, study: Study) -> None:
    """Prints a summary of a search: trainings by kind, replaced proposals, and the expected gain from searching on."""
    records, full = study.estimated_records(), study.config.space.recipe.epochs
    finished = [record for record in records if record.finished]
    short = [record for record in finished if record.state == TrialState.SHORT]
    if short or any(record.state == TrialState.STOPPED for record in finished):
        lengths = " and ".join(str(length) for length in sorted({record.length or 0 for record in short}))
        kinds = [
            f"{sum(record.state == TrialState.COMPLETE for record in finished)} full",
            *([f"{len(short)} short ({lengths} of {full} epochs)"] if short else []),
            *([f"{stopped} stopped" for stopped in [sum(r.state == TrialState.STOPPED for r in finished)] if stopped]),
        ]
        worth = amount_text(trainings_spent(finished, full))
        console.print(f"{len(finished)} trainings, the epochs of {worth} full ones: {', '.join(kinds)}.", style="dim")
    avoided = {
        name: count for key, name in AVOIDED.items() if (count := sum(record.avoided.get(key, 0) for record in records))
    }
    if avoided:
        counted = ", ".join(f"{count} {name}" for name, count in avoided.items())
        console.print(f"Proposals that were replaced before training: {counted}.", style="dim")
    model = study.attributes.latency_model
    if model is not None and model.error is not None:
        disturbed = "; other programs may have disturbed the measurements" if model.error > DISTURBED else ""
        console.print(
            f"The search's model of the latency was within {100 * model.error:.0f} %, in the median, of what was held "
            f"out from it{disturbed}.",
            style="red" if disturbed else "dim",
        )
    if ahead := extrapolate(finished, study.config.space, bounds=model.bounds if model else None):
        console.print(
            f"Hypervolume {100 * ahead.hypervolume:.1f} %; another hour of training would bring about "
            f"{100 * ahead.growth:.1f} ± {100 * ahead.error:.1f} points more, if each doubling of the time keeps "
            "bringing as much as the last three.",
            style="dim",
        )


def show_proxies(console: Console, study: Study) -> None:
    """Prints how well short trainings predict full-length ones."""
    found = proxies(study.records())
    if not found:
        console.print("The study has no short trainings; --fidelities 2 makes some.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    add_columns(table, "epochs", "trainings", "also in full", "Kendall's τ")
    for proxy in found:
        tau = f"{proxy.tau:.2f}" if proxy.tau is not None else "–"
        table.add_row(str(proxy.length), str(proxy.trainings), str(proxy.pairs), tau)
    console.print(table)
    console.print(
        "τ is the rank correlation with the full result: 1 the same order, 0 none. It is over the promoted "
        "architectures alone; over all of them it is usually greater.",
        style="dim",
    )
    for proxy in found:
        if proxy.misleads:
            console.print(
                f"Trainings of {proxy.length} epochs mislead here (τ {proxy.tau:.2f} over {proxy.pairs} pairs): "
                "search with --fidelities 1, or with more --epochs.",
                style="red",
            )


def show_trial(console: Console, record: TrialRecord) -> None:
    """Prints one trial: its result, its cost, its learning curve."""
    console.print(Text(f"trial {record.trial}: {record.name}", style="bold"))
    facts = [
        record.state + (f", {record.reason}" if record.reason else ""),
        *([f"a schedule of {epochs_text(record.length)}"] if record.length is not None else []),
        *([f"{record.score_text()} validation accuracy"] if record.accuracy is not None else []),
        f"{count_text(record.flops)} FLOPs",
        f"{count_text(record.params)} parameters",
        f"{count_text(record.cost.activations)} activations",
        *([LATENCY.text(latency)] if (latency := LATENCY.value(record)) is not None else []),
        *([duration_text(record.seconds)] if record.seconds is not None else []),
    ]
    console.print(Text(" · ".join(facts)), soft_wrap=True)
    console.print(architecture_table(record.architecture))
    if record.curve:
        ends = f"{percent_text(record.curve[0])} to {percent_text(record.curve[-1])}"
        console.print(Text(f"learning curve, {len(record.curve)} epochs, {ends}: {sparkline(record.curve)}"))
    if record.detail:
        console.print(Text(record.detail))
    console.print(FLOPS_NOTE, style="dim")


def show_machine(console: Console, machine: "Machine") -> None:
    """Prints this machine's hardware and packages, and what `--workers auto` chooses on it."""
    grid = Table.grid(padding=(0, 2))

    def line(name: str, text: str) -> None:
        grid.add_row(Text(name, style="bold"), Text(text))

    line("system", f"{machine.system}, Python {machine.python}")
    line("packages", ", ".join(f"{name} {found or 'missing'}" for name, found in machine.versions.items()))
    for name, found in machine.extras.items():
        line(f"extra {name}", found or f"not installed: {install_command(name)}")
    memory = f"{memory_text(machine.free_memory)} of {memory_text(machine.total_memory)} free"
    half = f", trains in bfloat16 from {count_text(HALF_ON_CPU_FROM)} FLOPs on" if machine.bfloat16 else ""
    line("CPU", f"{machine.cores} core{'s' * (machine.cores > 1)}, {memory}{half}")
    for number, gpu in enumerate(machine.gpus):
        precision = "bfloat16" if gpu.bfloat16 else "float32"
        memory = f"{memory_text(gpu.free)} of {memory_text(gpu.total)} free"
        line(f"GPU {number}", f"{gpu.name}, {memory}, trains in {precision}")
    if machine.gpus:
        line("auto", "workers in turn over the GPUs, as many on each as is measured to be best")
    else:
        line("auto", f"no GPU that torch can use: {machine.usual_workers} workers on the CPU")
    console.print(grid)


def show_throughput(console: Console, space: SearchSpace, measured: "Sequence[Throughput]") -> None:
    """Prints the measured throughput for each number of workers."""
    console.print(f"\nTraining examples of {space.name}, {space.input} pixels:")
    for each in measured:
        rate = f"{count_text(each.images_per_second)} images a second"
        console.print(f"  {each.workers} worker{'s' * (each.workers > 1)}: {rate}")


def sparkline(curve: Sequence[float]) -> str:
    """Renders accuracies in [0, 1] as bar characters, scaled from the curve's minimum to its maximum."""
    low, high = min(curve), max(curve)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in curve)


def add_columns(table: Table, *names: str) -> None:
    """Adds columns with text left-aligned and numbers right-aligned; only text wraps in a narrow window."""
    for name in names:
        words = name in ("architecture", "part")
        table.add_column(
            name, justify="left" if words else "right", no_wrap=not words
        )  # only text wraps in a narrow window
