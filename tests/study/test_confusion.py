from pathlib import Path

import numpy as np
import pytest

from nas import NasError
from nas.study.artifacts import load_confusion, save_array


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    matrix = np.array([[5, 1], [0, 7]])
    save_array(tmp_path / "m.npy", matrix)
    loaded = load_confusion(tmp_path / "m.npy")
    assert loaded is not None
    assert (loaded == matrix).all()
    assert load_confusion(tmp_path / "none.npy") is None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.npy").write_bytes(content)
    with pytest.raises(NasError, match="is damaged"):
        load_confusion(tmp_path / "m.npy")


@pytest.mark.parametrize("array", [np.zeros((2, 3), dtype=int), np.zeros((2, 2)), np.full((2, 2), -1)])
def test_an_array_that_is_no_confusion_matrix_is_one_line(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(NasError, match="is damaged"):
        load_confusion(tmp_path / "m.npy")
