"""What each format of an export computes and costs: deviation of logits, time for an image, and size.

    python -m benchmarks.exports [FILE...] [--spaces SPACE...]
    python -m benchmarks.exports --groups

Random architectures of each ready space that keep its budgets, with random weights and BatchNorm statistics, on random
images. Files are run in a process that has not written them, by one thread; `model.html` in Chromium, on the first
four images, as a browser is slow. Shown are, over the architectures, the largest deviation of a logit from the trained
network's (relative to its largest one, or to 1 if that is smaller; an export is refused above 0.0001), the share of the
images that are put into the same class (mean and least), and medians of milliseconds for one image and of the size of
the files. What was measured is kept in benchmarks/results/exports and printed again; of the rest, what is not installed
is left out.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.browser import browsing
from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.network import CBR, GroupConvNet, build_network
from nas.architectures.onnx_model import INPUT
from nas.data.images import ImageData, Split
from nas.exporters.formats import FILES, INT8, LITERT, WEB, checked_formats, write_formats
from nas.exporters.tolerance import TOLERANCE, allowed
from nas.exporters.verification import ARCHITECTURE_FILE, LOADERS, Model, onnx_milliseconds
from nas.spaces.built_in import load_space
from nas.spaces.search_space import SearchSpace
from nas.system.resources import ready_spaces

RESULTS = Path(__file__).parent / "results" / "exports"
ARCHITECTURES, IMAGES, WARM_UP, RUNS = 20, 64, 5, 30
IMAGES_OF_A_PAGE, RUNS_OF_A_PAGE = 4, 5
GROUPS, REPEATS = (1, 2, 4, 8, 16, 32), 5


class Runtime(NamedTuple):
    """What runs an export: the package that it needs, the format and the files that it reads, and how it is loaded.

    `load` is None for the page, which a browser runs.
    """

    needs: str
    format: str
    files: tuple[str, ...]
    load: Callable[[Path], Model] | None


def _onnxruntime(folder: Path, *, file: str) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])


def _openvino(folder: Path) -> Model:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 where a CPU has it
    model = openvino.Core().compile_model(folder / FILES["onnx"], "CPU", settings)
    return lambda images: torch.from_numpy(model([images.numpy()])[0])


WEIGHTS = FILES["safetensors"]
RUNTIMES = {
    "`model.safetensors`, torch": Runtime("torch", "safetensors", (WEIGHTS,), LOADERS["safetensors"]),
    "`model.py`, torch": Runtime("torch", "python", (FILES["python"], WEIGHTS), LOADERS["python"]),
    "`model.pt2`, torch": Runtime("torch", "pt2", (FILES["pt2"],), LOADERS["pt2"]),
    "`model.onnx`, ONNX Runtime": Runtime(
        "onnxruntime", "onnx", (FILES["onnx"],), partial(_onnxruntime, file=FILES["onnx"])
    ),
    "`model.onnx`, OpenVINO": Runtime("openvino", "onnx", (FILES["onnx"],), _openvino),
    "`model.int8.onnx`, ONNX Runtime": Runtime(
        "onnxruntime", INT8, (FILES[INT8],), partial(_onnxruntime, file=FILES[INT8])
    ),
    "`model.tflite`, LiteRT": Runtime("litert_torch", LITERT, (FILES[LITERT],), LOADERS[LITERT]),
    "`model.html`, Chromium": Runtime("playwright", WEB, (FILES[WEB],), None),
}


class Measured(NamedTuple):
    """Of one architecture: relative deviation of logits, share of images in the same class, ms for one image, bytes."""

    deviation: float
    same: float
    milliseconds: float
    size: int


def measure(space: str, names: Sequence[str]) -> Iterator[tuple[str, list[Measured]]]:
    """Yields what each runtime gives for the architectures of a space."""
    found = {name: _kept(space, name) for name in names}
    if missing := [name for name, measured in found.items() if not measured]:
        formats = checked_formats(sorted({RUNTIMES[name].format for name in missing}), load_space(space).input.channels)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
            for folder, reference, pixels in _written(load_space(space), formats):
                for name in missing:
                    run = _run_page if RUNTIMES[name].load is None else _run
                    logits, milliseconds = other.submit(run, folder, name, pixels).result()
                    deviation = float(np.abs(logits - reference[: len(logits)]).max()) / allowed(reference) * TOLERANCE
                    same = float((logits.argmax(axis=1) == reference[: len(logits)].argmax(axis=1)).mean())
                    size = sum((folder / file).stat().st_size for file in RUNTIMES[name].files)
                    found[name].append(Measured(deviation, same, milliseconds, size))
        for name in missing:
            _keep(space, name, found[name])
    yield from found.items()


def _run(folder: Path, name: str, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    torch.set_num_threads(1)
    load, images = RUNTIMES[name].load, torch.from_numpy(pixels)
    assert load is not None
    model = load(folder)

    def timed(image: Tensor) -> float:
        start = time.perf_counter()
        model(image)
        return 1000 * (time.perf_counter() - start)

    with torch.inference_mode():
        logits = model(images).numpy().copy()  # the runtime may reuse its memory
        times = [timed(images[:1]) for _ in range(WARM_UP + RUNS)]
    return logits, statistics.median(times[WARM_UP:])


RUN_PAGE = """([images, shape, runs]) => {
  const [channels, height, width] = shape;
  const values = images.map(image => ({ channels, height, width, values: Float32Array.from(image) }));
  const logits = values.map(image => [...logitsOf(image)]), times = [];
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    logitsOf(values[0]);
    times.push(performance.now() - start);
  }
  return [logits, times];
}"""


def _run_page(folder: Path, name: str, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    with browsing() as browser:
        page = browser.new_page()
        page.goto((folder / RUNTIMES[name].files[0]).as_uri())
        images = pixels[:IMAGES_OF_A_PAGE].reshape(IMAGES_OF_A_PAGE, -1).tolist()
        logits, times = page.evaluate(RUN_PAGE, [images, pixels.shape[1:], RUNS_OF_A_PAGE])
    return np.array(logits, np.float32), statistics.median(times)


def _kept(space: str, name: str) -> list[Measured]:
    file = _file(space, name)
    return [Measured(*each) for each in json.loads(file.read_text())] if file.exists() else []


def _keep(space: str, name: str, measured: Sequence[Measured]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps([float(f"{value:.4g}") for value in each[:3]] + [each.size]) for each in measured)
    _file(space, name).write_text(f"[\n{lines}\n]\n")


def _file(space: str, name: str) -> Path:
    return RESULTS / f"{space}-{name.replace('`', '').replace(', ', '-').replace(' ', '-')}.json"


def by_groups() -> Iterator[tuple[str, list[float]]]:
    """Yields the milliseconds for one image in floats and in integers, repeatedly, for each number of groups."""
    rng = np.random.default_rng(0)
    for groups in GROUPS:
        stages = tuple(Stage(2, mid, groups, 2 * mid, stride) for mid, stride in ((64, 1), (128, 2), (256, 2)))
        architecture = Architecture(Input(3, 32), 10, (StemConv(32),), stages)
        times = defaultdict[str, list[float]](list)
        with tempfile.TemporaryDirectory() as folder:
            data, network = random_data(architecture.input, 10, IMAGES, rng), random_network(architecture, rng)
            write_formats(Path(folder), network, architecture=architecture, formats=["onnx", INT8], images=data)
            for _ in range(REPEATS):
                for kind, milliseconds in onnx_milliseconds(Path(folder), ["onnx", INT8]).items():
                    times[kind].append(milliseconds)
        for kind, values in times.items():
            yield f"{groups}, {kind}", values


def random_architecture(space: SearchSpace, rng: np.random.Generator) -> Architecture:
    """One of a space that keeps its budgets."""
    while True:
        architecture = space.architecture(space.sample(rng))
        if space.fits(architecture):
            return architecture


def random_network(architecture: Architecture, rng: np.random.Generator) -> GroupConvNet:
    """A network in evaluation mode whose BatchNorms do something, as those of a trained one."""
    torch.manual_seed(int(rng.integers(2**31)))
    network = build_network(architecture).eval()
    for block in network.modules():
        if isinstance(block, CBR):
            norm = block[1]
            assert isinstance(norm, torch.nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            torch.nn.init.normal_(norm.running_mean, std=0.5)
            torch.nn.init.uniform_(norm.running_var, 0.3, 3.0)
            torch.nn.init.uniform_(norm.weight, 0.3, 1.5)
            torch.nn.init.normal_(norm.bias, std=0.3)
    return network


def random_data(shape: Input, classes: int, count: int, rng: np.random.Generator) -> ImageData:
    """Images of noise, the same ones for training and validation."""
    images = rng.integers(0, 256, (count, *shape.sides, shape.channels), dtype=np.uint8)
    split = Split(images, np.arange(count) % classes)
    return ImageData("noise", tuple(map(str, range(classes))), split, split, split)


def _written(
    space: SearchSpace, formats: Sequence[str]
) -> Iterator[tuple[Path, NDArray[np.float32], NDArray[np.float32]]]:
    """Yields for each architecture the folder of its files, its logits, and the normalised images that give them."""
    rng = np.random.default_rng(0)
    for _ in range(ARCHITECTURES):
        architecture = random_architecture(space, rng)
        data = random_data(architecture.input, architecture.classes, IMAGES, rng)
        network = random_network(architecture, rng)
        mean, std = (torch.tensor(values)[:, None, None] for values in data.normalization)
        pixels = (torch.from_numpy(data.validation.images[:]).permute(0, 3, 1, 2) / 255 - mean) / std
        with torch.inference_mode():
            reference = network(pixels).numpy()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / ARCHITECTURE_FILE).write_text(architecture.to_yaml(), encoding="utf-8")
            write_formats(folder, network, architecture=architecture, formats=formats, images=data)
            yield folder, reference, pixels.contiguous().numpy()


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help="model.onnx and so on; all by default")
    parser.add_argument("--spaces", nargs="+", default=ready_spaces())
    parser.add_argument("--groups", action="store_true", help="measure 8-bit integers by the number of groups instead")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in the other process, else sums differ in their last digits
    if options.groups:
        print("| groups | median | lowest | highest |\n|---|---|---|---|")
        for what, values in by_groups():
            print(f"| {what} | {statistics.median(values):.3g} | {min(values):.3g} | {max(values):.3g} |", flush=True)
        return
    asked = [name for name, each in RUNTIMES.items() if not options.files or each.files[0] in options.files]
    print("| space | file, run by | deviation | same class | ms | KiB |\n|---|---|---|---|---|---|")
    for space in options.spaces:
        names = [name for name in asked if _kept(space, name) or find_spec(RUNTIMES[name].needs)]
        for name, measured in measure(space, names):
            deviation, same, milliseconds, size = zip(*measured, strict=True)
            cells = (
                space,
                name,
                f"{max(deviation):.1g}",
                f"{100 * statistics.fmean(same):.1f} %, {100 * min(same):.1f} %",
                f"{statistics.median(milliseconds):.3g}",
                f"{statistics.median(size) / 1024:,.0f}",
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
