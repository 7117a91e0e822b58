import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from benchmarks.browser import CHROMIUM, browsing
from benchmarks.exports import random_data, random_network
from nas.architectures.architecture import STRIDED, Architecture, Input, Stage, StemConv
from nas.architectures.network import GroupConvNet
from nas.data.images import ImageData
from nas.data.resizing import RESIZES
from nas.exporters.formats import write_formats
from nas.exporters.web_page import noise, web_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STAGES = (Stage(2, 12, 4, 16, 1), Stage(1, 16, 16, 24, 2), Stage(2, 8, 1, 24, 1))
COLOUR = Architecture(Input(3, 13), 4, (StemConv(8), StemConv(8, 2)), STAGES)  # its second stage halves 7 pixels
GREY = Architecture(Input(1, 13), 4, COLOUR.stem, STAGES, STRIDED)
OBLONG = Architecture(Input(3, 11, 24), 4, COLOUR.stem, STAGES)


def in_chromium(test: Callable[..., None]) -> Callable[..., None]:
    reason = "there is no Chromium"
    marked: Callable[..., None] = pytest.mark.slow(pytest.mark.skipif(CHROMIUM is None, reason=reason)(test))
    return marked


def data_of(architecture: Architecture, resize: str = "crop") -> ImageData:
    return replace(random_data(architecture.input, architecture.classes, 12, np.random.default_rng(0)), resize=resize)


def network_of(architecture: Architecture) -> GroupConvNet:
    return random_network(architecture, np.random.default_rng(3))


def bundle_of(architecture: Architecture, folder: Path, resize: str = "crop") -> Path:
    """The page, and model.py beside it, which has to give the same."""
    data = data_of(architecture, resize)
    network = network_of(architecture)
    with torch.no_grad():
        network.classifier.weight.mul_(0.2)  # probabilities that are not 0 or 1
    write_formats(folder, network, architecture=architecture, formats=["safetensors", "python", "web"], images=data)
    mean, std = data.normalization
    height, width = architecture.input.sides
    settings = {"height": height, "width": width, "mean": mean, "std": std, "resize": resize}
    (folder / "preprocessing.json").write_text(json.dumps(settings))
    (folder / "labels.json").write_text(json.dumps(data.classes))
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    pytest.importorskip("playwright")
    with browsing() as opened:
        yield opened


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


def shown(page: "Page", *files: Path) -> list[dict[str, float]]:
    """The probabilities that the page shows for some files, in their order."""
    page.locator("#drop input").set_input_files(files)
    page.locator("#results li .name, #results li .bad").nth(len(files) - 1).wait_for(state="attached")
    found = []
    for item in page.locator("#results li").all():
        names = item.locator(".class span").all_inner_texts()
        values = item.locator(".class output").all_inner_texts()
        found.append({name: float(value.split()[0]) for name, value in zip(names, values, strict=True)})
    return found[: len(files)][::-1]


def test_no_name_of_a_class_ends_the_script() -> None:
    data = data_of(COLOUR)
    hostile = ImageData("x", ("</script><b>", "<!--", "ö", "4"), data.train, data.train, data.train)
    source = web_page(network_of(COLOUR), COLOUR, hostile)
    assert "</script><b>" not in source
    assert "\\u003c/script>" in source
    network = source.split('id="network">')[1].split("</script>")[0]
    assert json.loads(network)["classes"] == list(hostile.classes)


def test_noise_is_noise_and_always_the_same() -> None:
    images = noise(2, COLOUR)
    assert images.shape == (2, 3, 13, 13)
    assert images.ravel()[:3].tolist() == [60, 94, 129]  # by hand: (1 · 1664525 + 1013904223) >> 24, and so on
    assert len(np.unique(images)) > 200
    assert 110 < images.mean() < 145


def said_by_model_py(folder: Path, files: Sequence[Path]) -> list[dict[str, float]]:
    command = [sys.executable, str(folder / "model.py"), *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.rpartition(": ")[2].replace(" %", "").split(", ") for line in ran.stdout.splitlines()]
    return [{name: float(value) for name, value in (each.split() for each in line)} for line in lines]


@in_chromium
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("architecture", [COLOUR, GREY, OBLONG], ids=["colour", "grey", "oblong"])
def test_it_checks_itself_and_gives_what_model_py_gives(
    architecture: Architecture, resize: str, page: "Page", tmp_path: Path
) -> None:
    folder, rng = bundle_of(architecture, tmp_path, resize), np.random.default_rng(1)
    shapes = [(13, 13), (40, 91), (200, 64), (9, 7), (120, 120)]
    files = [tmp_path / f"{number}.png" for number in range(len(shapes))]
    for file, (height, width) in zip(files, shapes, strict=True):
        channels = () if architecture is GREY else (4,)  # some of it transparent
        Image.fromarray(rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)).save(file)
    page.goto((folder / "model.html").as_uri())
    page.get_by_text("Checked on this device").wait_for()
    for found, expected in zip(shown(page, *files), said_by_model_py(folder, files), strict=True):
        assert found.keys() == expected.keys()
        assert list(found.values()) == pytest.approx(list(expected.values()), abs=0.11 if architecture is GREY else 1.0)


@in_chromium
def test_it_says_what_it_cannot_read_and_what_it_changed(page: "Page", tmp_path: Path) -> None:
    folder = bundle_of(GREY, tmp_path)
    (tmp_path / "note.png").write_text("no image")
    Image.new("RGB", (30, 20), (200, 30, 30)).save(tmp_path / "red.png")
    page.goto((folder / "model.html").as_uri())
    shown(page, tmp_path / "note.png", tmp_path / "red.png")
    page.get_by_text("note.png: cannot be read as an image").wait_for()
    page.get_by_text("in colour: the network takes grey images, so it was made grey").wait_for()


@in_chromium
def test_it_says_when_it_computes_wrongly(page: "Page", tmp_path: Path) -> None:
    file = bundle_of(COLOUR, tmp_path) / "model.html"
    source = file.read_text(encoding="utf-8")
    file.write_text(source.replace('"seed": 1', '"seed": 2'), encoding="utf-8")
    page.goto(file.as_uri())
    page.get_by_text("Do not trust its answers").wait_for()


@in_chromium
def test_ten_digits_are_classified_rightly(page: "Page", tmp_path: Path) -> None:
    space = nas.load_space("digits").with_changes(max_flops=400_000)
    study = nas.search(space, "digits", trials=2, epochs=10, fidelities=1, runs=tmp_path, name="s", device="cpu")
    nas.export(study, tmp_path / "best", formats=["web"])
    digits = nas.load_data("digits", study.config.space.input).test
    rows = [int(np.flatnonzero(digits.labels == digit)[3]) for digit in range(10)]
    files = [tmp_path / f"{digit}.png" for digit in range(10)]
    for file, image in zip(files, digits.images[np.array(rows)], strict=True):
        Image.fromarray(image[..., 0]).save(file)
    page.goto((tmp_path / "best" / "model.html").as_uri())
    named = [max(found, key=lambda name: found[name]) for found in shown(page, *files)]
    assert sum(name == str(digit) for digit, name in enumerate(named)) >= 9
