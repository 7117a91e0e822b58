"""Confusion matrices as files: how often an image of class i (row) was taken for class j (column)."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import StudyError
from nas.system.files import write_whole

__all__ = ["load_confusion", "save_confusion"]


def save_confusion(path: Path, matrix: NDArray[np.int64]) -> None:
    """Writes a matrix (classes, classes) as an `.npy` file. Whole or not at all."""
    content = io.BytesIO()
    np.save(content, matrix, allow_pickle=False)
    write_whole(path, content.getvalue())


def load_confusion(path: Path) -> NDArray[np.int64] | None:
    """Reads what `save_confusion` wrote; None where there is no such file.

    Raises:
        StudyError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:  # as a map: a header that lies about the shape is no reason to ask for so much memory
        matrix: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, RecursionError):
        matrix = np.zeros(0)
    square = matrix.ndim == 2 and len(set(matrix.shape)) == 1
    if not square or matrix.dtype.kind not in "iu" or (matrix < 0).any():
        raise StudyError(f"{path}: is damaged: not a confusion matrix")
    return np.asarray(matrix, dtype=np.int64)
