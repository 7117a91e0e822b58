import json
from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas import NasError, SearchSpace
from nas.architectures.edits import edited
from nas.study.records import TrialState
from tests.helpers import Ran, formula


def search(runs: Path, tiny: SearchSpace, trials: int) -> nas.Study:
    return nas.search(tiny, "digits", trials=trials, name="s", runs=runs, evaluate=formula, references=False)


def untrained(study: nas.Study) -> nas.Architecture:
    space, known = study.config.space, {record.architecture.key for record in study.records()}
    return next(each for point in space.points() if (each := space.architecture(point)).key not in known)


def test_a_queued_network_is_trained_next_in_full(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tmp_path, tiny, 3)
    chosen, before = untrained(study), len(study.records())
    nas.enqueue(study, chosen)
    assert study.records()[-1].state == TrialState.WAITING
    with pytest.raises(NasError, match=f"study 's': this network is queued as trial {before}"):
        nas.enqueue(study, chosen)
    record = search(tmp_path, tiny, 5).records()[before]
    assert (record.architecture, record.state, record.by_person) == (chosen, TrialState.COMPLETE, True)
    assert [each.by_person for each in study.records()].count(True) == 1
    assert [act.what for act in study.attributes.acts] == [f"queued {chosen.name}"]
    assert record.length in (None, tiny.recipe.epochs)
    with pytest.raises(NasError, match=f"this network was trained as trial {before}"):
        nas.enqueue(study, chosen)


def test_what_is_outside_the_space_is_refused(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tmp_path, tiny, 2)
    with pytest.raises(NasError, match=r"is not in the space of study 's': stage1\.depth=7: the space has 1, 2"):
        nas.enqueue(study, edited(study.front()[0].architecture, ["stage1.depth=7"]))
    assert not any(record.state == TrialState.WAITING for record in study.records())


def test_the_commands_say_what_they_do(tmp_path: Path, tiny: SearchSpace, nas_command: Callable[..., Ran]) -> None:
    study = search(tmp_path, tiny, 10)
    (tmp_path / "own.yaml").write_text(untrained(study).to_yaml(), encoding="utf-8")
    shown = nas_command("predict", "s", tmp_path / "own.yaml", "--runs", tmp_path)
    assert "Expected after a full training: " in shown.out
    found = json.loads(nas_command("predict", "s", tmp_path / "own.yaml", "--runs", tmp_path, "--json").out)
    assert found["flops"] == nas.cost(untrained(study)).flops
    assert found["estimate"]["low"] < found["estimate"]["accuracy"]
    queued = nas_command("queue", "s", tmp_path / "own.yaml", "--runs", tmp_path)
    assert queued.code == 0
    assert "is queued: the next nas search of this study, with --trials 11 or more, trains it first." in queued.out
    like = ("--like", str(study.front()[0].trial), "--set", "stage1.groups=5", "--runs", tmp_path)
    refused = nas_command("queue", "s", *like)
    assert refused.code == 2
    assert "must divide" in refused.err
    both = nas_command("predict", "s", tmp_path / "own.yaml", *like)
    assert "name a network: either a YAML file, or a trial" in both.err


def test_an_interrupted_one_is_still_a_person_s(tmp_path: Path, tiny: SearchSpace) -> None:
    study = search(tmp_path, tiny, 3)
    nas.enqueue(study, untrained(study))

    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nas.search(tiny, "digits", trials=4, name="s", runs=tmp_path, evaluate=interrupted, references=False)
    last = study.records()[-1]
    assert (last.state, last.by_person) == (TrialState.WAITING, True)
