import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import nas
from nas import SearchSpace
from nas.cli.live_view import LiveView, PlainView
from nas.cli.tables import sparkline
from nas.study.records import TrialState
from tests.helpers import formula


def screen(width: int = 80, height: int = 24) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)


def rendered(console: Console, view: LiveView) -> list[str]:
    """What stands on the screen now, drawn once more on a screen of the same size."""
    paper = screen(console.width, console.height)
    paper.print(view._render())
    return paper.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time on the clock, as its only element, to be set."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50)])
def test_the_live_view_stays_on_one_screen(tmp_path: Path, tiny: SearchSpace, width: int, height: int) -> None:
    console = screen(width, height)
    view = LiveView(console)
    screens: list[list[str]] = []

    def evaluate(architecture: nas.Architecture, report: object) -> float:
        view.epoch_ended(len(view.records), (0.3,))
        screens.append(rendered(console, view))
        return formula(architecture, lambda *_: None)

    assert "reading the images" in rendered(console, view)[0]
    with view:
        nas.search(tiny, trials=30, runs=tmp_path, name="s", evaluate=evaluate, listener=view)
    assert all(len(lines) <= height for lines in screens)
    assert all(len(line) <= width for lines in screens for line in lines)
    last = "\n".join(screens[-1])
    assert "29 of 30 trainings" in last
    assert "trial 29" in last
    assert "epoch 1 of 2  30.00 %" in last
    assert "left" in last
    front = nas.Study.open("s", tmp_path).front()
    assert any(member.name in last for member in front)
    assert "Ctrl-C" in last


def test_failures_are_seen_while_the_search_runs(tmp_path: Path, tiny: SearchSpace) -> None:
    console = screen()
    view = LiveView(console)

    outcomes: Iterator[float | Exception] = iter([ValueError(), ValueError(), 0.5])

    def evaluate(architecture: nas.Architecture) -> float:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=evaluate, listener=view)
    assert "2 failed" in "\n".join(rendered(console, view))


def test_plain_lines_say_what_failed_and_why_the_search_ended(tmp_path: Path, tiny: SearchSpace) -> None:
    console = Console(file=io.StringIO(), width=40)
    space = tiny.with_changes(max_flops=tiny.least_cost[0])

    def evaluate(architecture: nas.Architecture) -> float:
        raise ValueError

    nas.search(space, trials=5, runs=tmp_path, name="s", evaluate=evaluate, listener=PlainView(console))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "failed: error" in lines[1]
    assert lines[-1] == "Every architecture of the space within its budgets has been trained."


def test_time_left_is_the_mean_trial_times_the_trials_that_are_missing(
    tmp_path: Path, tiny: SearchSpace, now: list[float]
) -> None:
    console = Console(file=io.StringIO(), width=200)
    view = PlainView(console)
    now[0] = 500.0  # the images were read until now

    def evaluate(architecture: nas.Architecture, report: object) -> float:
        assert view.seconds_left() == ({0: None, 1: 30.0, 2: 20.0, 3: 10.0}[len(view.records)])
        now[0] += 10
        return formula(architecture, lambda *_: None)

    nas.search(tiny, trials=4, runs=tmp_path, name="s", evaluate=evaluate, listener=view)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split("about ")[-1] for line in lines[1:4]] == ["30s left", "20s left", "10s left"]
    assert "left" not in lines[4]


def test_no_more_time_is_left_than_until_the_timeout(tmp_path: Path, tiny: SearchSpace, now: list[float]) -> None:
    console = Console(file=io.StringIO(), width=200)
    view = PlainView(console)
    view.end_after("40s")

    def evaluate(architecture: nas.Architecture, report: object) -> float:
        now[0] += 10
        return formula(architecture, lambda *_: None)

    nas.search(tiny, trials=9, runs=tmp_path, name="s", evaluate=evaluate, listener=view)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split("  ")[-1] for line in lines[1:5]] == [
        "about 30s left",
        "about 20s left",
        "about 10s left",
        "time is up: the running trainings end",
    ]


def test_a_view_counts_the_trials_of_each_search_by_itself(tmp_path: Path, tiny: SearchSpace) -> None:
    view = PlainView(screen())
    for name in ("first", "second"):
        study = nas.search(tiny, trials=2, runs=tmp_path, name=name, evaluate=formula, listener=view)
        assert view.ended_here == 2
        assert view.study is not None
        assert view.study.name == study.name


def test_repeated_trainings_have_the_number_by_which_tables_call_their_network(
    tmp_path: Path, tiny: SearchSpace
) -> None:
    (full,) = nas.search(tiny, trials=1, runs=tmp_path, name="s", evaluate=formula).records()
    short = replace(full, trial=0, state=TrialState.SHORT, length=1)
    view = PlainView(screen())
    view.searched = [short, replace(full, trial=5)]
    assert view.number(replace(full, trial=2, seed=1)) == 5
    view.searched = []
    assert view.number(replace(full, trial=2, seed=1)) == 2


def test_before_a_training_has_ended_its_epochs_tell_how_long_is_left(
    tmp_path: Path, tiny: SearchSpace, now: list[float]
) -> None:
    view = PlainView(Console(file=io.StringIO(), width=200))
    left: list[float | None] = []

    def evaluate(architecture: nas.Architecture, report: Callable[[int, float], None]) -> float:
        for epoch in (1, 2):
            now[0] += 5
            report(epoch, 0.5)
            left.append(view.seconds_left())
        return 0.5

    nas.search(tiny, trials=3, runs=tmp_path, name="s", evaluate=evaluate, listener=view)
    assert left[:2] == [25.0, 20.0]  # of three trainings of two epochs of five seconds


def test_sparkline_spans_lowest_to_highest() -> None:
    assert sparkline([0.1, 0.2, 0.8]) == "▁▂█"
    assert sparkline([0.5, 0.5]) == "▁▁"
