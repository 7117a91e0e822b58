import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import nas
from nas import NasError, SearchSpace
from nas.analysis.requirements import Requirements
from nas.analysis.selection import choose
from nas.architectures import latency, latency_elsewhere
from nas.architectures.latency_elsewhere import PROGRAM
from nas.cli.main import cli
from nas.strategy import latency_objective
from nas.strategy.latency_objective import measure_front_elsewhere
from nas.study.records import LATENCY_KEY, trained_networks
from tests.helpers import TINY, formula

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> nas.Study:
    space = SearchSpace.from_dict(TINY)
    return nas.search(space, trials=6, name="s", runs=tmp_path_factory.mktemp("runs"), evaluate=formula)


def device(folder: Path, script: str) -> str:
    """A command that runs what follows it as a device would, here a script that gets `python3 -` and the program."""
    file = folder / "board"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def board(tmp_path: Path) -> str:
    """This Python, under the name that devices have for it, and without our packages' folder."""
    return device(tmp_path, f'test "$1" = python3 || exit 9\nshift\ncd / && exec {sys.executable} "$@"')


def test_the_front_is_measured_there_and_kept(study: nas.Study, board: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_elsewhere, "MOST_BYTES", 50_000)  # several answers
    found = measure_front_elsewhere(study, board)
    assert [member.trial for member, _ in found] == [member.trial for member in study.front()]
    assert "onnxruntime" in (study.attributes.latency_device or "")
    for member, milliseconds in found:
        assert 0 < milliseconds < 1000
        assert study.records()[member.trial].measures[LATENCY_KEY] == milliseconds
    slowest = max(milliseconds for _, milliseconds in found)
    choice = choose(study, Requirements(max_latency=slowest))
    assert choice.pick.record.trial in {member.trial for member, _ in found}
    with monkeypatch.context() as patched:  # what was not measured there is not measured here
        patched.setattr(latency, "measure_together", lambda *_, **__: pytest.fail("times of two devices"))
        choose(study, Requirements(max_latency=slowest))


def test_others_are_measured_too_and_what_has_no_latency_is_said_to_be_left_out(study: nas.Study, board: str) -> None:
    on_front = {member.trial for member in study.front()}
    others = [record for record in trained_networks(study.records()) if record.trial not in on_front]
    assert others
    found = measure_front_elsewhere(study, board, also=others[:1])
    assert {member.trial for member, _ in found} == {*on_front, others[0].trial}
    assert [member.flops for member, _ in found] == sorted(member.flops for member, _ in found)
    sentences = choose(study, Requirements(max_latency=1e6)).sentences
    left_out = len(others) - 1
    assert any("Left out, as their latency was not measured" in sentence for sentence in sentences) == (left_out > 0)


def test_the_command_prints_what_it_found(study: nas.Study, board: str) -> None:
    from click.testing import CliRunner

    given = ["latency", "s", "--runs", str(study.folder.parent), "--on", board]
    ran = CliRunner().invoke(cli, given)
    assert ran.exit_code == 0, ran.output
    assert ran.output.startswith("s: milliseconds for one image on ")
    assert len(ran.output.splitlines()) == 1 + len(study.front())
    as_json = json.loads(CliRunner().invoke(cli, [*given, "--json"]).output)
    assert all(row["latency (ms)"] > 0 for row in as_json["networks"])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'no route to host' >&2; exit 255", r"failed: no route to host$"),
        ("exit 3", r"failed: it ended with code 3 and said nothing$"),
        ("cat > /dev/null; echo welcome to the board", r"answered 'welcome to the board' instead of latencies$"),
        ("cat > /dev/null", r"answered 'nothing' instead of latencies$"),
        ("""cat > /dev/null; echo '{"device": "x", "milliseconds": [NaN]}'""", r"answered \[nan\]; \d numbers above 0"),
        ("""cat > /dev/null; echo '{"device": 3}'""", "instead of latencies"),
        ("exec sleep 30", r"gave no answer within 0\.5 s$"),
    ],
)
def test_a_device_that_answers_nonsense_or_not_at_all(
    script: str, message: str, study: nas.Study, tmp_path: Path
) -> None:
    before = study.attributes.latencies
    with pytest.raises(NasError, match=message) as raised:
        measure_front_elsewhere(study, device(tmp_path, script), timeout=0.5 if "sleep" in script else 30)
    assert "\n" not in str(raised.value)
    assert study.attributes.latencies == before


@pytest.mark.parametrize(
    ("on", "message"),
    [("/no/such/command", "there is no command ./no/such/command. here"), ("'", "is not a command: No closing")],
)
def test_what_is_no_command(on: str, message: str, study: nas.Study) -> None:
    with pytest.raises(NasError, match=message):
        measure_front_elsewhere(study, on)


def test_a_device_without_onnxruntime_says_what_it_lacks(study: nas.Study, tmp_path: Path) -> None:
    bare = device(tmp_path, f'shift; exec {sys.executable} -S -E "$@"')  # without installed packages
    with pytest.raises(NasError, match=r"failed: (numpy|onnxruntime) is not installed there: python3 -m pip install"):
        measure_front_elsewhere(study, bare)


def test_the_program_is_plain_old_python() -> None:
    source = PROGRAM.read_text(encoding="utf-8")
    check = "import ast, sys; ast.parse(sys.stdin.read(), feature_version=(3, 8))"
    subprocess.run([sys.executable, "-c", check], input=source, text=True, check=True)
    assert "import nas" not in source


def test_a_search_goes_by_the_latencies_of_the_device(
    board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_objective, "SAMPLE", 12)
    space, log = SearchSpace.from_dict(TINY), tmp_path / "log"
    for folder in ("logged", "other"):
        (tmp_path / folder).mkdir()
    counting = device(tmp_path / "logged", f'echo x >> {log}; exec {board} "$@"')
    search = partial(nas.search, space, name="s", runs=tmp_path / "runs", evaluate=formula, latency_on=counting)
    study = search(trials=4, objectives="accuracy,latency", workers=2)
    model = study.attributes.latency_model
    assert model is not None
    assert "onnxruntime" in model.device
    trained = [record for record in study.records() if record.trained]
    assert len(trained) == 4
    assert len(log.read_text().split()) == 1 + len(trained)  # the model's sample, then each trial
    for record in trained:
        assert record.objective_cost == record.measures[LATENCY_KEY] > 0
    with pytest.raises(NasError, match=r"was searched by latency on .*onnxruntime"):
        measure_front_elsewhere(study, board)

    with pytest.raises(NasError, match=r"its latencies are those of .*onnxruntime .*device='auto' is "):
        nas.search(space, name="s", runs=tmp_path / "runs", evaluate=formula, trials=6)
    other = device(tmp_path / "other", """cat > /dev/null; echo '{"device": "another", "milliseconds": [1.0]}'""")
    for command, message in ((other, "reaches another; go on with the same device"), ("false", "failed: it ended")):
        with pytest.raises(NasError, match=message):
            search(trials=6, latency_on=command)
    assert sum(record.trained for record in study.records()) == 4
    assert sum(record.trained for record in search(trials=6, workers=1).records()) == 6  # nothing was lost


def test_what_the_device_cannot_be_used_for(study: nas.Study, board: str, tmp_path: Path) -> None:
    space = SearchSpace.from_dict(TINY)
    search = partial(nas.search, space, name="m", runs=tmp_path, evaluate=formula, latency_on=board)
    with pytest.raises(NasError, match=r"latency_on=.*: needs objectives=accuracy,latency or measure_latency"):
        search(trials=1)
    with pytest.raises(NasError, match="ray='auto': workers on other machines do not measure"):
        search(trials=1, objectives="accuracy,latency", ray="auto")
    with pytest.raises(NasError, match=r"on='false': failed"):
        search(trials=2, measure_latency=True, latency_on="false")
    assert not any(record.trained for record in nas.Study.open("m", tmp_path).records())  # it was seen at once
    measured = search(trials=2, measure_latency=True)
    assert "onnxruntime" in (measured.attributes.latency_device or "")
    assert measured.attributes.latencies.keys() == {record.trial for record in measured.front()}
