import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import Input, NasError, load_data
from nas.data.inspection import inspect_source

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 9, 9), dtype=np.uint8)
LABELS = np.arange(40) % 4


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir()
    for split, rows in (("train", slice(0, 32)), ("t10k", slice(32, 40))):
        for kind, array in (("images-idx3", IMAGES[rows]), ("labels-idx1", LABELS[rows])):
            content = idx(array)
            name = f"{split}-{kind}-ubyte"
            (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_without_loss(tmp_path: Path, packed: bool) -> None:
    folder = write_idx(tmp_path / "mnist", packed=packed)
    assert inspect_source(str(folder)).input == Input(1, 9)
    data = load_data(str(folder), Input(1, 9))
    assert data.classes == ("0", "1", "2", "3")
    assert (data.test.images[:][..., 0] == IMAGES[32:]).all()
    assert data.test.labels.tolist() == LABELS[32:].tolist()
    both = np.concatenate([data.train.images[:], data.validation.images[:]])[..., 0]
    assert sorted(map(bytes, both)) == sorted(map(bytes, IMAGES[:32]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"", "is no IDX file of unsigned bytes"),
        ("train-images-idx3-ubyte", bytes([0, 0, 13, 3]) + bytes(12), "is no IDX file of unsigned bytes"),
        ("train-images-idx3-ubyte", idx(IMAGES[:32])[:-1], "is damaged: its length does not fit its header"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 3]) + b"\xff" * 12, "is damaged"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 200]), "is damaged"),
        ("train-images-idx3-ubyte", idx(IMAGES[:31]), "labels must be whole numbers from 0 of shape"),
        ("train-images-idx3-ubyte", idx(IMAGES[:32, 0, 0]), "images must be uint8 of shape"),
    ],
)
def test_a_damaged_idx_file_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    folder = write_idx(tmp_path / "mnist", packed=False)
    (folder / name).write_bytes(content)
    with pytest.raises(NasError, match=message):
        load_data(str(folder), Input(1, 9))


def test_a_damaged_gzip_file_is_one_line(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist")
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(NasError, match=r"train-images-idx3-ubyte.gz cannot be read"):
        load_data(str(folder), Input(1, 9))


@pytest.mark.parametrize("names", [("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")])
def test_npz_files_are_read_by_the_usual_names(tmp_path: Path, names: tuple[str, str]) -> None:
    colour = np.stack([IMAGES] * 3, axis=-1)
    colour[..., 1] //= 2
    arrays: dict[str, Any] = {names[0]: colour, names[1]: LABELS[:, None]}
    np.savez(tmp_path / "a.npz", **arrays)
    data = load_data(str(tmp_path / "a.npz"), Input(3, 9))
    splits = (data.train, data.validation, data.test)
    found = {
        bytes(image): label for split in splits for image, label in zip(split.images[:], split.labels, strict=True)
    }
    assert found == {bytes(image): label for image, label in zip(colour, LABELS, strict=True)}


def test_npz_files_without_images_or_with_objects_are_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", faces=IMAGES)
    with pytest.raises(NasError, match=r"has no arrays 'x_train' and 'y_train', .*it has faces"):
        load_data(str(tmp_path / "a.npz"), Input(1, 9))
    np.savez(tmp_path / "b.npz", x=IMAGES, y=np.array([{}] * 40, dtype=object))
    with pytest.raises(NasError, match=r"cannot be read: .*allow_pickle"):
        load_data(str(tmp_path / "b.npz"), Input(1, 9))
    np.savez(tmp_path / "c.npz", x=IMAGES.astype(float), y=LABELS)
    with pytest.raises(NasError, match="images must be uint8"):
        load_data(str(tmp_path / "c.npz"), Input(1, 9))
    (tmp_path / "d.npz").write_bytes(b"PK no zip")
    with pytest.raises(NasError, match="cannot be read"):
        load_data(str(tmp_path / "d.npz"), Input(1, 9))
