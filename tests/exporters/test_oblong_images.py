"""Images that are not square, from a folder of photos to files that classify them elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from nas import Input
from nas.analysis.figures.architecture import drawing_numbers
from tests.test_docs import GUIDE, blocks


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of 24 × 40 pixels, some with something bright at their left edge, which a square crop cuts off."""
    rng = np.random.default_rng(0)
    for label in ("bright", "dark"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(40):
            pixels = rng.integers(0, 90, (24, 40, 3), dtype=np.uint8)
            if label == "bright":
                pixels[8:16, 1:5] = 250
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


def test_they_are_searched_and_exported_in_their_own_proportions(photos: Path, tmp_path: Path) -> None:
    study = nas.search(
        data=str(photos),
        trials=2,
        epochs=12,
        max_flops=300_000,
        name="s",
        runs=tmp_path / "runs",
        device="cpu",
        fidelities=1,
        references=False,
        keep="all",
    )
    assert study.config.space.input == Input(3, 24, 40)
    best = study.front()[-1]
    assert best.accuracy == 1  # what tells them apart is still there
    assert "24×40" in drawing_numbers(best.architecture).labels[0].text
    exported = nas.export(study, tmp_path / "best", formats=["safetensors", "onnx", "python", "web"])
    settings = json.loads((exported.folder / "preprocessing.json").read_text())
    assert (settings["height"], settings["width"]) == (24, 40)
    files = [photos / "bright" / "0.png", photos / "dark" / "0.png"]
    command = [sys.executable, str(exported.folder / "model.py"), *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.rpartition(": ")[2].split()[0] for line in ran.stdout.splitlines()] == ["bright", "dark"]
    (program,) = [each for each in blocks(GUIDE, "python") if "onnxruntime" in each]
    command = [sys.executable, "-c", program]
    for file, line in zip(files, ran.stdout.splitlines(), strict=True):
        there = subprocess.run([*command, file], cwd=exported.folder, capture_output=True, text=True, check=True)
        (label, share), (same, percent, *_) = there.stdout.splitlines()[0].split(), line.rpartition(": ")[2].split()
        assert label == same
        assert float(share.rstrip("%")) == pytest.approx(float(percent.rstrip("%,")), abs=0.2)
    assert "images of 24×40 pixels" in (exported.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_arrays_that_are_not_square_are_searched(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 20, 1), dtype=np.uint8)
    study = nas.search(
        data=(images, np.arange(60) % 3), trials=1, epochs=1, name="s", runs=tmp_path, device="cpu", references=False
    )
    assert study.config.space.input == Input(1, 12, 20)
    assert study.records()[0].trained
