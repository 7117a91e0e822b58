"""The export formats of a bundle: their files, their requirements, and their writers.

None of them is a pickle, and none contains a path of the machine that wrote it.
"""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nas.architectures.architecture import Architecture
from nas.architectures.onnx_model import INPUT, require_onnx, traced, write_onnx
from nas.errors import ExportError, InvalidValue
from nas.exporters.litert import require_litert, write_litert
from nas.exporters.standalone import standalone_source
from nas.validation import one_of, sequence, shown

if TYPE_CHECKING:
    from nas.architectures.network import GroupConvNet
    from nas.data.images import ImageData

__all__ = [
    "ACCEPTED_LOSS",
    "EXACT",
    "FILES",
    "FORMATS",
    "INT8",
    "LITERT",
    "USUAL",
    "WEB",
    "checked_formats",
    "write_formats",
]

EXACT = ("onnx", "pt2", "safetensors", "python")
"""Formats that compute the same as the trained network, which is verified when they are written."""
INT8, WEB, LITERT = "onnx-int8", "web", "litert"
"""ONNX in 8-bit integers, which may lose accuracy; a page for browsers, which verifies itself when it is opened; and
LiteRT, exact as well, which needs large packages of its own."""
ACCEPTED_LOSS = 0.01
"""Accuracy that the integers may lose, unless more is accepted."""
FORMATS = (*EXACT, INT8, WEB, LITERT)
USUAL = (*EXACT, WEB)
"""The formats that are written unless others are asked for."""
PICTURES = (1, 3)
"""Numbers of channels of pictures, grey and in colour, which a page can read."""
FILES = {
    "onnx": "model.onnx",
    "pt2": "model.pt2",
    "safetensors": "model.safetensors",
    "python": "model.py",
    INT8: "model.int8.onnx",
    WEB: "model.html",
    LITERT: "model.tflite",
}
"""File name of each format."""


class _Model(NamedTuple):
    """The input of all writers."""

    network: "GroupConvNet"
    architecture: Architecture
    images: "ImageData"
    notes: Mapping[str, str]
    thresholds: Sequence[float]


def checked_formats(formats: Sequence[str], channels: int) -> tuple[str, ...]:
    """Returns the formats to write, in the order of `FORMATS`: the requested ones and those they depend on.

    The usual ones are without the page for browsers if the network's images have `channels` that no picture file has.

    Raises:
        InvalidValue: `formats` is empty, or one of them is unknown, repeated, or not for such images.
        MissingExtra: a format needs an extra that is not installed.
    """
    asked = {one_of(name, "formats", FORMATS) for name in sequence(formats, "formats")}
    if len(asked) != len(formats):
        raise InvalidValue(f"formats={shown(list(formats))}: each at most once; allowed: {', '.join(FORMATS)}")
    if WEB in asked and channels not in PICTURES:
        if asked != set(USUAL):
            raise InvalidValue(
                f"formats={WEB}: a page reads pictures, and the network's images have {channels} channels"
            )
        asked.remove(WEB)
    if INT8 in asked:
        asked.add("onnx")  # it is made from that file, and judged beside it
    if "onnx" in asked:
        require_onnx()
    if LITERT in asked:
        require_litert()
    if "python" in asked:
        asked.add("safetensors")  # the program reads its weights from that file
    return tuple(name for name in FORMATS if name in asked)


def write_formats(
    folder: Path,
    network: "GroupConvNet",
    *,
    architecture: Architecture,
    formats: Sequence[str],
    images: "ImageData",
    notes: Mapping[str, str] | None = None,
    thresholds: Sequence[float] = (),
) -> None:
    """Writes a network into `folder` in each of `formats`.

    The exported models map any number of normalised images (N, channels, height, width) to logits (N, classes). The
    output is deterministic: the same network gives the same bytes.

    Args:
        folder: the existing folder to write to.
        network: the network, in evaluation mode and on the CPU.
        architecture: its architecture.
        formats: the formats, from `checked_formats`.
        images: the images that it was trained with.
        notes: additional entries of the safetensors header.
        thresholds: the probability from which on each label is given; empty: an image has exactly one.

    Raises:
        ExportError: the installed torch would write pickles into a format.
    """
    model = _Model(network, architecture, images, notes or {}, thresholds)
    for name in formats:
        _WRITERS[name](model, folder / FILES[name])


def _write_safetensors(model: _Model, path: Path) -> None:
    from nas.architectures.weights import save_weights

    save_weights(path, model.network.state_dict(), model.architecture, notes=model.notes)


def _write_python(model: _Model, path: Path) -> None:
    path.write_text(standalone_source(model.architecture, model.thresholds), encoding="utf-8")


def _write_pt2(model: _Model, path: Path) -> None:
    import torch

    content = io.BytesIO()  # torch's own error for a full disk is unhelpful
    torch.export.save(traced(model.network, model.architecture), content)
    with zipfile.ZipFile(content) as archive:  # older torch versions use torch.save, which pickles
        if any(member.filename.endswith(".pt") and member.file_size for member in archive.infolist()):
            raise ExportError(f"pt2: torch {torch.__version__} puts pickles into it; a newer torch does not")
    path.write_bytes(content.getvalue())


def _write_int8(model: _Model, path: Path) -> None:
    from nas.exporters.quantization import quantize

    quantize(path.with_name(FILES["onnx"]), path, images=model.images, input_name=INPUT)


def _write_web(model: _Model, path: Path) -> None:
    from nas.exporters.web_page import web_page

    page = web_page(model.network, model.architecture, model.images, thresholds=model.thresholds)
    path.write_text(page, encoding="utf-8")


_WRITERS: Mapping[str, Callable[[_Model, Path], None]] = {
    "onnx": lambda model, path: write_onnx(model.network, model.architecture, path),
    "pt2": _write_pt2,
    "safetensors": _write_safetensors,
    "python": _write_python,
    INT8: _write_int8,
    WEB: _write_web,
    LITERT: lambda model, path: write_litert(model.network, model.architecture, path),
}
