"""What tests share: a tiny space, an objective that trains nothing, small photos, programs in fresh processes."""

import copy
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from nas.architectures.architecture import Architecture
from nas.architectures.cost import cost

if TYPE_CHECKING:
    import pytest

TINY = {
    "name": "tiny",
    "input": {"channels": 1, "size": 8},
    "stem": [{"width": 8}],
    "stages": [
        {"depth": [1, 2], "mid": [8, 12, 16], "groups": [1, 2, 3, 4], "out": 16, "stride": 2},
        {"depth": 1, "mid": [8, 16, 32], "groups": [1, 4, 8, 16], "out": [16, 32]},
    ],
    "recipe": {"epochs": 2, "batch_size": 64, "crop_padding": 1},
}

AUGMENTED: dict[str, Any] = {
    "flip": True,
    "flip_vertical": True,
    "rotation": 15,
    "color_jitter": 0.3,
    "cutout": 0.3,
    "mixup": 0.4,
    "cutmix": 0.4,
    "random_augment": 1,
}
"""Fields of a recipe with every augmentation."""


def formula(architecture: Architecture, report: Callable[[int, float], None]) -> float:
    """One's own training, as `evaluate=` takes it: an accuracy that grows with FLOPs, plus a little of its own."""
    amounts = cost(architecture)
    accuracy = min(0.99, 0.5 + 0.05 * np.log10(amounts.flops) + (int(architecture.key, 16) % 100) / 2000)
    report(1, accuracy / 2)
    report(2, accuracy)
    return float(accuracy)


def changed(whole: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of nested dicts and lists with one value replaced: `changed(space, "stages.0.mid", 8)`."""
    data = copy.deepcopy(whole)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = data
    for part in way:
        place = place[part]
    place[last] = value
    return data


def has_trials(name: str, runs: Path) -> bool:
    """Whether a study that another process makes is there, with a trial."""
    from nas import NasError, Study  # not above: worker processes import this module for `formula`

    with suppress(NasError):  # it is being created
        return bool(Study.open(name, runs).records())
    return False


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def write_photos(root: Path, *, per_class: int = 8, classes: tuple[str, ...] = ("cat", "dog"), size: int = 12) -> Path:
    """An image folder of small colour photos, each class of its own hue."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 80, (size, size + 4, 3), dtype=np.uint8)
            pixels[..., index % 3] += 150
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


def checkpoint_every_epoch(monkeypatch: "pytest.MonkeyPatch") -> None:
    """Trainings write a checkpoint after each epoch, however short, instead of for a small share of their time."""
    from nas.training import checkpoint  # not above either

    monkeypatch.setattr(checkpoint, "SHARE_OF_TIME", 1e9)
    monkeypatch.setattr(checkpoint, "SECONDS_BEFORE_FIRST", 0.0)


def at_most(seconds: float) -> float:
    """A limit on seconds, three times as long where other tests run beside this one on the same cores."""
    return 3 * seconds if "PYTEST_XDIST_WORKER" in os.environ else seconds


PATCHES = ("blue", "green", "red")


def patches(number: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 16, 16, 3) with patches of any of the colours `PATCHES` on grey noise, and which these are (N, 3)."""
    rng = np.random.default_rng(seed)
    images = np.repeat(rng.integers(0, 120, (number, 16, 16, 1), dtype=np.uint8), 3, axis=3)
    labels = (rng.random((number, len(PATCHES))) < 0.4).astype(np.int64)
    for image, label in np.argwhere(labels):
        y, x = rng.integers(0, 12, 2)
        images[image, y : y + 5, x : x + 5, 2 - label] = 230
    return images, labels


def write_patches(folder: Path, number: int) -> Path:
    """Writes `patches` as files, and returns the CSV file that lists them with their labels."""
    rows = ["path,labels"]
    for index, (image, has) in enumerate(zip(*patches(number), strict=True)):
        Image.fromarray(image).save(folder / f"{index}.png")
        rows.append(f"{index}.png,{';'.join(np.array(PATCHES)[has == 1])}")
    file = folder / "list.csv"
    file.write_text("\n".join(rows))
    return file
