"""Deviation of exported files' logits from the trained network's, and what 8-bit integers cost and bring.

Random architectures of each ready space, with random weights and BatchNorm statistics, on random images, one figure for
each architecture. Files are read in a process that has not written them. Relative is to the largest logit, or to 1
where that is smaller; an export is refused above 0.0001. Integers are compared with ONNX in floats: the share of images
that both put into one class, the ratio of their sizes, and that of their times for one image by one thread.
"""

import json
import multiprocessing
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.architectures.network import CBR, GroupConvNet, build_network
from nas.data.images import ImageData, Split
from nas.exporters.formats import EXACT, FILES, INT8, write_formats
from nas.exporters.tolerance import TOLERANCE, allowed
from nas.exporters.verification import (
    ARCHITECTURE_FILE,
    PREPROCESSING_FILE,
    agreement,
    hand_over,
    onnx_milliseconds,
)
from nas.spaces.built_in import load_space
from nas.spaces.search_space import SearchSpace
from nas.system.resources import ready_spaces

ARCHITECTURES, IMAGES = 20, 64
GROUPS, REPEATS = (1, 2, 4, 8, 16, 32), 5


def measure() -> Iterator[tuple[str, list[float], str]]:
    """For each space and format what each architecture gives; then the time of integers by the number of groups."""
    for name in ready_spaces():
        space, rng = load_space(name), np.random.default_rng(0)
        found = defaultdict[tuple[str, str], list[float]](list)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            for _ in range(ARCHITECTURES):
                architecture = random_architecture(space, rng)
                with tempfile.TemporaryDirectory() as folder:
                    for (what, unit), value in _measured(Path(folder), architecture, rng, fresh):
                        found[what, unit].append(value)
        for (what, unit), values in found.items():
            yield f"{name}, {what}", values, unit
    yield from _by_groups()


def _measured(
    folder: Path, architecture: Architecture, rng: np.random.Generator, fresh: ProcessPoolExecutor
) -> Iterator[tuple[tuple[str, str], float]]:
    """What is measured of one architecture, with its unit."""
    data = random_data(architecture.input, architecture.classes, IMAGES, rng)
    reference = _written(folder, random_network(architecture, rng), architecture, data)
    for kind in EXACT:
        difference = fresh.submit(agreement, folder, kind, handover=folder).result().largest_difference
        yield (f"{kind}: absolute", ""), difference
        yield (f"{kind}: relative", ""), difference / allowed(reference) * TOLERANCE
    same = fresh.submit(agreement, folder, INT8, handover=folder).result().accuracy
    yield ("integers: in the same class", "%"), 100 * same
    float_bytes, int_bytes = ((folder / FILES[kind]).stat().st_size for kind in ("onnx", INT8))
    yield ("integers: size, of floats'", ""), int_bytes / float_bytes
    times = fresh.submit(onnx_milliseconds, folder, ["onnx", INT8]).result()
    yield ("integers: times as fast", ""), times["onnx"] / times[INT8]


def _by_groups() -> Iterator[tuple[str, list[float], str]]:
    rng = np.random.default_rng(0)
    for groups in GROUPS:
        stages = tuple(Stage(2, mid, groups, 2 * mid, stride) for mid, stride in ((64, 1), (128, 2), (256, 2)))
        architecture = Architecture(Input(3, 32), 10, (StemConv(32),), stages)
        times = defaultdict[str, list[float]](list)
        with tempfile.TemporaryDirectory() as folder:
            data = random_data(architecture.input, 10, IMAGES, rng)
            _written(Path(folder), random_network(architecture, rng), architecture, data)
            for _ in range(REPEATS):
                for kind, milliseconds in onnx_milliseconds(Path(folder), ["onnx", INT8]).items():
                    times[kind].append(milliseconds)
        for kind, values in times.items():
            yield f"groups: {groups}, {kind}: an image by one thread", values, "ms"


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


def _written(folder: Path, network: GroupConvNet, architecture: Architecture, data: ImageData) -> NDArray[np.float32]:
    """Writes all formats and what checks them, the network's own classes as labels; gives the logits to expect."""
    images, (mean, std) = data.validation.images[:], data.normalization
    with torch.inference_mode():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        normalised = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        reference: NDArray[np.float32] = network(normalised).numpy()
    write_formats(folder, network, architecture=architecture, formats=[*EXACT, INT8], images=data)
    (folder / ARCHITECTURE_FILE).write_text(architecture.to_yaml(), encoding="utf-8")
    (folder / PREPROCESSING_FILE).write_text(json.dumps({"mean": mean, "std": std}), encoding="utf-8")
    hand_over(Split(images, reference.argmax(axis=1)), reference, handover=folder)
    return reference
