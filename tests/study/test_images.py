import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import nas
from nas import NasError, SearchSpace
from nas.study.config import StudyConfig
from nas.study.images import images_of, load_described
from tests.helpers import TINY, formula, write_photos

SPACE = SearchSpace.from_dict(TINY)
COLOUR = nas.Input(3, 8)


def search(runs: Path, validation: float | None, trials: int) -> nas.Study:
    """Trains nothing, but on images that are there."""
    return nas.search(
        SPACE, "digits", trials=trials, name="s", runs=runs, validation=validation, evaluate=lambda architecture: 0.5
    )


def test_a_study_keeps_its_split_until_it_is_asked_for_another(tmp_path: Path) -> None:
    study = search(tmp_path, 0.5, 1)
    assert study.config.validation_images == 719
    assert len(images_of(study.config).validation.labels) == 719
    resumed = search(tmp_path, None, 2)
    assert resumed.config == study.config
    with pytest.raises(NasError, match=r"data\.validation_images is 719 there and 400 now"):
        search(tmp_path, 400, 3)


def test_a_study_that_recorded_no_share_held_out_a_fifth() -> None:
    images, description = load_described("digits", SPACE.input, seed=0)
    del description["validation_share"]
    old = StudyConfig(SPACE, description, 0)
    assert images_of(old).fingerprint == images.fingerprint
    assert load_described("digits", SPACE.input, seed=0, known=old)[0].fingerprint == images.fingerprint


def test_a_validation_set_of_its_own_is_not_divided(tmp_path: Path) -> None:
    for split, number in (("train", 10), ("val", 5), ("test", 3)):
        write_photos(tmp_path / split, per_class=number)
    images, description = load_described(str(tmp_path), COLOUR, seed=0)
    assert (len(images.validation.labels), description["validation_share"]) == (10, None)
    with pytest.raises(NasError, match=r"validation=0\.3: .* has a validation set of its own; leave this out"):
        load_described(str(tmp_path), COLOUR, seed=0, validation=0.3)


def test_a_study_whose_images_have_changed_or_moved_says_so(tmp_path: Path, tiny: SearchSpace) -> None:
    photos = write_photos(tmp_path / "photos", per_class=12)
    (next(photos.rglob("*.png")).parent / "broken.png").write_bytes(b"no image")
    space = tiny.with_changes(input=nas.Input(3, 12))
    given: Any = {"name": "s", "runs": tmp_path, "evaluate": formula}
    nas.search(space, str(photos), trials=1, skip_bad_images=True, **given)
    again = nas.search(
        space, str(photos), **given
    )  # the broken file is left out, and one training is the budget, still
    assert len(again.records()) == 1
    with pytest.raises(NasError, match=r"study 's' exists with another configuration: .*data.validation_images is"):
        nas.search(space, str(photos), validation=0.4, **given)
    Image.new("RGB", (12, 12)).save(next(photos.rglob("*.png")).parent / "more.png")
    with pytest.raises(
        NasError, match=r"study 's': its images have changed since it began.*: put back what was removed"
    ):
        nas.search(space, str(photos), **given)
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(NasError, match="photos: the study's images are not there any more; name where they are now"):
        nas.search(space, name="s", runs=tmp_path)


def test_images_of_one_class_are_no_data_to_search_on(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", per_class=12)
    shutil.rmtree(sorted(photos.iterdir())[0])
    with pytest.raises(NasError, match=r"photos: has 1 class; a classifier needs at least 2"):
        nas.search(None, str(photos), runs=tmp_path)
