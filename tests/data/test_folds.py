"""Folds: every image but those for the test is held out once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from nas import Input, NasError, SearchSpace, load_data
from nas.data.cache import open_shared, save_shared
from nas.data.images import ImageData, RawImages, Split, folds_of, train_on_all
from nas.data.splitting import split_images
from nas.study.config import StudyConfig
from nas.study.images import images_of
from tests.data.test_splitting import COLOUR, PATIENTS, write_patients
from tests.helpers import patches

DIGITS = Input(1, 8)


def rows(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images[:]}


@pytest.fixture(scope="module")
def folded() -> ImageData:
    return load_data("digits", DIGITS, max_images=300, folds=5)


def test_every_image_is_held_out_once_and_each_class_in_every_fold(folded: ImageData) -> None:
    plain = load_data("digits", DIGITS, max_images=300)
    assert rows(folded.test) == rows(plain.test)
    held = [rows(fold.validation) for fold in folds_of(folded)]
    assert set.union(*held) == rows(plain.train) | rows(plain.validation)
    assert sum(map(len, held)) == len(rows(folded.judged))
    for fold, size in zip(folds_of(folded), folded.folds, strict=True):
        assert len(fold.validation.labels) == size
        assert not rows(fold.train) & rows(fold.validation)
        assert len(fold.train.labels) + size == len(folded.judged.labels)
        assert set(fold.validation.labels) == set(range(10))
    assert max(folded.folds) - min(folded.folds) <= 1


def test_the_images_that_judge_are_those_of_the_folds_in_their_order(folded: ImageData) -> None:
    labels = np.concatenate([fold.validation.labels for fold in folds_of(folded)])
    images = np.concatenate([fold.validation.images[:] for fold in folds_of(folded)])
    assert np.array_equal(folded.judged.labels, labels)
    assert np.array_equal(folded.judged.images[:], images)
    first = folds_of(folded)[0]
    assert np.array_equal(folded.validation.images[:], first.validation.images[:])
    assert np.array_equal(folded.train.images[:], first.train.images[:])


def test_seeds_differ_and_one_seed_is_the_same(folded: ImageData) -> None:
    again, other = (load_data("digits", DIGITS, max_images=300, folds=5, seed=seed) for seed in (0, 1))
    assert again.fingerprint == folded.fingerprint != other.fingerprint


def test_groups_stay_in_one_fold(tmp_path: Path) -> None:
    data = load_data(str(write_patients(tmp_path)), COLOUR, group_by="folder", folds=4)
    patients = [set(fold.validation.images[:][:, 0, 0, 0].tolist()) for fold in folds_of(data)]
    tested = set(data.test.images[:][:, 0, 0, 0].tolist())
    assert sum(map(len, patients)) + len(tested) == PATIENTS == len(set.union(tested, *patients))


def test_of_images_with_several_labels_every_fold_trains_all_labels() -> None:
    data = load_data(patches(200), Input(3, 16), folds=5)
    assert all(fold.train.labels.any(axis=0).all() for fold in folds_of(data))


def test_other_processes_get_the_same_folds(folded: ImageData, tmp_path: Path) -> None:
    shared = open_shared(save_shared(folded))
    assert shared.folds == folded.folds
    assert np.array_equal(shared.judged.images[:], folded.judged.images[:])


def test_a_study_finds_them_again_and_a_final_training_has_none(folded: ImageData, tiny: SearchSpace) -> None:
    config = StudyConfig(tiny, {**folded.describe(), "max_images": 300}, 0)
    assert config.folds == 5
    assert config.validation_images == len(folded.judged.labels)
    assert images_of(config).fingerprint == folded.fingerprint
    final = train_on_all(folded)
    last = StudyConfig(tiny, {**config.data, **final.describe(), "all_images": True}, 0)
    assert last.folds == 1
    assert rows(final.train) == rows(folded.judged)
    assert images_of(last).fingerprint == final.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds=1: must be from 2 to 20"),
        ({"folds": 21}, "folds=21: must be from 2 to 20"),
        ({"folds": 2.5}, "folds=2.5: must be"),
        ({"folds": 5, "validation": 0.2}, "folds=5: each image is held out once; leave validation=0.2 out"),
        (
            {"folds": 9, "max_images": 60},
            r"folds=9: class '\d' has \d images to train on and validate with, and each fold needs one",
        ),
    ],
)
def test_folds_that_cannot_be_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_data("digits", DIGITS, **options)


def test_groups_that_are_too_few_for_the_folds_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"folds=12: class 'ill' has [0-9]+ groups to train on and validate with"):
        load_data(str(write_patients(tmp_path)), COLOUR, group_by="folder", folds=12)


def test_a_validation_set_of_ones_own_is_not_divided_again() -> None:
    split = Split(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 2)
    with pytest.raises(NasError, match=r"folds=2: mine has a validation set of its own"):
        split_images(RawImages("mine", ("a", "b"), split, split, split), seed=0, folds=2)


def test_a_training_of_ones_own_has_no_folds(tiny: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="folds=3: evaluate trains one network; leave this out"):
        nas.search(tiny, folds=3, evaluate=lambda _: 0.5, runs=tmp_path)
