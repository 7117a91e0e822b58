"""A study of version 0.1.0, as it was before modules became packages: it opens, resumes, confirms and exports."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.analysis.confirmation import confirmed

OLD = Path(__file__).with_name("runs_of_0_1_0")
FRONT = {10: 0.7352, 11: 0.8153}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "runs"))


def test_it_opens(runs: Path, nas_command: Any) -> None:
    study = nas.Study.open("old", runs)
    assert {record.trial: round(record.accuracy or 0, 4) for record in study.front()} == FRONT
    assert len(study.records()) == 14
    assert study.config.space.recipe.auto == frozenset()  # fields that it lacks are as they were, not as they would be
    assert study.config.space.shortcuts == "strided"
    shown = json.loads(nas_command("front", "old", "--runs", runs, "--json").out)
    assert [row["trial"] for row in shown] == list(FRONT)
    assert shown[0]["confirmed"]["seeds"] == [1]
    for command in ("trials", "show 11", "pick"):
        assert nas_command(*command.split(), "old", "--runs", runs).code == 0


def test_it_resumes(runs: Path) -> None:
    before = nas.Study.open("old", runs).records()
    study = nas.search(None, None, trials=6, name="old", runs=runs, device="cpu")
    assert study.records()[: len(before)] == before
    new = study.records()[len(before) :]
    assert new
    assert all(record.finished for record in new)
    trained = [(record.architecture.key, record.length) for record in study.records()]
    assert len(set(trained)) == len(trained)  # what was trained is not trained again


def test_it_is_confirmed_and_exported(runs: Path, tmp_path: Path) -> None:
    study = nas.Study.open("old", runs)
    before = confirmed(study)
    assert before is not None
    assert [len(member.trainings) for member in before.members] == [1]
    best = study.front()[-1].architecture
    assert before.of(best) is None
    found = nas.confirm(study, top=1, seeds=2, device="cpu")
    assert {len(member.trainings): member.record.architecture == best for member in found.members} == {
        1: False,
        2: True,
    }
    exported = nas.export(study, tmp_path / "out", trial=11, formats=("safetensors", "python"))
    assert exported.accuracy == pytest.approx(FRONT[11], abs=1e-4)
