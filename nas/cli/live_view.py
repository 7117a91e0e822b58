"""Progress output of a running search: a live screen, or plain lines if the output is not a terminal."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.analysis.confirmation import Repetitions, confirmations
from nas.analysis.cost_metrics import LATENCY
from nas.analysis.front import front_numbers
from nas.cli.confirmation_tables import confirmed_table
from nas.cli.tables import front_table, headline, sparkline
from nas.study.estimates import estimates
from nas.study.records import TrialRecord, TrialState, trained_networks, trainings_ended, trainings_spent
from nas.study.search_state import Request, SearchState, SearchStatus
from nas.study.study import Study
from nas.units import amount_text, count_text, duration_text, epochs_text, parse_duration, percent_text, progress_text

__all__ = ["LiveView", "PlainView"]

FITS, SECONDS_BETWEEN_FITS = 0.05, 2.0
"""Share of the time in which estimates are made for the screen, and the seconds after which they are in any case."""
ENDINGS = {
    SearchStatus.TIMEOUT: "The time is up; the same command goes on.",
    SearchStatus.EXHAUSTED: "Every architecture of the space within its budgets has been trained.",
    SearchStatus.SETTLED: "The hypervolume has hardly grown for as long as the patience allows.",
    SearchStatus.STOPPED: "The search was stopped; the same command resumes it.",
}
REQUESTS = {
    Request.PAUSE: "Paused: no further training starts; nas resume goes on.",
    Request.STOP: "Stopping once the running trainings have ended.",
    Request.STOP_NOW: "Stopping after the current epoch of the running trainings.",
    None: "The search goes on.",
}


class _Progress:
    """The state of a running search that both views share.

    `searched` are the trials of the search that is being confirmed, by whose numbers repeated trainings are shown;
    a full training of it takes `full` epochs.
    """

    def __init__(self) -> None:
        self.study: Study | None = None
        self.searched: list[TrialRecord] = []
        self.full = 0
        self.deadline = math.inf
        self.headline = ""
        self.records: dict[int, TrialRecord] = {}
        self.total = 0
        self.running: dict[int, TrialRecord] = {}
        self.request: Request | None = None
        self.started = self.last_end = time.monotonic()
        self.ended_here = 0.0

    def repeats(self, search: Study) -> None:
        """Says of which search the architectures are that are trained."""
        self.searched, self.full = search.estimated_records(), search.config.space.recipe.epochs

    def end_after(self, timeout: str | None) -> None:
        """Sets the time, a duration from now, after which no training starts."""
        self.deadline = time.monotonic() + (parse_duration(timeout, "timeout") if timeout is not None else math.inf)

    def search_started(self, study: Study, trials: int) -> None:
        """Loads the trials that the study already has."""
        self.study, self.total, self.ended_here = study, trials, 0.0
        self.started = self.last_end = time.monotonic()
        self.headline = headline(study)  # only once: it reads the storage, and the screen refreshes often
        self.records = {record.trial: record for record in study.records()}

    def trial_started(self, record: TrialRecord) -> None:
        """Adds a running trial."""
        self.running[record.trial] = record

    def epoch_ended(self, trial: int, curve: Sequence[float]) -> None:
        """Updates the curve of a running trial."""
        if trial in self.running:
            self.running[trial] = replace(self.running[trial], curve=tuple(curve))

    def trial_ended(self, record: TrialRecord) -> None:
        """Stores the final record of a trial."""
        self.records[record.trial] = record
        self.ended_here += trainings_spent([record], self.epochs)
        self.running.pop(record.trial, None)
        self.last_end = time.monotonic()

    def search_steered(self, state: SearchState) -> None:
        """Takes over the search's budget and request."""
        self.total, self.request = state.trials, state.request

    def search_ended(self, reason: SearchStatus) -> None:
        """Does nothing; the views override it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def epochs(self) -> int:
        """The epochs of a full-length training."""
        return self.study.config.space.recipe.epochs if self.study else 1

    @property
    def finished(self) -> float:
        """The epochs of the finished trials, in units of one full-length training."""
        return trainings_spent(self.records.values(), self.epochs)

    def progress(self) -> str:
        """Returns how many trainings have finished, and how much of the budget they are."""
        return progress_text(trainings_ended(self.records.values()), self.finished, self.total)

    def number(self, record: TrialRecord) -> int:
        """Returns the number by which to show a trial: that of its architecture in the search, if that is confirmed."""
        alike = [each for each in trained_networks(self.searched) if each.architecture.key == record.architecture.key]
        return alike[-1].trial if alike else record.trial

    def seconds_left(self) -> float | None:
        """Estimates the remaining seconds from the mean time of trials or epochs; None before the first epoch ends.

        There are no more than until the deadline, after which only the running trainings end.
        """
        now = time.monotonic()
        if self.ended_here:
            mean = (self.last_end - self.started) / self.ended_here
            left = mean * (self.total - self.finished) - (now - self.last_end)
        elif begun := self.share():
            left = (now - self.started) * ((self.total - self.finished) / begun - 1)
        else:
            return None
        return max(min(left, self.deadline - now), 0.0)

    def left_text(self) -> str:
        """Returns the remaining time in words; empty while it is unknown."""
        if self.deadline <= time.monotonic():
            return "time is up: the running trainings end"
        left = self.seconds_left()
        return f"about {duration_text(left)} left" if left is not None else ""

    def share(self) -> float:
        """Returns the epochs so far of the running trials, in units of one full-length training."""
        return sum(len(record.curve) for record in self.running.values()) / self.epochs


class PlainView(_Progress):
    """Prints one line per trial, for logs and other output that is not a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def search_started(self, study: Study, trials: int) -> None:
        """Prints the study's headline, and how many trials it already has."""
        super().search_started(study, trials)
        self._say(self.headline)
        if self.finished:
            self._say(f"There already: {self.progress()}")

    def trial_ended(self, record: TrialRecord) -> None:
        """Prints the trial's outcome and the estimated remaining time."""
        super().trial_ended(record)
        left = self.left_text()
        front = front_numbers(list(self.records.values())).front if record.seed is None else []
        parts = [
            f"trial {self.number(record)} ({amount_text(self.finished)}/{self.total})",
            percent_text(record.accuracy) if record.accuracy is not None else f"{record.state}: {record.reason}",
            *([f"after {epochs_text(record.length or 0)}"] if record.state == TrialState.SHORT else []),
            *([LATENCY.text(latency)] if (latency := LATENCY.value(record)) is not None else []),
            f"{count_text(record.flops)} FLOPs",
            record.name,
            duration_text(record.seconds or 0.0),
            *([f"seed {record.seed}"] if record.seed is not None else []),
            *(["on the front"] if any(member.trial == record.trial for member in front) else []),
            *([left] if left and self.finished < self.total else []),
        ]
        self._say("  ".join(parts))

    def search_steered(self, state: SearchState) -> None:
        """Prints what has changed."""
        before = self.total, self.request
        super().search_steered(state)
        if self.request != before[1]:
            self._say(REQUESTS[self.request])
        if self.total != before[0]:
            self._say(f"The budget is now {self.total} full-length trainings.")

    def search_ended(self, reason: SearchStatus) -> None:
        """Prints why the search ended, unless it is complete."""
        if reason in ENDINGS:
            self._say(ENDINGS[reason])

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


class LiveView(_Progress):
    """A continuously updated screen: progress, the running trials, the front so far."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._seen: list[TrialRecord] = []
        self._next_fit = 0.0
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def search_ended(self, reason: SearchStatus) -> None:
        """Prints why the search ended, unless it is complete."""
        if reason in ENDINGS:
            self._console.print(ENDINGS[reason])

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        if self.study is None:
            return Text("reading the images …", style="dim")
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(self.progress()),
            ProgressBar(total=self.total, completed=min(self.finished + self.share(), self.total), width=30),
            Text(f"{duration_text(time.monotonic() - self.started)} so far"),
            Text(self.left_text()),
        )
        failed = sum(record.finished and record.state == TrialState.FAILED for record in self.records.values())
        shown = list(self.running.values())[: max(1, self._console.height // 4)]
        hidden = len(self.running) - len(shown)
        rows = max(3, self._console.height - 12 - max(1, len(shown)) - (hidden > 0))
        return Group(
            Text(self.headline, style="bold"),
            bar,
            *([Text(f"{failed} failed; nas trials says why", style="red")] if failed else []),
            self._running_lines(shown),
            *([Text(f"and {hidden} more", style="dim")] if hidden else []),
            Text(""),
            self._table(rows),
            Text(REQUESTS[self.request] if self.request else "Ctrl-C stops; what is finished is kept.", style="dim"),
        )

    def _table(self, rows: int) -> RenderableType:
        records = list(self.records.values())
        if any(record.seed is not None for record in records):
            members = confirmations(self.searched, [Repetitions(self.epochs, records)], full=self.full)[-rows:]
            return confirmed_table(members, title="Trained so far") if members else Text("")
        return front_table(self._estimated(records), rows=rows, title="The front so far")

    def _estimated(self, records: list[TrialRecord]) -> list[TrialRecord]:
        """Returns the records with their estimates, as of a moment ago: making them takes time from the search."""
        began = time.monotonic()
        if self.study is not None and began >= self._next_fit:
            found = estimates(records, self.study.config.space, self.study.config.effective_images)
            self._seen = [replace(record, estimate=found.get(record.trial)) for record in records]
            ended = time.monotonic()
            self._next_fit = ended + min((ended - began) / FITS, SECONDS_BETWEEN_FITS)
        return self._seen

    def _running_lines(self, running: Sequence[TrialRecord]) -> RenderableType:
        if not running:
            return Text("choosing the next architecture …", style="dim")
        lines = Table.grid(padding=(0, 2))
        for record in running:
            line = Text("first epoch …", style="dim")
            if record.curve:
                length = record.length or self.epochs
                line = Text(f"epoch {len(record.curve)} of {length}  {percent_text(record.curve[-1])}  ")
                line.append(sparkline(record.curve[-30:]), style="cyan")
            lines.add_row(
                Text(f"trial {self.number(record)}", style="bold"),
                record.name,
                f"{count_text(record.flops)} FLOPs",
                line,
            )
        return lines
