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
from tests.helpers import write_photos


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
