import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nas
from nas import Recipe, SearchSpace
from nas.data.images import ImageData, Split, count_leaks
from nas.errors import NasWarning
from nas.workflows.data_checks import warn_about_images
from tests.helpers import patches, write_photos


def leaking(data: ImageData, copies: int) -> ImageData:
    images, labels = data.train.images[:copies], data.train.labels[:copies]
    more = Split(np.concatenate([data.test.images[:], images]), np.concatenate([data.test.labels, labels]))
    return replace(data, test=more)


def test_copies_of_training_images_are_counted_and_said(digits: ImageData) -> None:
    assert count_leaks(digits) == 0
    assert count_leaks(leaking(digits, 7)) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_images(digits, Recipe())
    with pytest.warns(NasWarning, match=r"digits: 7 of the \d+ validation and test images are copies of training"):
        warn_about_images(leaking(digits, 7), Recipe())


def test_copies_in_different_folds_and_among_the_test_images_are_counted(digits: ImageData) -> None:
    twice = Split(np.concatenate([digits.train.images[:10]] * 2), np.concatenate([digits.train.labels[:10]] * 2))
    apart = replace(digits, validation=twice, train=digits.validation, folds=(10, 10, len(digits.validation.labels)))
    assert count_leaks(apart) == 20  # each is judged in a fold, and trained on for the one of its copy
    together = replace(digits, validation=twice, train=digits.validation, folds=(20, len(digits.validation.labels)))
    assert count_leaks(together) == 0
    assert count_leaks(replace(together, test=twice)) == 20


def test_labels_that_exclude_each_other_are_said_to_be_classes() -> None:
    images, several = patches(20)
    one_each = Split(images, np.eye(3, dtype=several.dtype)[np.arange(20) % 3])
    data = ImageData("x", ("a", "b", "c"), one_each, one_each, one_each)
    with pytest.warns(NasWarning, match="x: each image has exactly one of 3 labels"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*copies of training")
        warn_about_images(data, Recipe())


def test_a_search_of_images_that_stand_twice_in_their_folder_says_so(tmp_path: Path, tiny: SearchSpace) -> None:
    photos = write_photos(tmp_path / "photos", per_class=20)
    for file in list(photos.rglob("*.png")):
        (file.parent / f"again {file.name}").write_bytes(file.read_bytes())
    space = tiny.with_changes(input=nas.Input(3, 12))
    options = {"trials": 1, "runs": tmp_path / "runs", "name": "s", "device": "cpu", "epochs": 1}
    with pytest.warns(NasWarning, match="validation and test images are copies of training images"):
        nas.search(space, str(photos), **options)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error", NasWarning)  # said once
        nas.search(space, str(photos), **{**options, "trials": 2})  # type: ignore[arg-type]
