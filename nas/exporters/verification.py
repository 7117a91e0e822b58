"""Verifies a bundle: loads each file in a fresh process and compares its logits with the network's on real images.

The fresh process is `python -m nas.exporters.verification BUNDLE HANDOVER FORMAT...`. It reads the images (as bytes),
the labels and the reference logits as arrays from the folder HANDOVER, and normalises the images as the bundle's
preprocessing.json specifies.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.data.cache import save_images
from nas.data.images import Images, Split
from nas.errors import ExportError
from nas.exporters.formats import FILES, INPUT, OUTPUT

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ARCHITECTURE_FILE",
    "PREPROCESSING_FILE",
    "TOLERANCE",
    "Agreement",
    "agreement",
    "allowed",
    "hand_over",
    "installed",
    "verify",
]

ARCHITECTURE_FILE, PREPROCESSING_FILE = "architecture.yaml", "preprocessing.json"
TOLERANCE = 1e-4
"""Maximum deviation of a logit, relative to the largest reference logit, or to 1 if that is smaller."""
BATCH = 256
PACKAGES = ("nas", "torch", "numpy", "safetensors", "onnx", "onnxruntime", "onnxscript")

Logits = NDArray[np.float32]
Model = Callable[["Tensor"], "Tensor"]


class Agreement(NamedTuple):
    """Result of running one file: the largest logit difference, and the share of images classified rightly."""

    largest_difference: float
    accuracy: float


def verify(
    folder: Path, reference: Logits, *, images: Split, formats: Sequence[str], handover: Path
) -> dict[str, Agreement]:
    """Runs each format of a bundle on images in a fresh process and compares its logits with the reference.

    Args:
        folder: the bundle.
        reference: logits (N, classes) of the trained network on `images`.
        images: the images and labels to run on.
        formats: the formats to verify.
        handover: an empty folder with room for the images.

    Returns:
        The agreement of each format.

    Raises:
        ExportError: a file cannot be loaded or run, or differs by more than `TOLERANCE` allows.
    """
    hand_over(images, reference, handover=handover)
    # -P: no imports from the current directory; -B: no compiled model.py in the bundle.
    command = [sys.executable, "-P", "-B", "-m", "nas.exporters.verification", str(folder), str(handover), *formats]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ran.returncode:
        last = next(reversed(ran.stderr.strip().splitlines()), f"exit code {ran.returncode}")
        raise ExportError(f"the files cannot be loaded back: {last}")
    found = json.loads((handover / "agreement.json").read_text(encoding="utf-8"))
    agreements = {name: Agreement(**found[name]) for name in formats}
    most = allowed(reference)
    for name, (difference, _) in agreements.items():
        if not difference <= most:  # also true for NaN
            raise ExportError(
                f"{name}: the logits of {FILES[name]} differ from the trained network's by {difference:.3g}; "
                f"allowed: {most:.3g}"
            )
    return agreements


def hand_over(images: Split, reference: Logits, *, handover: Path) -> None:
    """Writes the images, the labels and the reference logits for `agreement` into `handover`."""
    np.save(handover / "reference.npy", reference)
    np.save(handover / "labels.npy", images.labels)
    save_images(handover / "images.npy", images.images)


def agreement(folder: Path, name: str, *, handover: Path) -> Agreement:
    """Loads one format of a bundle in this process and compares it with the reference in `handover`.

    Args:
        folder: the bundle.
        name: the format.
        handover: the folder that `hand_over` filled.
    """
    import torch

    images, labels, reference = (
        np.load(handover / f"{array}.npy", mmap_mode="r", allow_pickle=False)
        for array in ("images", "labels", "reference")
    )
    settings = json.loads((folder / PREPROCESSING_FILE).read_text(encoding="utf-8"))
    model, largest, right = _LOADERS[name](folder), 0.0, 0
    for start in range(0, len(labels), BATCH):
        rows = slice(start, start + BATCH)
        with torch.inference_mode():
            logits = model(_normalised(np.array(images[rows]), settings)).numpy()
        # np.maximum propagates NaN; Python's max() depends on the order.
        largest = float(np.maximum(largest, np.abs(logits - reference[rows]).max()))
        right += int((logits.argmax(axis=1) == labels[rows]).sum())
    return Agreement(largest, right / len(labels))


def allowed(reference: Logits) -> float:
    """Returns the maximum deviation of a logit from the reference, in absolute terms."""
    return TOLERANCE * max(1.0, float(np.abs(reference).max()))


def installed() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that write and run the files."""
    versions = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _normalised(images: Images, settings: dict[str, Any]) -> "Tensor":
    """Normalises images as preprocessing.json specifies: (B, size, size, C) bytes → (B, C, size, size)."""
    import torch

    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("mean", "std"))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def _load_onnx(folder: Path) -> Model:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(folder / FILES["onnx"]), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])


def _load_pt2(folder: Path) -> Model:
    import torch

    return torch.export.load(folder / FILES["pt2"]).module()


def _load_safetensors(folder: Path) -> Model:
    from nas.architectures.network import build_network
    from nas.architectures.weights import load_weights

    network = build_network(Architecture.from_yaml(folder / ARCHITECTURE_FILE))
    network.load_state_dict(load_weights(folder / FILES["safetensors"]))
    return network.eval()


def _load_python(folder: Path) -> Model:
    spec = spec_from_file_location("model", folder / FILES["python"])
    assert spec is not None
    assert spec.loader is not None
    program = module_from_spec(spec)
    spec.loader.exec_module(program)
    network: Model = program.load()
    return network


_LOADERS = {"onnx": _load_onnx, "pt2": _load_pt2, "safetensors": _load_safetensors, "python": _load_python}


def _main(folder: str, handover: str, *formats: str) -> None:
    """Entry point of the fresh process; on failure, its last line of stderr names the format and the cause."""
    found = {}
    for name in formats:
        try:
            found[name] = agreement(Path(folder), name, handover=Path(handover))._asdict()
        except Exception as error:  # four libraries read files here, each with its own errors
            sys.exit(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    (Path(handover) / "agreement.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
