import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import Input, NasError, load_data
from nas.data import images as data_module
from nas.data import splitting
from nas.data.images import ImageData, MappedImages, chunks, train_on_all


def arrays(counts: tuple[int, ...], *, size: int = 4, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), size, size, channels), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels)) % 256  # so that each image can be told
    images[:, 0, 1, 0] = np.arange(len(labels)) // 256
    return images, labels


def load(
    counts: tuple[int, ...], *, seed: int = 0, max_images: int | None = None, validation: float | None = None
) -> ImageData:
    return load_data(arrays(counts), Input(3, 4), seed=seed, max_images=max_images, validation=validation)


def identities(data: ImageData) -> list[set[int]]:
    whole = [split.images[:] for split in (data.train, data.validation, data.test)]
    return [set((images[:, 0, 0, 0] + 256 * images[:, 0, 1, 0].astype(int)).tolist()) for images in whole]


def test_splits_are_disjoint_stratified_and_whole() -> None:
    data = load((100, 300, 40))
    train, validation, test = identities(data)
    assert train | validation | test == set(range(440))
    assert len(train) + len(validation) + len(test) == 440
    assert np.bincount(data.test.labels).tolist() == [20, 60, 8]
    assert np.bincount(data.validation.labels).tolist() == [16, 48, 6]


def test_splits_depend_on_the_seed_alone() -> None:
    assert load((30, 30), seed=1).fingerprint == load((30, 30), seed=1).fingerprint
    assert load((30, 30), seed=1).fingerprint != load((30, 30), seed=2).fingerprint


def test_max_images_keeps_a_stratified_part_and_the_whole_test_set() -> None:
    whole, part = load((200, 400)), load((200, 400), max_images=120)
    assert np.array_equal(part.test.images[:], whole.test.images[:])
    assert np.bincount(np.concatenate([part.train.labels, part.validation.labels])).tolist() == [40, 80]


@pytest.mark.parametrize(
    ("validation", "share", "held_out"), [(None, 0.2, [16, 48, 6]), (0.5, 0.5, [40, 120, 16]), (88, 0.25, [20, 60, 8])]
)
def test_validation_is_a_share_or_a_number_of_images(
    validation: float | None, share: float, held_out: list[int]
) -> None:
    whole, data = load((100, 300, 40)), load((100, 300, 40), validation=validation)
    assert identities(data)[2] == identities(whole)[2]  # the test set stays
    assert set.union(*identities(data)) == set(range(440))
    assert np.bincount(data.validation.labels).tolist() == held_out
    assert data.validation_share == share
    again = load((100, 300, 40), validation=share)
    assert again.fingerprint == data.fingerprint  # so a study needs to record the share alone


def test_of_many_images_no_more_are_held_out_than_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "MOST_VALIDATION", 40)
    assert len(load((100, 300)).validation.labels) == 40
    assert len(load((20, 60)).validation.labels) == 13  # a fifth


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (0, "validation=0: must be from 1e-06 to 351"),
        (352, "validation=352: must be from 1e-06 to 351"),
        (float("nan"), "validation=nan: must be a number"),
        ("many", "validation='many': must be a number"),
        (0.99, "with 0.99 of each class held out, none of the 32 images of class '2' would be left to train on"),
    ],
)
def test_a_validation_set_that_cannot_be_is_refused(validation: Any, message: str) -> None:
    with pytest.raises(NasError, match=message):
        load((100, 300, 40), validation=validation)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_the_validation_images_can_join_those_to_train_on(tmp_path: Path, is_mapped: bool) -> None:
    images, labels = arrays((100, 300, 40))
    if is_mapped:
        np.save(tmp_path / "images.npy", images)
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = load_data((images, labels), Input(3, 4))
    joined = train_on_all(data)
    train, validation, test = identities(data)
    assert identities(joined) == [train | validation, test, test]
    assert len(joined.train.labels) == len(data.train.labels) + len(data.validation.labels)
    assert isinstance(joined.train.images, MappedImages) == is_mapped
    first = joined.train.images[:1][0, 0, :2, 0].astype(int)
    assert joined.train.labels[0] == labels[first[0] + 256 * first[1]]
    assert joined.fingerprint != data.fingerprint


def test_fingerprint_changes_with_a_pixel() -> None:
    images, labels = arrays((30, 30))
    before = load_data((images.copy(), labels), Input(3, 4)).fingerprint
    images[:, 2, 2, 2] = 1
    assert load_data((images, labels), Input(3, 4)).fingerprint != before


def test_normalization_is_that_of_the_training_images() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 2), dtype=np.uint8)
    data = load_data((images, np.arange(60) % 3), Input(2, 4))
    pixels = data.train.images[:].reshape(-1, 2) / 255
    assert data.normalization.mean == pytest.approx(pixels.mean(axis=0))
    assert data.normalization.std == pytest.approx(pixels.std(axis=0))


@pytest.mark.parametrize(
    ("seed", "max_images", "fingerprint", "mean", "std"),
    [
        (0, None, "8358429372070415", 0.3049904388340914, 0.37559441262489957),
        (1, None, "ae39ddb21137d62e", 0.3062611795369755, 0.3764560558290858),
        (0, 500, "0814828768e83d36", 0.30703228659885007, 0.37698847727223017),
    ],
)
def test_splits_fingerprint_and_normalization_are_those_of_existing_studies(
    seed: int, max_images: int | None, fingerprint: str, mean: float, std: float
) -> None:
    data = load_data("digits", Input(1, 8), seed=seed, max_images=max_images)
    assert data.fingerprint == fingerprint
    assert data.normalization.mean == pytest.approx((mean,), rel=1e-12)
    assert data.normalization.std == pytest.approx((std,), rel=1e-12)


def test_passes_over_the_data_are_made_in_parts_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 4, 4, 3), dtype=np.uint8)
    given = (images, np.arange(90) % 3)
    whole = load_data(given, Input(3, 4))
    monkeypatch.setattr(data_module, "CHUNK_BYTES", 200)
    parts = load_data(given, Input(3, 4))
    assert [len(part) for part in chunks(images[:10])] == [4, 4, 2]
    assert parts.normalization == whole.normalization
    sha = hashlib.sha256()
    for split in (whole.train, whole.validation):
        sha.update(split.images[:].tobytes() + split.labels.tobytes())
    assert parts.fingerprint == whole.fingerprint == sha.hexdigest()[:16]


@pytest.mark.parametrize("max_images", [None, 40])
def test_splits_of_a_map_are_rows_of_it_and_hold_what_splits_of_an_array_do(
    tmp_path: Path, max_images: int | None
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    labels = np.arange(90) % 3
    ours = load_data((mapped, labels), Input(3, 4), max_images=max_images)
    theirs = load_data((images, labels), Input(3, 4), max_images=max_images)
    for name in ("train", "validation", "test"):
        split, expected = getattr(ours, name), getattr(theirs, name)
        assert isinstance(split.images, MappedImages)
        assert split.images.array is mapped
        assert isinstance(expected.images, np.ndarray)
        assert split.images.shape == expected.images.shape
        assert len(split.images) == len(expected.images)
        assert np.array_equal(split.labels, expected.labels)
        for rows in (slice(None), slice(2, 7), np.array([5, 0, 5]), split.labels == 1):
            assert np.array_equal(split.images[rows], expected.images[rows])
    assert ours.describe() == theirs.describe()
    assert ours.normalization == theirs.normalization
    assert ours.input == theirs.input


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), np.arange(4), "shape"),
        (np.zeros((4, 4, 0, 3), np.uint8), np.arange(4), "shape"),
        (np.zeros((4, 4, 4, 3)), np.arange(4), "uint8"),
        (np.zeros((4, 4, 4, 3), np.uint8), np.arange(5), "labels"),
        (np.zeros((4, 4, 4, 3), np.uint8), np.arange(4) / 2, "whole numbers"),
        (np.zeros((4, 4, 4, 3), np.uint8), np.array([0, 0, 1, -1]), "count from 0"),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int), "holds no images"),
        (np.zeros((4, 4, 4, 3), np.uint8), np.zeros(4, int), "at least 2"),
        (np.zeros((4, 4, 4, 3), np.uint8), np.array([0, 0, 0, 9]), "fewer images"),
        (np.zeros((9, 4, 4, 3), np.uint8), np.array([0] * 4 + [2] * 5), "class '1' has no training images"),
        (np.zeros((6, 4, 4, 3), np.uint8), np.array([0] * 5 + [1]), "class '1' has too few images"),
        (np.zeros((9, 4, 4, 1), np.uint8), np.arange(9) % 2, "channels 1.*input.channels is 3"),
        (np.zeros((9, 4, 8, 3), np.uint8), np.arange(9) % 2, "size 4×8, but the space's input is 4×4"),
        (np.zeros((9, 8, 8, 3), np.uint8), np.arange(9) % 2, "size 8×8, but the space's input is 4×4"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_data((images, labels), Input(3, 4))
