"""Verifies a bundle: loads each file in a fresh process and compares its logits with the network's on real images.

Only the model of 8-bit integers may differ: in its accuracy, by so much.

The fresh process is `python -m nas.exporters.verification BUNDLE HANDOVER FORMAT...`. It reads the images (as bytes),
the labels and the reference logits as arrays from the folder HANDOVER, and normalises the images as the bundle's
preprocessing.json specifies.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture
from nas.architectures.onnx_model import INPUT, OUTPUT
from nas.data.cache import save_images
from nas.data.images import Images, Split
from nas.errors import ExportError
from nas.exporters.formats import ACCEPTED_LOSS, EXACT, FILES, INT8, LITERT
from nas.exporters.litert import load_litert
from nas.exporters.tolerance import allowed
from nas.training.metrics import ACCURACY, METRIC_NAMES, score_of_logits
from nas.units import percent_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ARCHITECTURE_FILE",
    "LOADERS",
    "PREPROCESSING_FILE",
    "Agreement",
    "Model",
    "agreement",
    "hand_over",
    "installed",
    "verify",
]

ARCHITECTURE_FILE, PREPROCESSING_FILE = "architecture.yaml", "preprocessing.json"
BATCH = 256
ROUNDS, RUNS_PER_ROUND = 10, 20
PACKAGES = (
    "nas",
    "torch",
    "numpy",
    "safetensors",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "litert-torch",
    "ai-edge-litert",
)

Logits = NDArray[np.float32]
Model = Callable[["Tensor"], "Tensor"]


METRIC_FILE = "metric.txt"


class Agreement(NamedTuple):
    """Result of running one file: the largest logit difference, and the accuracy by the study's metric.

    `milliseconds` is the median for one image by one thread, measured where a bundle has two ONNX models to compare.
    """

    largest_difference: float
    accuracy: float
    milliseconds: float | None = None

    def to_dict(self) -> dict[str, float]:
        """Returns what was measured, as verification.json has it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def verify(
    folder: Path,
    reference: Logits,
    *,
    images: Split,
    formats: Sequence[str],
    handover: Path,
    metric: str = ACCURACY,
    accept_loss: float = ACCEPTED_LOSS,
) -> dict[str, Agreement]:
    """Runs each format of a bundle on images in a fresh process and compares its logits with the reference.

    Args:
        folder: the bundle.
        reference: logits (N, classes) of the trained network on `images`.
        images: the images and labels to run on.
        formats: the formats to verify.
        handover: an empty folder with room for the images.
        metric: what accuracy is, one of `nas.training.metrics.METRICS`.
        accept_loss: the accuracy that the model of 8-bit integers may lose, in [0, 1].

    Returns:
        The agreement of each format that can be run here.

    Raises:
        ExportError: a file cannot be loaded or run, differs by more than `TOLERANCE` allows, or loses more accuracy
            than is accepted.
    """
    formats = [name for name in formats if name in LOADERS]
    hand_over(images, reference, handover=handover, metric=metric)
    # -P: no imports from the current directory; -B: no compiled model.py in the bundle.
    command = [sys.executable, "-P", "-B", "-m", "nas.exporters.verification", str(folder), str(handover), *formats]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ran.returncode:
        last = next(reversed(ran.stderr.strip().splitlines()), f"exit code {ran.returncode}")
        raise ExportError(f"the files cannot be loaded back: {last}")
    found = json.loads((handover / "agreement.json").read_text(encoding="utf-8"))
    agreements = {name: Agreement(**found[name]) for name in formats}
    most = allowed(reference)
    for name in (*EXACT, LITERT):
        if name in agreements and not (difference := agreements[name].largest_difference) <= most:  # also true for NaN
            raise ExportError(
                f"{name}: the logits of {FILES[name]} differ from the trained network's by {difference:.3g}; "
                f"allowed: {most:.3g}"
            )
    if INT8 in agreements:
        before, after = score_of_logits(metric, reference, images.labels), agreements[INT8].accuracy
        lost = before - after
        if not lost <= accept_loss:
            raise ExportError(
                f"{INT8}: reaches {percent_text(after)} {METRIC_NAMES[metric]}, the trained network "
                f"{percent_text(before)}: {100 * lost:.1f} points lost, {100 * accept_loss:g} accepted "
                "(--accept-loss); leave the format out, or accept more"
            )
    return agreements


def hand_over(images: Split, reference: Logits, *, handover: Path, metric: str = ACCURACY) -> None:
    """Writes the images, the labels, the reference logits and the metric for `agreement` into `handover`."""
    (handover / METRIC_FILE).write_text(metric, encoding="utf-8")
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
    model, largest = LOADERS[name](folder), 0.0
    found = []
    for start in range(0, len(labels), BATCH):
        rows = slice(start, start + BATCH)
        with torch.inference_mode():
            found.append(model(_normalised(np.array(images[rows]), settings)).numpy())
        # np.maximum propagates NaN; Python's max() depends on the order.
        largest = float(np.maximum(largest, np.abs(found[-1] - reference[rows]).max()))
    metric = (handover / METRIC_FILE).read_text(encoding="utf-8")
    return Agreement(largest, score_of_logits(metric, np.nan_to_num(np.concatenate(found)), labels))


def onnx_milliseconds(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Returns the median time that each ONNX model takes for one image by one thread; they take turns."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {name: onnxruntime.InferenceSession(str(folder / FILES[name]), options) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            _, *shape = session.get_inputs()[0].shape
            image = {INPUT: np.zeros((1, *shape), np.float32)}
            session.run(None, image)  # the other model evicted its weights from the caches
            for _ in range(RUNS_PER_ROUND):
                start = time.perf_counter()
                session.run(None, image)
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in times.items()}


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
    """Normalises images as preprocessing.json specifies: (B, height, width, C) bytes → (B, C, height, width)."""
    import torch

    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("mean", "std"))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def _load_onnx(folder: Path, file: str = FILES["onnx"]) -> Model:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
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


LOADERS: Mapping[str, Callable[[Path], Model]] = {
    "onnx": _load_onnx,
    "pt2": _load_pt2,
    "safetensors": _load_safetensors,
    "python": _load_python,
    INT8: partial(_load_onnx, file=FILES[INT8]),
    LITERT: lambda folder: load_litert(folder / FILES[LITERT]),
}
"""How each format of a bundle is loaded as a function from normalised images (N, C, height, width) to logits."""


def _main(folder: str, handover: str, *formats: str) -> None:
    """Entry point of the fresh process; on failure, its last line of stderr names the format and the cause."""
    found = {}
    for name in formats:
        try:
            found[name] = agreement(Path(folder), name, handover=Path(handover)).to_dict()
        except Exception as error:  # four libraries read files here, each with its own errors
            sys.exit(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    if INT8 in formats:
        for name, milliseconds in onnx_milliseconds(Path(folder), ["onnx", INT8]).items():
            found[name]["milliseconds"] = milliseconds
    (Path(handover) / "agreement.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
