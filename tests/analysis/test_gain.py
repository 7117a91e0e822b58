"""What a search found beyond networks drawn by hand, and that it trains these at a tenth of its epochs at most."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import SearchSpace, load_space
from nas.analysis.gain import gain_sentences, gains
from nas.spaces.references import references
from nas.study.config import StudyConfig
from nas.study.records import TrialRecord, TrialState
from tests.helpers import formula


@pytest.fixture
def digits_space() -> SearchSpace:
    return load_space("digits")


def trial(number: int, architecture: nas.Architecture, accuracy: float) -> TrialRecord:
    return TrialRecord(number, TrialState.COMPLETE, architecture, accuracy)


def test_gain_is_against_the_front_at_no_more_flops_and_at_equal_accuracy(digits_space: SearchSpace) -> None:
    config = StudyConfig(digits_space, {"source": "digits", "validation_images": 400}, 0)
    (family, drawn), *_ = references(digits_space)
    cheap = digits_space.architecture(next(digits_space.affordable()))
    drawn_record, found = trial(0, drawn, 0.80), trial(1, cheap, 0.90)
    assert found.flops < drawn_record.flops
    [gain] = gains([drawn_record, found], config)
    assert (gain.family, gain.reference) == (family, drawn_record)
    assert gain.points == pytest.approx(0.1)
    assert gain.error == pytest.approx(((0.8 * 0.2 + 0.9 * 0.1) / 400) ** 0.5, rel=0.01)
    assert gain.share == pytest.approx(found.flops / drawn_record.flops)
    [said] = gain_sentences([drawn_record, found], config)
    assert "the search found +10.0 ± 2.5 points at no more FLOPs, or its accuracy for" in said


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (0.81, "at no more FLOPs nothing beyond chance (+1.0 ± 2.8 points)"),
        (0.84, "at no more FLOPs nothing beyond chance (+4.0 ± 2.7 points)"),
        (0.5, "nothing better at its FLOPs"),
    ],
)
def test_where_nothing_was_gained_that_is_said(digits_space: SearchSpace, accuracy: float, expected: str) -> None:
    config = StudyConfig(digits_space, {"source": "digits", "validation_images": 400}, 0)
    (_, drawn), *_ = references(digits_space)
    cheap = digits_space.architecture(next(digits_space.affordable()))
    [said] = gain_sentences([trial(0, drawn, 0.80), trial(1, cheap, accuracy)], config)
    assert expected in said


def test_a_short_training_of_a_reference_is_no_find_of_the_search(digits_space: SearchSpace) -> None:
    config = StudyConfig(digits_space, {"source": "digits"}, 0)
    (_, drawn), *_ = references(digits_space)
    lucky = replace(trial(1, drawn, 0.95), state=TrialState.SHORT, length=1)
    [gain] = gains([trial(0, drawn, 0.80), lucky], config)
    assert (gain.points, gain.share) == (0, 1)


def test_a_reference_that_another_one_beats_is_not_spoken_of(digits_space: SearchSpace) -> None:
    config = StudyConfig(digits_space, {"source": "digits"}, 0)
    drawn = [architecture for _, architecture in references(digits_space)]
    records = [trial(number, each, 0.5 if number else 0.9) for number, each in enumerate(drawn)]
    cheaper = sum(record.flops < records[0].flops for record in records) > 0
    assert len(gains(records, config)) == 1 + cheaper
    assert gain_sentences([replace(record, state=TrialState.SHORT, length=1) for record in records], config) == []


@pytest.mark.parametrize("sampler", ["front", "random"])
def test_a_search_trains_one_reference_for_every_ten_trainings(
    tmp_path: Path, digits_space: SearchSpace, sampler: str
) -> None:
    drawn = [architecture.key for _, architecture in references(digits_space)]
    options: dict[str, Any] = {"trials": 25, "runs": tmp_path, "evaluate": formula, "sampler": sampler}
    study = nas.search(digits_space, name="with", **options)
    keys = [record.architecture.key for record in study.records()]
    assert [key for key in keys if key in drawn][:2] == drawn[:2]
    assert [keys.index(key) for key in drawn[:2]] == [10, 20]
    assert gain_sentences(study.records(), study.config)
    without = nas.search(digits_space, name="without", references=False, **options)
    assert [record.architecture.key for record in without.records()][:10] == keys[:10]
