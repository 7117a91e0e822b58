import numpy as np
import pytest

from nas import Input, NasError, load_data
from nas.data import ImageData


def arrays(counts: tuple[int, ...], *, size: int = 4, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), size, size, channels), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels)) % 256  # so that each image can be told
    images[:, 0, 1, 0] = np.arange(len(labels)) // 256
    return images, labels


def load(counts: tuple[int, ...], *, seed: int = 0, max_images: int | None = None) -> ImageData:
    return load_data(arrays(counts), Input(3, 4), seed=seed, max_images=max_images)


def identities(data: ImageData) -> list[set[int]]:
    return [
        set((split.images[:, 0, 0, 0] + 256 * split.images[:, 0, 1, 0].astype(int)).tolist())
        for split in (data.train, data.validation, data.test)
    ]


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
    assert np.array_equal(part.test.images, whole.test.images)
    assert np.bincount(np.concatenate([part.train.labels, part.validation.labels])).tolist() == [40, 80]


def test_fingerprint_changes_with_a_pixel() -> None:
    images, labels = arrays((30, 30))
    before = load_data((images.copy(), labels), Input(3, 4)).fingerprint
    images[:, 2, 2, 2] = 1
    assert load_data((images, labels), Input(3, 4)).fingerprint != before


def test_normalization_is_that_of_the_training_images() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 2), dtype=np.uint8)
    data = load_data((images, np.arange(60) % 3), Input(2, 4))
    pixels = data.train.images.reshape(-1, 2) / 255
    assert data.normalization.mean == pytest.approx(pixels.mean(axis=0))
    assert data.normalization.std == pytest.approx(pixels.std(axis=0))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), np.arange(4), "shape"),
        (np.zeros((4, 4, 5, 3), np.uint8), np.arange(4), "shape"),
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
        (np.zeros((9, 8, 8, 3), np.uint8), np.arange(9) % 2, "size 8.*input.size is 4"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(NasError, match=message):
        load_data((images, labels), Input(3, 4))
