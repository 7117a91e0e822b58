"""Deviation of exported files' logits from the trained network's: the largest difference of each architecture.

Random architectures of each ready space, with random weights and BatchNorm statistics, on random images. Files are read
in a process that has not written them. Relative is to the largest logit, or to 1 where that is smaller; an export is
refused above 0.0001.
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

from nas.architectures.architecture import Architecture
from nas.architectures.network import CBR, GroupConvNet, build_network
from nas.data.images import Split
from nas.exporters.formats import FORMATS, write_formats
from nas.exporters.verification import ARCHITECTURE_FILE, PREPROCESSING_FILE, TOLERANCE, agreement, allowed, hand_over
from nas.spaces.built_in import load_space
from nas.spaces.search_space import SearchSpace
from nas.system.resources import ready_spaces

ARCHITECTURES, IMAGES = 30, 8
MEAN, STD = 0.45, 0.25


def measure() -> Iterator[tuple[str, list[float], str]]:
    """For each space and format the largest absolute and relative difference of each architecture."""
    for name in ready_spaces():
        space, rng = load_space(name), np.random.default_rng(0)
        absolute, relative = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            for _ in range(ARCHITECTURES):
                architecture = random_architecture(space, rng)
                with tempfile.TemporaryDirectory() as folder:
                    reference = _written(Path(folder), random_network(architecture, rng), architecture, rng=rng)
                    for kind in FORMATS:
                        found = fresh.submit(agreement, Path(folder), kind, handover=Path(folder)).result()
                        absolute[kind].append(found.largest_difference)
                        relative[kind].append(found.largest_difference / allowed(reference) * TOLERANCE)
        for kind in FORMATS:
            yield f"{name}, {kind}: absolute, {len(absolute[kind])} architectures", absolute[kind], ""
            yield f"{name}, {kind}: relative", relative[kind], ""


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


def _written(
    folder: Path, network: GroupConvNet, architecture: Architecture, *, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Writes all formats and what checks them; gives the logits that they should give."""
    channels, size = architecture.input.channels, architecture.input.size
    images = rng.integers(0, 256, (IMAGES, size, size, channels), dtype=np.uint8)
    with torch.inference_mode():
        normalised = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - MEAN) / STD
        reference: NDArray[np.float32] = network(normalised).numpy()
    write_formats(folder, network, architecture=architecture, formats=FORMATS)
    (folder / ARCHITECTURE_FILE).write_text(architecture.to_yaml(), encoding="utf-8")
    settings = {"size": size, "channels": channels, "mean": [MEAN] * channels, "std": [STD] * channels}
    (folder / PREPROCESSING_FILE).write_text(json.dumps(settings), encoding="utf-8")
    hand_over(Split(images, np.zeros(IMAGES, dtype=np.int64)), reference, handover=folder)
    return reference
