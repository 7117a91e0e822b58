"""quantize(): rounds an ONNX model to 8-bit integers, calibrated on training images."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.images import ImageData

__all__ = ["quantize"]

CALIBRATED_ON, BATCH = 256, 32
"""Training images whose activations give the ranges that the integers cover."""


def quantize(model: Path, out: Path, *, images: ImageData, input_name: str) -> None:
    """Writes an ONNX model with the convolutions and the classifier in 8-bit integers (static quantisation, QDQ).

    Weights have a scale for each output channel (Jacob et al., arXiv:1712.05877); activations have one for each tensor,
    from its extremes on training images. Both are signed, which every processor computes exactly.

    Args:
        model: the ONNX file to read.
        out: the ONNX file to write.
        images: the images that the network was trained with.
        input_name: name of the model's input.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._batches = _batches(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {input_name: batch}

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises a preprocessing that the folded model has had already
    try:
        quantize_static(
            model,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logger.setLevel(level)


def _batches(images: ImageData) -> Iterator[NDArray[np.float32]]:
    """Yields normalised training images (B, channels, height, width), the same ones every time."""
    count = len(images.train.labels)
    rows = np.sort(np.random.default_rng(0).choice(count, min(count, CALIBRATED_ON), replace=False))
    mean, std = (np.array(values, np.float32) for values in images.normalization)
    for start in range(0, len(rows), BATCH):
        chosen = images.train.images[rows[start : start + BATCH]]
        yield ((chosen / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
