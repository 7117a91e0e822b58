"""Searches by several processes of this machine: what they give, and what becomes of one that dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from nas import Architecture, ImageData, NasError, SearchSpace, Study, TrialRecord
from nas.study.search_state import SearchState
from nas.system.processes import METHOD, is_alive
from nas.training.train import on_device, train
from tests.helpers import at_most, formula

Report = Callable[[int, float], None]
pytestmark = pytest.mark.skipif(METHOD != "forkserver", reason="signals and forks as on Linux and macOS")


def once_deadly(architecture: Architecture, report: Report) -> float:
    """Kills the first worker that trains, as a system out of memory would."""
    try:
        Path(os.environ["NAS_TEST_MARK"]).touch(exist_ok=False)
    except FileExistsError:
        return formula(architecture, report)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def deadly_when_wide(architecture: Architecture, report: Report) -> float:
    """One architecture of the space kills every worker that trains it."""
    if architecture.key == os.environ["NAS_TEST_MARK"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return formula(architecture, report)


def deadly(architecture: Architecture, report: Report) -> float:
    os._exit(3)


def once_losing_the_gpu(architecture: Architecture, report: Report) -> float:
    """Fails as a device-side assert does, after which CUDA answers every call of the process with the same error."""
    try:
        Path(os.environ["NAS_TEST_MARK"]).touch(exist_ok=False)
    except FileExistsError:
        return formula(architecture, report)

    def fails() -> float:
        raise RuntimeError("CUDA error: device-side assert triggered")

    torch.cuda.is_initialized = lambda: True
    torch.cuda.synchronize = torch.cuda.empty_cache = fails  # type: ignore[assignment]
    return fails()


def slow(architecture: Architecture, report: Report) -> float:
    time.sleep(0.3)
    return formula(architecture, report)


class Diary:
    """Writes down what a listener is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def search_started(self, study: Study, trials: int) -> None:
        self.lines.append(("search", trials))

    def trial_started(self, record: TrialRecord) -> None:
        self.lines.append(("start", record.trial))

    def epoch_ended(self, trial: int, curve: Any) -> None:
        self.lines.append(("epoch", trial))

    def trial_ended(self, record: TrialRecord) -> None:
        self.lines.append(("end", record.trial))

    def search_steered(self, state: SearchState) -> None:
        self.lines.append(("steered", state.request))

    def search_ended(self, reason: str) -> None:
        self.lines.append((reason,))


def test_two_workers_train_what_one_would_and_nothing_twice(
    tmp_path: Path, tiny: SearchSpace, digits: ImageData
) -> None:
    diary = Diary()
    study = nas.search(tiny, "digits", trials=8, runs=tmp_path, device="cpu", workers=2, keep="all", listener=diary)
    records = study.records()
    assert [record.state for record in records] == ["complete"] * 8
    assert len({record.architecture.key for record in records}) == 8
    assert len({record.worker for record in records}) == 2
    assert diary.lines[0] == ("search", 8)
    assert diary.lines[-1] == ("complete",)
    for number in range(8):
        assert diary.lines.index(("start", number)) < diary.lines.index(("end", number))
    assert all(study.weights_file(record.trial).is_file() for record in records)
    recipe = study.config.space.recipe
    for record in records[:2]:
        alone = train(record.architecture, on_device(digits, recipe, "cpu"), recipe, seed=0)
        assert alone.curve == record.curve


def test_arrays_are_handed_to_workers_as_files(tmp_path: Path, tiny: SearchSpace, digits: ImageData) -> None:
    images = (digits.train.images[:300], digits.train.labels[:300])
    study = nas.search(tiny, images, trials=2, runs=tmp_path, name="s", device="cpu", workers=2)
    assert [record.state for record in study.records()] == ["complete"] * 2


@pytest.mark.slow
def test_a_worker_that_has_lost_its_gpu_is_replaced_and_the_others_train_on(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_TEST_MARK", str(tmp_path / "lost"))
    stop_server()
    study = nas.search(tiny, trials=4, runs=tmp_path, name="s", evaluate=once_losing_the_gpu, trial_timeout=100)
    records = study.records()
    [failed] = [record for record in records if record.state == "failed"]
    assert failed.reason == "error"
    assert "device-side assert" in (failed.detail or "")
    [healthy] = {record.worker for record in records if record is not failed}
    assert healthy != failed.worker


def test_a_search_in_this_process_ends_where_it_has_lost_its_gpu(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_TEST_MARK", str(tmp_path / "lost"))
    for name in ("is_initialized", "synchronize", "empty_cache"):
        monkeypatch.setattr(f"torch.cuda.{name}", getattr(torch.cuda, name))  # they are put back
    with pytest.raises(NasError, match=r"study 's': trial 0 failed with a CUDA error .*; the same command goes on"):
        nas.search(tiny, trials=4, runs=tmp_path, name="s", evaluate=once_losing_the_gpu)
    monkeypatch.undo()
    study = nas.search(tiny, trials=4, runs=tmp_path, name="s", evaluate=formula)
    assert [record.state for record in study.records()] == ["failed", *["complete"] * 4]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_TEST_MARK", str(tmp_path / "killed"))
    stop_server()
    study = nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=once_deadly, workers=2)
    records = study.records()
    finished = [record for record in records if record.finished]
    assert len(finished) == 6
    assert {record.state for record in finished} == {"complete"}
    [interrupted] = [record for record in records if not record.finished]
    assert (interrupted.state, interrupted.reason) == ("failed", "interrupted")
    assert interrupted.architecture in [record.architecture for record in finished]
    assert len({record.architecture for record in finished}) == 6


@pytest.mark.slow
def test_a_training_that_kills_every_worker_is_given_up(
    tmp_path: Path, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nas.search(tiny, trials=3, runs=tmp_path, name="first", evaluate=formula, sampler="random")
    monkeypatch.setenv("NAS_TEST_MARK", first.records()[2].architecture.key)
    stop_server()
    study = nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=deadly_when_wide, sampler="random", workers=2)
    finished = [record for record in study.records() if record.finished]
    assert sorted(record.reason or "" for record in finished) == [*[""] * 6, "worker_died"]


@pytest.mark.slow
def test_workers_that_die_one_after_the_other_end_the_search_with_a_line(tmp_path: Path, tiny: SearchSpace) -> None:
    with pytest.raises(NasError, match=r"the first 3 trainings all failed as worker_died \(3 workers died over it"):
        nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=deadly, workers=2)
    assert "running" not in {record.state for record in Study.open("s", tmp_path).records()}


def test_a_training_that_other_processes_cannot_have_is_refused(tmp_path: Path, tiny: SearchSpace) -> None:
    with pytest.raises(NasError, match="at the top of a module"):
        nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=lambda *_: 0.5, workers=2)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("workers", ["two", -1, "1.5"])
def test_a_number_of_workers_is_a_number_or_auto(tmp_path: Path, tiny: SearchSpace, workers: int | str) -> None:
    with pytest.raises(NasError, match=r"workers="):
        nas.search(tiny, trials=6, runs=tmp_path, evaluate=formula, workers=workers)


def search_by_command(runs: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "nas", "search", "--study", "s", "--runs", str(runs), "--device", "cpu"]
    return subprocess.Popen(
        [*command, "--trials", "50", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_trial(process: "subprocess.Popen[str]", number: int) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(f"trial {number} "):
            return
    raise AssertionError("the search ended")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_search_that_is_ended_ends_its_workers_and_keeps_what_is_finished(
    tmp_path: Path, how: signal.Signals
) -> None:
    process = search_by_command(tmp_path, "--workers", "2", "--epochs", "2")
    until_trial(process, 3)
    workers = {record.worker for record in Study.open("s", tmp_path).records() if record.worker}
    assert len(workers) == 2
    process.send_signal(how)
    started = time.monotonic()
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - started < at_most(6)
    until = time.monotonic() + 10
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.1)
    study = Study.open("s", tmp_path)
    kept = [record for record in study.records() if record.finished]
    assert len(kept) >= 3
    assert "running" not in {record.state for record in study.records()}
    assert "Traceback" not in out + err
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "; kept: " in err
    again = nas.search(name="s", trials=len(kept) + 1, runs=tmp_path, device="cpu", workers=2)
    assert [record for record in again.records() if record.finished][: len(kept)] == kept


@pytest.mark.slow
def test_a_search_without_workers_waits_for_those_that_join(tmp_path: Path) -> None:
    process = search_by_command(tmp_path, "--workers", "0", "--epochs", "1", "--trials", "3")
    until = time.monotonic() + 60
    while not Study.exists("s", tmp_path):
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    join = [sys.executable, "-m", "nas", "worker", "s", "--runs", str(tmp_path), "--device", "cpu"]
    joined = [subprocess.Popen(join, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.count("\ntrial ") == 3
    for each in joined:
        each_out, each_err = each.communicate(timeout=120)
        assert each.returncode == 0, each_out + each_err
    records = Study.open("s", tmp_path).records()
    assert len({record.architecture.key for record in records}) == 3
    assert {record.state for record in records} == {"complete"}


def test_a_worker_refuses_images_that_are_not_the_study_s(
    tmp_path: Path, tiny: SearchSpace, digits: ImageData, nas_command: Any
) -> None:
    images = (digits.train.images[:300], digits.train.labels[:300])
    nas.search(tiny, images, trials=1, runs=tmp_path, name="s", device="cpu")
    assert "go on there, with the same" in nas_command("worker", "s", "--runs", tmp_path).err
    assert (
        "its images are not those of the study"
        in nas_command("worker", "s", "--runs", tmp_path, "--data", "digits").err
    )
    assert "no study 't'" in nas_command("worker", "t", "--runs", tmp_path).err


def stop_server() -> None:
    """The next workers are forked from a process that knows today's environment."""
    from multiprocessing import forkserver

    forkserver._forkserver._stop()  # type: ignore[attr-defined]
