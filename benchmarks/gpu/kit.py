"""Kit: the folder that travels to a machine with a GPU, made by `benchmarks.gpu_prepare`.

It holds CIFAR-10 as it is published on the Hugging Face hub, each image the bytes of its JPEG file, compressed together
(most of a small JPEG are tables that all share); what networks reached on a CPU; and wheels. Nothing of it is needed to
import this module.
"""

import hashlib
import io
import json
import lzma
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from nas import Architecture, ImageData, Recipe, SearchSpace, cost, load_data, load_space
from nas.data.images import Split
from nas.system.cuda_graph import TimedReplay
from nas.system.files import cache_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAINING_IMAGES = 50_000
"""The first ones are CIFAR-10's training images, the other 10,000 its test images."""
SEEDS = (0, 1, 2)
NETWORKS = 10
REPLAYS = 20


class Reference(NamedTuple):
    """A training on a CPU, and the accuracy on the validation images that it reached."""

    data: str
    architecture: Architecture
    seed: int
    accuracy: float


class Kit:
    """The files of a kit's folder.

    Raises:
        SystemExit: the folder is no kit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "images.xz").is_file():
            raise SystemExit(f"{folder}: holds no images.xz; make it with python -m benchmarks.gpu_prepare")

    def images(self, size: int, *, train: int, validation: int, test: int = 0) -> ImageData:
        """CIFAR-10 in `size` (16 or 32) pixels: its first and its last training images, and its first test images."""
        pixels, labels = self._decoded(size)
        held_out = slice(TRAINING_IMAGES - validation, TRAINING_IMAGES)
        tested = slice(TRAINING_IMAGES, TRAINING_IMAGES + (test or 1))
        first, last, test_images = (Split(pixels[rows], labels[rows]) for rows in (slice(train), held_out, tested))
        return ImageData("CIFAR-10", CLASSES, first, last, test_images)

    def arrays(self, count: int) -> tuple[Any, Any]:
        """The first training images of 32 pixels and their labels, as `nas.load_data` takes them."""
        pixels, labels = self._decoded(32)
        return np.array(pixels[:count]), labels[:count]

    def references(self) -> list[Reference]:
        """What `gpu_prepare` has trained on a CPU; empty where it has not."""
        file = self.folder / "cpu.json"
        if not file.is_file():
            return []
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [Reference(**{**row, "architecture": Architecture.from_dict(row["architecture"])}) for row in rows]

    def _decoded(self, size: int) -> tuple[Any, Any]:
        """Images (N, size, size, 3) and labels (N,), decoded once and mapped from then on."""
        labels = np.load(self.folder / "labels.npy")
        # Not in the kit, which travels.
        folder = cache_folder() / f"gpu-kit-{hashlib.sha256(labels.tobytes()).hexdigest()[:16]}"
        file = folder / f"{size}.npy"
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor() as pool:
                decoded = list(pool.map(lambda content: decode(content, size), self._encoded(), chunksize=1000))
            partial = folder / f"{size}.partial.npy"
            np.save(partial, np.stack(decoded))
            partial.replace(file)
        return np.load(file, mmap_mode="r"), labels

    def _encoded(self) -> Iterator[bytes]:
        content = lzma.decompress((self.folder / "images.xz").read_bytes())
        ends = np.cumsum(np.load(self.folder / "lengths.npy")).tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            yield content[start:end]


def pack(encoded: Iterable[bytes], labels: Sequence[int], folder: Path) -> None:
    """Writes the images of a kit; `images.xz` comes last, as it says that all are there."""
    contents = list(encoded)
    np.save(folder / "lengths.npy", np.array([len(content) for content in contents]))
    np.save(folder / "labels.npy", np.array(labels, dtype=np.int64))
    packed = lzma.compress(b"".join(contents), preset=6)
    partial = folder / "images.xz.partial"
    partial.write_bytes(packed)
    partial.replace(folder / "images.xz")


def decode(content: bytes, size: int) -> Any:
    """A JPEG as (size, size, 3) uint8."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR) if image.width != size else image)


def compared() -> dict[str, SearchSpace]:
    """The spaces whose networks are trained on a CPU and on a GPU, by the name of their data."""
    tables = Path(__file__).parents[1] / "tables"
    return {"digits": load_space("digits"), "cifar16": load_space(tables / "cifar16-9.yaml").with_changes(classes=10)}


def compared_images(kit: Kit, data: str) -> ImageData:
    """The images of one of `compared`."""
    if data == "digits":
        return load_data("digits", compared()["digits"].input)
    return kit.images(16, train=3200, validation=1600)


def networks(space: SearchSpace, count: int = NETWORKS) -> list[Architecture]:
    """Random ones, as evenly from the fewest FLOPs to the most as chance allows."""
    rng = np.random.default_rng(0)
    drawn = {(one := space.architecture(space.sample(rng))).key: one for _ in range(500)}
    ordered = sorted(drawn.values(), key=lambda each: (cost(each).flops, each.key))
    return [ordered[round(place)] for place in np.linspace(0, len(ordered) - 1, count)]


def nearest(space: SearchSpace, flops: float) -> Architecture:
    """Of many random networks of a space the one whose FLOPs are nearest."""
    return min(networks(space, 400), key=lambda each: abs(np.log(cost(each).flops / flops)))


def recipe_of(space: SearchSpace, **changes: Any) -> Recipe:
    """The space's recipe with some fields replaced."""
    return Recipe.from_dict({**space.recipe.to_dict(), **changes})


def milliseconds(run: Callable[[], object], device: str) -> float:
    """The median time of replays of `run` as a CUDA graph; on a CPU, where the program is tried, the better of two."""
    if device != "cpu":
        timed = TimedReplay(run, torch.device(device))
        return statistics.median(timed() for _ in range(REPLAYS))
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)
