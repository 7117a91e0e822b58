"""What a person sees in the terminal: the live view of a search, its plain twin for logs, and the tables."""

import time
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.architecture import Architecture
from nas.cost import cost
from nas.figures import front_numbers
from nas.preflight import Estimate, Preflight
from nas.records import COMPLETE, TrialRecord
from nas.study import Study
from nas.units import count_text, duration_text, percent_text

__all__ = ["LiveView", "PlainView", "show_front", "show_preflight", "show_trial", "trials_table"]

BARS = "▁▂▃▄▅▆▇█"
FLOPS_NOTE = "FLOPs are multiply–adds per image."
KNEE_NOTE = "◆ the knee: beyond it, more FLOPs buy little."
ENDINGS = {
    "timeout": "The time is up.",
    "exhausted": "Every architecture of the space within its budgets has been trained.",
}


class _Progress:
    """What both views need to know of a running search."""

    def __init__(self) -> None:
        self.study: Study | None = None
        self.records: dict[int, TrialRecord] = {}
        self.total = 0
        self.running: TrialRecord | None = None
        self.curve: list[float] = []
        self.started = self.trial_start = time.monotonic()
        self.ended_here = 0

    def search_started(self, study: Study, trials: int) -> None:
        """Takes over what the study holds already."""
        self.study, self.total = study, trials
        self.records = {record.trial: record for record in study.records()}

    def trial_started(self, record: TrialRecord) -> None:
        """A new curve begins."""
        self.running, self.curve, self.trial_start = record, [], time.monotonic()

    def epoch_ended(self, epoch: int, accuracy: float) -> None:
        """One more point of the curve."""
        self.curve.append(accuracy)

    def trial_ended(self, record: TrialRecord) -> None:
        """The record is final."""
        self.records[record.trial] = record
        self.ended_here += record.finished
        self.running = None

    def search_ended(self, reason: str) -> None:
        """Nothing more to come."""

    def close(self) -> None:
        """Leaves the screen tidy, also after Ctrl-C."""

    @property
    def epochs(self) -> int:
        """The epochs of a whole training."""
        return self.study.config.space.recipe.epochs if self.study else 1

    @property
    def finished(self) -> int:
        """How many trials count."""
        return sum(record.finished for record in self.records.values())

    def seconds_left(self) -> float | None:
        """From the mean of the trials that ended here; None before the first has."""
        if not self.ended_here:
            return None
        mean = (self.trial_start - self.started) / self.ended_here if self.running else 0.0
        elapsed = time.monotonic() - self.trial_start if self.running else 0.0
        return max(0.0, mean * (self.total - self.finished) - min(elapsed, mean))


class PlainView(_Progress):
    """One line for each trial: for logs, and wherever the output is no terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def search_started(self, study: Study, trials: int) -> None:
        """Says what is searched."""
        super().search_started(study, trials)
        self._say(headline(study))
        if self.finished:
            self._say(f"{self.finished} of {trials} trials are there already")

    def trial_ended(self, record: TrialRecord) -> None:
        """Says how the trial ended, and how long the rest will take."""
        super().trial_ended(record)
        left = self.seconds_left()
        on_front = any(member.trial == record.trial for member in front_numbers(list(self.records.values())).front)
        parts = [
            f"trial {record.trial} ({self.finished}/{self.total})",
            percent_text(record.accuracy) if record.accuracy is not None else f"{record.state}: {record.reason}",
            f"{count_text(record.flops)} FLOPs",
            record.name,
            duration_text(record.seconds or 0.0),
            *(["on the front"] if on_front else []),
            *([f"about {duration_text(left)} left"] if left and self.finished < self.total else []),
        ]
        self._say("  ".join(parts))

    def search_ended(self, reason: str) -> None:
        """Says why, if there is more to say than that all trials are there."""
        if reason in ENDINGS:
            self._say(ENDINGS[reason])

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


class LiveView(_Progress):
    """One screen that keeps itself up to date: progress, the running trial, the front so far."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def search_started(self, study: Study, trials: int) -> None:
        """Opens the view."""
        super().search_started(study, trials)
        self._live.start()

    def search_ended(self, reason: str) -> None:
        """Closes the view and leaves a line if there is something to say."""
        self.close()
        if reason in ENDINGS:
            self._console.print(ENDINGS[reason])

    def close(self) -> None:
        """Takes the view off the screen."""
        self._live.stop()

    def _render(self) -> RenderableType:
        if self.study is None:
            return Text("")
        left = self.seconds_left()
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"{self.finished} of {self.total} trials"),
            ProgressBar(total=self.total, completed=min(self.finished + self._share(), self.total), width=30),
            Text(f"{duration_text(time.monotonic() - self.started)} so far"),
            Text(f"about {duration_text(left)} left" if left is not None else ""),
        )
        failed = sum(record.finished and record.state != COMPLETE for record in self.records.values())
        rows = max(3, self._console.height - 13)
        return Group(
            Text(headline(self.study), style="bold"),
            bar,
            *([Text(f"{failed} failed; nas trials says why", style="red")] if failed else []),
            self._running_line(),
            Text(""),
            front_table(list(self.records.values()), rows=rows, title="The front so far"),
            Text("Ctrl-C stops; what is finished is kept.", style="dim"),
        )

    def _share(self) -> float:
        return len(self.curve) / self.epochs if self.running else 0.0

    def _running_line(self) -> Text:
        if self.running is None:
            return Text("choosing the next architecture …", style="dim")
        line = Text.assemble(
            (f"trial {self.running.trial}  ", "bold"), f"{self.running.name}  {count_text(self.running.flops)} FLOPs  "
        )
        if not self.curve:
            return line.append("first epoch …", style="dim")
        return line.append(f"epoch {len(self.curve)} of {self.epochs}  {percent_text(self.curve[-1])}  ").append(
            sparkline(self.curve[-30:]), style="cyan"
        )


def headline(study: Study) -> str:
    """What is searched, on what."""
    space, data = study.config.space, study.config.data
    images = f"{data['train_images']:,} training images" if "train_images" in data else "one's own training"
    if data.get("skipped_images"):
        images += f" ({data['skipped_images']} that cannot be read left out)"
    return f"{study.name}: space {space.name}, {space.valid:,} architectures; {images}, {space.recipe.epochs} epochs"


def front_table(records: Sequence[TrialRecord], *, rows: int | None = None, title: str | None = None) -> Table:
    """The front from the fewest FLOPs to the most; with `rows`, its most accurate end only."""
    numbers = front_numbers(records)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    _columns(table, "trial", "architecture", "accuracy", "FLOPs", "parameters", "seconds")
    shown = numbers.front[-rows:] if rows else numbers.front
    for record in shown:
        is_knee = numbers.knee is not None and record.trial == numbers.knee.trial
        table.add_row(
            str(record.trial),
            Text(record.name + (" ◆" if is_knee else "")),
            percent_text(record.accuracy or 0.0),
            count_text(record.flops),
            count_text(record.params),
            f"{record.seconds or 0:.1f}",
            style="bold" if is_knee else None,
        )
    return table


def trials_table(records: Sequence[TrialRecord]) -> Table:
    """All trials by number, the front marked."""
    on_front = {record.trial for record in front_numbers(records).front}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    _columns(table, "trial", "architecture", "accuracy", "FLOPs", "parameters", "seconds")
    table.add_column("state")
    for record in records:
        state = "front" if record.trial in on_front else record.state
        table.add_row(
            str(record.trial),
            Text(record.name),
            percent_text(record.accuracy) if record.accuracy is not None else "–",
            count_text(record.flops),
            count_text(record.params),
            f"{record.seconds:.1f}" if record.seconds is not None else "–",
            Text(f"{state}: {record.reason}" if record.reason else state),
            style="bold" if state == "front" else "red" if record.finished and record.accuracy is None else None,
        )
    return table


def architecture_table(architecture: Architecture) -> Table:
    """Stages with their shape and their cost."""
    amounts = cost(architecture)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    _columns(table, "part", "depth", "mid", "groups", "per group", "out", "size", "FLOPs", "parameters")
    size = architecture.input.size
    for conv in architecture.stem:
        size = -(-size // conv.stride)
    shapes = [("stem", "", "", "", "", str(architecture.stem[-1].width), f"{size}×{size}")]
    for number, stage in enumerate(architecture.stages, start=1):
        size = -(-size // stage.stride)
        values = (stage.depth, stage.mid, stage.groups, stage.mid // stage.groups, stage.out)
        shapes.append((f"stage {number}", *map(str, values), f"{size}×{size}"))
    shapes.append(("classifier", "", "", "", "", str(architecture.classes), ""))
    parts = ["stem", *range(1, len(architecture.stages) + 1), "classifier"]
    for part, shape in zip(parts, shapes, strict=True):
        layers = [layer for layer in amounts.layers if part in (layer.kind, layer.stage)]
        table.add_row(
            *shape, count_text(sum(layer.flops for layer in layers)), count_text(sum(layer.params for layer in layers))
        )
    return table


def show_front(console: Console, study: Study) -> None:
    """The front, its knee, and what the signs mean."""
    records = study.records()
    console.print(front_table(records, title=f"The accuracy–FLOPs front of {study.name}"))
    notes = [KNEE_NOTE] if front_numbers(records).knee else []
    console.print(" ".join(["Accuracy is on the validation images.", FLOPS_NOTE, *notes]), style="dim")


def show_trial(console: Console, record: TrialRecord) -> None:
    """One trial: what it gave, what it costs, how it learned."""
    console.print(Text(f"trial {record.trial}: {record.name}", style="bold"))
    facts = [
        record.state + (f", {record.reason}" if record.reason else ""),
        *([f"{percent_text(record.accuracy)} validation accuracy"] if record.accuracy is not None else []),
        f"{count_text(record.flops)} FLOPs",
        f"{count_text(record.params)} parameters",
        f"{count_text(record.cost.activations)} activations",
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


def show_preflight(console: Console, report: Preflight, took: Estimate) -> None:
    """What a space holds, and what a search of it costs."""
    space = report.space
    about = "" if report.exact else "about "
    console.print(Text.assemble((space.name, "bold"), f"  {space.purpose}"), soft_wrap=True)
    console.print(
        f"{space.combinations:,} combinations, {space.valid:,} valid architectures, "
        f"{about}{report.within_budgets:,} within the budgets"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    _columns(table, "part", "smallest", "median", "largest", "budget")
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
        f"about {duration_text(took.seconds)} on this machine ({took.device})"
    )
    console.print(FLOPS_NOTE, style="dim")


def sparkline(curve: Sequence[float]) -> str:
    """Accuracies in [0, 1] as bars, from the curve's lowest to its highest."""
    low, high = min(curve), max(curve)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in curve)


def _columns(table: Table, *names: str) -> None:
    for name in names:
        words = name in ("architecture", "part")
        table.add_column(name, justify="left" if words else "right", no_wrap=True)
