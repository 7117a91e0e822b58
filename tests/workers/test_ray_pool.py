"""Workers as Ray actors: a cluster of this one machine, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from nas import Study

pytest.importorskip("ray")

KILLS_ONE = """
import os, signal, sys, threading, time
import nas
from nas.system.processes import this_worker

def kill_one():
    while True:
        time.sleep(0.05)
        try:
            running = [r for r in nas.Study.open("s", sys.argv[1]).records() if r.state == "running" and r.worker]
        except nas.NasError:
            continue
        if len(running) == 2:
            os.kill(int(running[0].worker.rpartition(":")[2].partition("@")[0]), signal.SIGKILL)
            return

threading.Thread(target=kill_one, daemon=True).start()
nas.search("digits", trials=16, epochs=4, runs=sys.argv[1], name="s", ray="local", workers=2, device="cpu")
"""


FEWER = """
import sys, threading, time
import nas
from nas.workflows import steering

def ask_for_one():
    while True:
        time.sleep(0.05)
        try:
            study = nas.Study.open("s", sys.argv[1])
        except nas.NasError:
            continue
        if sum(record.state == "running" and bool(record.curve) for record in study.records()) == 2:
            steering.set_workers(study, 1)
            return

threading.Thread(target=ask_for_one, daemon=True).start()
nas.search(
    "digits", trials=6, epochs=20, fidelities=1, runs=sys.argv[1], name="s", ray="local", workers=2, device="cpu"
)
"""


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False)


def test_two_actors_search_and_the_terminal_shows_it(tmp_path: Path) -> None:
    options = ["--runs", tmp_path, "--study", "s", "--ray", "local", "--workers", 2, "--trials", 4, "--epochs", 2]
    ran = run(sys.executable, "-m", "nas", "search", *options, "--device", "cpu")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("\ntrial ") == 4
    assert "The accuracy–FLOPs front of s" in ran.stdout
    assert "Traceback" not in ran.stderr
    study = Study.open("s", tmp_path)
    records = study.records()
    assert {record.state for record in records} == {"complete"}
    assert len({record.architecture.key for record in records}) == 4
    assert len({record.worker for record in records}) == 2
    assert all(study.weights_file(record.trial).is_file() for record in study.front())


def test_an_actor_that_is_killed_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    program = tmp_path / "kills.py"
    program.write_text(KILLS_ONE)
    ran = run(sys.executable, program, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    records = Study.open("s", tmp_path).records()
    assert sum(record.finished for record in records) == 16
    assert {record.state for record in records if record.finished} == {"complete"}
    assert [record.reason for record in records if not record.finished] == ["interrupted"]
    assert len({record.worker for record in records}) == 3


def test_with_fewer_actors_the_others_go_on(tmp_path: Path) -> None:
    program = tmp_path / "fewer.py"
    program.write_text(FEWER)
    ran = run(sys.executable, program, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    study = Study.open("s", tmp_path)
    assert sum(record.finished for record in study.records()) == 6
    assert {record.state for record in study.records() if record.finished} == {"complete"}
    assert any("to 1" in act.what for act in study.attributes.acts), study.attributes.acts


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = run(sys.executable, "-m", "nas", "search", "--runs", tmp_path, "--ray", "127.0.0.1:1", "--trials", 2)
    assert ran.returncode == 2
    assert ran.stderr.startswith("nas: ray=127.0.0.1:1: no cluster answers"), ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())


def test_what_each_takes_of_a_cluster_is_a_number(tmp_path: Path) -> None:
    options = ["--ray", "local", "--cpus-per-worker", "-1"]
    ran = run(sys.executable, "-m", "nas", "search", "--runs", tmp_path, *options)
    assert ran.returncode == 2
    assert "cpus_per_worker=-1" in ran.stderr
    assert ran.stderr.count("\n") == 1
