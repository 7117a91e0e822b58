from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import nas
from nas import Architecture, NasError, SearchSpace, Study
from nas.analysis.requirements import Requirements
from nas.analysis.selection import choose
from nas.cli.arguments import read_study, read_target
from nas.errors import InvalidValue
from nas.strategy.samplers import ValidSampler
from nas.study.config import StudyConfig
from nas.study.records import Outcome
from tests.helpers import formula

DATA = {"source": "digits", "fingerprint": "0123", "classes": ["a", "b"]}


@pytest.fixture
def study(tmp_path: Path, tiny: SearchSpace) -> Study:
    """Two complete trials, the first one the more accurate, and one that failed."""
    made = Study.create("s", tmp_path, StudyConfig(tiny, DATA, 0))
    for seed, outcome in enumerate((Outcome(0.9, 1.0), Outcome(0.5, 1.0), Outcome(None, 1.0, reason="not_finite"))):
        trial, _ = made.ask(ValidSampler(("random", seed), tiny, {}))
        made.tell(trial, outcome)
    return made


def test_a_file_is_an_architecture_without_a_study(tmp_path: Path, tiny: SearchSpace) -> None:
    wanted = tiny.architecture(tiny.sample(np.random.default_rng(0)))
    for name in ("mine.yaml", "architecture"):
        file = tmp_path / name
        file.write_text(wanted.to_yaml(), encoding="utf-8")
        assert read_target(str(file)) == (wanted, None, None)


def test_a_trial_of_a_study(study: Study) -> None:
    for trial in range(3):
        found = read_target(f"s:{trial}", runs=study.folder.parent)
        assert found.architecture == study.record(trial).architecture
        assert found.study is not None
        assert (found.study.name, found.trial) == ("s", trial)


def test_a_study_alone_is_its_most_accurate_trial(study: Study) -> None:
    found = read_target("s", runs=study.folder.parent)
    assert (found.trial, found.architecture) == (0, study.record(0).architecture)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        ("nowhere/mine.yml", "no such file"),
        ("nowhere", "no study 'nowhere' in .*; studies there: s"),
        ("nowhere:1", "no study 'nowhere'"),
        ("", "study='': must be at most 100 letters"),
        ("s:", "trial='': must be the number of a trial, as in s:0"),
        ("s:one", "trial='one': must be the number of a trial, as in s:0"),
        ("s:-1", "trial='-1': must be the number"),
        ("s:²", "must be the number"),
        ("s:7", "study 's' has no trial 7; they go from 0 to 2"),
        ("s:1\0", "must be the number"),
        ("\0", r"study='\\x00': must be"),
        ("../s", r"study='../s': must be"),
        ("../s:0", r"study='../s': must be"),
    ],
)
def test_what_is_not_there_is_one_line(text: str, line: str, study: Study) -> None:
    with pytest.raises(NasError, match=line) as raised:
        read_target(text, runs=study.folder.parent)
    assert "\n" not in str(raised.value)


def test_a_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("name: other\n", encoding="utf-8")
    with pytest.raises(InvalidValue, match=r"other.yaml: architecture: unknown key 'name'"):
        read_target(str(file))


def test_a_study_that_has_completed_nothing_has_no_best(tmp_path: Path, tiny: SearchSpace) -> None:
    Study.create("s", tmp_path, StudyConfig(tiny, DATA, 0))
    with pytest.raises(NasError, match="study 's' has no trained network yet; `nas trials s` shows"):
        read_target("s", runs=tmp_path)


def test_a_file_stands_for_the_study_of_its_trainings(study: Study, tmp_path: Path, tiny: SearchSpace) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(study.records()[0].architecture.to_yaml(), encoding="utf-8")
    assert read_study(str(file), runs=tmp_path).name == "s"
    assert read_study("s", runs=tmp_path).name == read_study(None, runs=tmp_path).name == "s"
    with pytest.raises(NasError, match=r"nas train .* makes one"):
        read_study(str(file), runs=tmp_path / "elsewhere")
    trained = {record.architecture.key for record in study.records()}
    other = next(a for point in tiny.points() if (a := tiny.architecture(point)).key not in trained)
    file.write_text(other.to_yaml(), encoding="utf-8")
    with pytest.raises(NasError, match="is of another architecture"):
        read_study(str(file), runs=tmp_path)
    with pytest.raises(NasError, match="there is no study in"):
        read_study(None, runs=tmp_path / "elsewhere")


def test_a_study_alone_is_what_nas_pick_recommends(tmp_path: Path, tiny: SearchSpace) -> None:
    """By confirmed means: here the best of the search is the worst of the confirmed."""

    def evaluate(architecture: Architecture, report: Callable[[int, float], None], seed: int = 0) -> float:
        found = formula(architecture, report)
        return found if seed == 0 else 1 - found

    study = nas.search(tiny, trials=6, runs=tmp_path, name="s", evaluate=evaluate)
    best = study.front()[-1].trial
    assert read_target("s", runs=tmp_path).trial == best
    nas.confirm(study, seeds=2, evaluate=evaluate)
    picked = choose(study, Requirements()).pick.record.trial
    assert picked != best
    assert read_target("s", runs=tmp_path).trial == picked
