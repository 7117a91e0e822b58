from pathlib import Path

import pytest

import nas
from nas import SearchSpace
from nas.analysis.prediction import variations
from nas.architectures.edits import edited
from nas.spaces.membership import misfits
from tests.helpers import formula


@pytest.fixture
def study(tmp_path: Path, tiny: SearchSpace) -> nas.Study:
    return nas.search(tiny, "digits", trials=20, name="s", runs=tmp_path, evaluate=formula, references=False)


def test_a_network_s_accuracy_is_expected_with_an_interval(study: nas.Study, tiny: SearchSpace) -> None:
    trained = {record.architecture.key for record in study.records()}
    others = [other for point in tiny.points() if (other := tiny.architecture(point)).key not in trained]
    found = [nas.predict(study, other) for other in others[:40]]
    errors = []
    for each in found:
        assert each.estimate is not None
        assert each.trained is None
        assert each.estimate.low < each.estimate.accuracy < each.estimate.high
        assert each.rival is None or each.rival.flops <= each.cost.flops
        errors.append(abs(each.estimate.accuracy - formula(each.architecture, lambda *_: None)))
    assert sum(errors) / len(errors) < 0.03  # of its own, each has up to 0.05
    assert all(len(each.sentences()) == 2 for each in found)
    above = next(p for p in found if p.rival and p.estimate and p.rival.quality < p.estimate.accuracy)
    assert "It would be on the front: " in above.sentences()[1]


def test_what_was_trained_is_said_to_be(study: nas.Study) -> None:
    record = study.front()[-1]
    found = nas.predict(study, record.architecture)
    assert found.trained == record
    assert found.estimate == pytest.approx(record.estimate)
    assert f"It was trained as trial {record.trial}" in found.sentences()[1]
    assert found.rival is None or found.rival.trial != record.trial


def test_outside_the_space_there_are_costs_alone(study: nas.Study) -> None:
    found = nas.predict(study, edited(study.front()[0].architecture, ["stage1.depth=7"]))
    assert found.estimate is None
    assert found.cost.flops > study.front()[0].flops
    assert found.sentences() == [
        "Outside the study's space, so nothing is expected of it: stage1.depth=7: the space has 1, 2."
    ]
    assert found.to_dict()["outside"] == ["stage1.depth=7: the space has 1, 2"]


def test_few_trainings_are_no_model(tmp_path: Path, tiny: SearchSpace) -> None:
    study = nas.search(tiny, "digits", trials=2, name="s", runs=tmp_path, evaluate=formula, references=False)
    found = nas.predict(study, tiny.architecture(next(iter(tiny.points()))))
    assert found.estimate is None
    assert found.sentences() == ["The study has too few trainings yet to expect anything."]


def test_variations_are_one_step_away_and_inside_the_space(study: nas.Study, tiny: SearchSpace) -> None:
    start = edited(study.front()[0].architecture, ["stage1.depth=1", "stage1.mid=12", "stage1.groups=3"])
    found = variations(study, start)
    assert len({each.architecture for each in found}) == len(found)
    assert all(not misfits(each.architecture, tiny) for each in found)
    assert {"stage1.depth": 2} in [each.changes for each in found]
    assert {"stage1.mid": 16, "stage1.groups": 2} in [each.changes for each in found]  # 3 does not divide 16
    assert {"stage1.groups": 4} in [each.changes for each in found]
    assert not any(each.changes == {"stage1.groups": 1} for each in found)  # that is two steps
    for each in found:
        assert each.architecture == edited(start, [f"{name}={value}" for name, value in each.changes.items()])
        assert each.estimate == pytest.approx(nas.predict(study, each.architecture).estimate)
    assert variations(study, edited(start, ["stage1.depth=7"])) == []
