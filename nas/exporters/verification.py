"""Whether a bundle's files do what the trained network does: each is loaded in a fresh process and run on real images.

The fresh process is `python -m nas.exporters.verification BUNDLE HANDOVER FORMAT...`. It gets the images as bytes, the
labels and the logits of the trained network as arrays in the folder HANDOVER, and normalises the images by what the
bundle says.
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
"""So far a logit may be off, as a share of the largest logit, or of 1 where that is smaller."""
BATCH = 256
PACKAGES = ("nas", "torch", "numpy", "safetensors", "onnx", "onnxruntime", "onnxscript")

Logits = NDArray[np.float32]
Model = Callable[["Tensor"], "Tensor"]


class Agreement(NamedTuple):
    """What a file gave: how far its logits are off at most, and its accuracy in [0, 1]."""

    largest_difference: float
    accuracy: float


def verify(
    folder: Path, reference: Logits, *, images: Split, formats: Sequence[str], handover: Path
) -> dict[str, Agreement]:
    """Runs each format of the bundle in a fresh process on these images, and compares with the reference's logits.

    `handover` is an empty folder with room for the images.

    Raises:
        ExportError: a file cannot be loaded or run, or differs by more than `TOLERANCE` allows.
    """
    hand_over(images, reference, handover=handover)
    # -P: not the modules that happen to lie where the command is run; -B: no compiled model.py in the bundle.
    command = [sys.executable, "-P", "-B", "-m", "nas.exporters.verification", str(folder), str(handover), *formats]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ran.returncode:
        last = next(reversed(ran.stderr.strip().splitlines()), f"exit code {ran.returncode}")
        raise ExportError(f"the files cannot be loaded back: {last}")
    found = json.loads((handover / "agreement.json").read_text(encoding="utf-8"))
    agreements = {name: Agreement(**found[name]) for name in formats}
    most = allowed(reference)
    for name, (difference, _) in agreements.items():
        if not difference <= most:  # which holds for NaN as well
            raise ExportError(
                f"{name}: the logits of {FILES[name]} differ from the trained network's by {difference:.3g}; "
                f"allowed: {most:.3g}"
            )
    return agreements


def hand_over(images: Split, reference: Logits, *, handover: Path) -> None:
    """Writes what `agreement` reads beside a bundle."""
    np.save(handover / "reference.npy", reference)
    np.save(handover / "labels.npy", images.labels)
    save_images(handover / "images.npy", images.images)


def agreement(folder: Path, name: str, *, handover: Path) -> Agreement:
    """Loads one format of a bundle in this process and compares it with what is in `handover`."""
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
        # A maximum that keeps NaN, where Python's depends on the order.
        largest = float(np.maximum(largest, np.abs(logits - reference[rows]).max()))
        right += int((logits.argmax(axis=1) == labels[rows]).sum())
    return Agreement(largest, right / len(labels))


def allowed(reference: Logits) -> float:
    """How far a logit may be off."""
    return TOLERANCE * max(1.0, float(np.abs(reference).max()))


def installed() -> dict[str, str]:
    """The versions of what writes and runs the files, where it is installed."""
    versions = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _normalised(images: Images, settings: dict[str, Any]) -> "Tensor":
    """(B, size, size, C) bytes → (B, C, size, size), as preprocessing.json says."""
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
    """What the fresh process does; where it cannot, the last line that it prints says with which format and why."""
    found = {}
    for name in formats:
        try:
            found[name] = agreement(Path(folder), name, handover=Path(handover))._asdict()
        except Exception as error:  # four libraries read files here, each with errors of its own
            sys.exit(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    (Path(handover) / "agreement.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
