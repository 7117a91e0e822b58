import json
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas import NasError, SearchSpace
from nas.analysis import selection
from nas.analysis.requirements import Requirements
from nas.analysis.selection import choose
from nas.cli.main import cli
from nas.exporters import latency_elsewhere
from nas.exporters.latency_elsewhere import PROGRAM, measure_elsewhere
from nas.study.records import LATENCY_KEY
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
    found = measure_elsewhere(study, board)
    assert [member.trial for member, _ in found.latencies] == [member.trial for member in study.front()]
    assert "onnxruntime" in found.device
    assert study.attributes.latency_device == found.device
    for member, milliseconds in found.latencies:
        assert 0 < milliseconds < 1000
        assert study.records()[member.trial].measures[LATENCY_KEY] == milliseconds
    slowest = max(milliseconds for _, milliseconds in found.latencies)
    choice = choose(study, Requirements(max_latency=slowest))
    assert choice.pick.record.trial in {member.trial for member, _ in found.latencies}
    with monkeypatch.context() as patched:  # what was not measured there is not measured here
        patched.setattr(selection, "with_latency", lambda *_, **__: pytest.fail("times of two devices"))
        choose(study, Requirements(max_latency=slowest))


def test_the_command_prints_what_it_found(study: nas.Study, board: str) -> None:
    from click.testing import CliRunner

    given = ["latency", "s", "--runs", str(study.folder.parent), "--on", board]
    ran = CliRunner().invoke(cli, given)
    assert ran.exit_code == 0, ran.output
    assert ran.output.startswith("Milliseconds for one image on ")
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
        measure_elsewhere(study, device(tmp_path, script), timeout=0.5 if "sleep" in script else 30)
    assert "\n" not in str(raised.value)
    assert study.attributes.latencies == before


@pytest.mark.parametrize(
    ("on", "message"), [("/no/such/command", "cannot be run: .*No such file"), ("'", "is not a command: No closing")]
)
def test_what_is_no_command(on: str, message: str, study: nas.Study) -> None:
    with pytest.raises(NasError, match=message):
        measure_elsewhere(study, on)


def test_a_device_without_onnxruntime_says_what_it_lacks(study: nas.Study, tmp_path: Path) -> None:
    bare = device(tmp_path, f'shift; exec {sys.executable} -S -E "$@"')  # without installed packages
    with pytest.raises(NasError, match=r"failed: (numpy|onnxruntime) is not installed there: python3 -m pip install"):
        measure_elsewhere(study, bare)


def test_the_program_is_plain_old_python() -> None:
    source = PROGRAM.read_text(encoding="utf-8")
    check = "import ast, sys; ast.parse(sys.stdin.read(), feature_version=(3, 8))"
    subprocess.run([sys.executable, "-c", check], input=source, text=True, check=True)
    assert "import nas" not in source
