"""model.py: the program of a bundle, with Pillow and without, and with nothing but torch."""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import nas
from benchmarks.exports import random_data, random_network
from nas.architectures.architecture import Architecture, Input, Stage, StemConv
from nas.data.loading import _decode
from nas.data.resizing import RESIZES, resized
from nas.exporters.formats import write_formats
from nas.exporters.standalone import standalone_source
from nas.exporters.templates import model as program

MODES = ("L", "LA", "RGB", "RGBA", "P")
SIZES = ((1, 1), (7, 5), (13, 8), (40, 64))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
TORCH_ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(["numpy", "PIL", "safetensors", "onnx", "onnxruntime", "nas", "lightning"]))
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def of_colour(channels: int) -> Architecture:
    stages = (Stage(2, 12, 4, 16, 1), Stage(1, 16, 2, 24, 2))
    return Architecture(Input(channels, 16), 4, (StemConv(8), StemConv(8, 2)), stages)


def write_folder(folder: Path, architecture: Architecture) -> Path:
    channels = architecture.input.channels
    height, width = architecture.input.sides
    settings = {"height": height, "width": width, "mean": MEAN[:channels], "std": STD[:channels]}
    (folder / "preprocessing.json").write_text(json.dumps(settings))
    (folder / "labels.json").write_text(json.dumps(["cat", "dog", "cow", "hen"], ensure_ascii=False))
    network = random_network(architecture, np.random.default_rng(0))
    images = random_data(architecture.input, 4, 4, np.random.default_rng(0))
    write_formats(folder, network, architecture=architecture, formats=["safetensors", "python"], images=images)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("colour"), of_colour(3))


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "own"))


def imported(folder: Path) -> ModuleType:
    spec = spec_from_file_location("model_of_a_bundle", folder / "model.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, *arguments: object, torch_alone: bool = False) -> subprocess.CompletedProcess[str]:
    command = ["-c", TORCH_ALONE, "model.py"] if torch_alone else ["model.py"]
    return subprocess.run(
        [sys.executable, "-B", *command, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )


def picture(mode: str, size: tuple[int, int], *, seed: int = 0) -> Image.Image:
    """Smooth in one half, noise in the other: so encoders choose different filters for the lines."""
    rng, (width, height) = np.random.default_rng(seed), size
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 1}[mode]
    pixels = np.add.outer(np.arange(height) * 5, np.arange(width) * 3)[..., None] + np.arange(bands) * 40
    pixels[height // 2 :] = rng.integers(0, 256, pixels[height // 2 :].shape)
    content = (pixels % 256).astype(np.uint8)
    image = Image.fromarray(content[..., 0] if bands == 1 else content, mode="L" if bands == 1 else mode)
    if mode == "P":
        image = Image.frombytes("P", size, content[..., 0].tobytes())
        image.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


def on_white(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        colours = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(lines: bytes, size: tuple[int, int], *, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_png_files_are_read_as_pillow_reads_them(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    picture(mode, size).save(tmp_path / "a.png")
    ours = program.read_png(tmp_path / "a.png")
    assert ours.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(ours.numpy(), on_white(tmp_path / "a.png"), atol=int(mode in ("LA", "RGBA")), rtol=0)


@pytest.mark.parametrize(
    ("mode", "transparency"), [("L", 6), ("RGB", (6, 46, 86)), ("P", bytes(range(200))), ("P", 3), ("P", b"\0")]
)
def test_a_transparent_colour_or_palette_shows_white(mode: str, transparency: Any, tmp_path: Path) -> None:
    picture(mode, (13, 8)).save(tmp_path / "a.png", transparency=transparency)
    truth = on_white(tmp_path / "a.png")
    assert (truth == 255).all(axis=2).any()
    np.testing.assert_allclose(program.read_png(tmp_path / "a.png").numpy(), truth, atol=1, rtol=0)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_every_filter_is_undone(colour: int, tmp_path: Path) -> None:
    samples, (width, height) = program.SAMPLES[colour], (9, 15)
    rng = np.random.default_rng(colour)
    lines = b"".join(bytes([row % 5]) + rng.bytes(width * samples) for row in range(height))  # any bytes are a picture
    (tmp_path / "a.png").write_bytes(png(lines, (width, height), colour=colour))
    np.testing.assert_allclose(
        program.read_png(tmp_path / "a.png").numpy(), on_white(tmp_path / "a.png"), atol=int(colour > 3), rtol=0
    )


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (64, 48), (101, 37), (5, 8), (1, 30), (300, 301)])
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("frame", [(16, 16), (24, 16), (9, 30)])
def test_images_are_fitted_as_pillow_fits_them(size: tuple[int, int], resize: str, frame: tuple[int, int]) -> None:
    image = picture("RGB", size)
    ours = program.fit(torch.tensor(np.asarray(image), dtype=torch.float32), frame, resize)
    truth = np.asarray(resized(image, frame[::-1], resize))
    difference = np.abs(ours.permute(1, 2, 0).numpy() - truth)
    # Enlarged by simple fractions, many values are halves, which Pillow's fixed-point numbers may round down.
    tied = frame[0] != frame[1]
    assert difference.max() <= (2 if tied else 1)
    assert difference.mean() < (0.4 if tied else 0.05)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "install Pillow to read it"),
        (b"\xff\xd8\xff\xe0 a photo", "install Pillow to read it"),
        (png(b"\0\0\0" * 2, (1, 2), depth=16), "install Pillow to read it"),
        (png(b"\0\0" * 2, (1, 2), interlaced=1), "install Pillow to read it"),
        (png(b"\0\0" * 2, (1, 2))[:40], "cannot be read as an image"),
        (png(b"\0\0" * 2, (1, 2)).replace(b"IDAT", b"IDAX"), "cannot be read as an image"),
        (png(b"\0\0", (1, 2)), "cannot be read as an image"),
        (png(b"\5\0" * 2, (1, 2)), "cannot be read as an image"),
        (png(b"\0\0" * 2, (1, 2), colour=3), "cannot be read as an image"),
        (png(b"\0\0" * 2, (1, 2), colour=5), "cannot be read as an image"),
        (png(b"", (0, 0)), "cannot be read as an image"),
        (png(b"", (2**31, 2**32 - 1)), "cannot be read as an image"),
    ],
)
def test_what_is_no_plain_png_file_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(program.Unusable, match=rf"a\.png: {message}"):
        program.read_png(tmp_path / "a.png")


def _sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture("RGB", (40, 30)).save(path, exif=exif)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("large.jpg", lambda path: picture("L", (90, 70)).save(path)),
        ("palette.png", lambda path: picture("L", (31, 20)).convert("P").save(path, transparency=3)),
        ("alpha.png", lambda path: picture("LA", (31, 20)).save(path)),
        (
            "deep.png",
            lambda path: Image.fromarray(np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30)).save(path),
        ),
        ("colour.png", lambda path: picture("RGBA", (31, 20)).save(path)),
        ("turned.jpg", _sideways),
    ],
)
def test_images_are_prepared_as_in_training(
    channels: int, name: str, write: Callable[[Path], None], folder: Path, tmp_path: Path
) -> None:
    write(tmp_path / name)
    grey = name not in ("colour.png", "turned.jpg")
    model = imported(folder if channels == 3 else write_folder(tmp_path, of_colour(1)))
    if channels == 1 and not grey:
        with pytest.raises(model.Unusable, match="is in colour"):
            model.preprocess(tmp_path / name)
        return
    _, pixels = _decode(tmp_path / name, name, Input(channels, 16))
    assert pixels is not None
    expected = (pixels / 255 - MEAN[:channels]) / STD[:channels]
    np.testing.assert_allclose(model.preprocess(tmp_path / name)[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(33, 20), (20, 90), (16, 16), (1, 40)])
def test_images_are_resized_as_in_training(resize: str, size: tuple[int, int], tmp_path: Path) -> None:
    model = imported(write_folder(tmp_path, of_colour(3)))
    settings = json.loads((tmp_path / "preprocessing.json").read_text())
    (tmp_path / "preprocessing.json").write_text(json.dumps({**settings, "resize": resize}))
    picture("RGB", size).save(tmp_path / "a.png")
    _, pixels = _decode(tmp_path / "a.png", "a", Input(3, 16), resize=resize)
    assert pixels is not None
    expected = (pixels / 255 - MEAN) / STD
    np.testing.assert_allclose(model.preprocess(tmp_path / "a.png")[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_torch_alone_is_enough_and_gives_the_same(folder: Path, tmp_path: Path) -> None:
    picture("RGBA", (33, 20)).save(tmp_path / "a.png")
    picture("RGB", (12, 30)).save(tmp_path / "b.png")
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    alone, beside_others = run(folder, *photos, torch_alone=True), run(folder, *photos)
    assert (alone.returncode, alone.stderr, beside_others.stderr) == (0, "", "")
    for ours, theirs, photo in zip(alone.stdout.splitlines(), beside_others.stdout.splitlines(), photos, strict=True):
        assert ours.startswith(f"{photo}: ")
        assert ours.count("%") == 3
        assert ours.split()[1] == theirs.split()[1]
        assert float(ours.split()[2]) == pytest.approx(float(theirs.split()[2]), abs=1)


@pytest.mark.slow
def test_how_to_use_it_and_what_goes_wrong(folder: Path, tmp_path: Path) -> None:
    ran = run(folder)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: python model.py IMAGE")
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    picture("RGB", (20, 20)).save(tmp_path / "b.png")
    ran = run(folder, tmp_path / "a.jpg", tmp_path / "none.png", tmp_path / "b.png")
    assert ran.returncode == 2
    assert ran.stderr == f"{tmp_path}/a.jpg: cannot be read as an image\n{tmp_path}/none.png: no such file\n"
    assert ran.stdout.startswith(f"{tmp_path}/b.png: ")
    alone = run(folder, tmp_path / "a.jpg", torch_alone=True)
    assert alone.returncode == 2
    assert alone.stderr.startswith(f"{tmp_path}/a.jpg: install Pillow to read it")
    assert alone.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_name_of_a_class_moves_no_cursor(own_folder: Path, tmp_path: Path) -> None:
    labels = json.loads((own_folder / "labels.json").read_text())
    (own_folder / "labels.json").write_text(json.dumps([f"\x1b[2J\n{label}ö" for label in labels]))
    picture("RGB", (20, 20)).save(tmp_path / "b.png")
    ran = run(own_folder, tmp_path / "b.png")
    assert ran.returncode == 0
    assert ran.stdout.count("\n") == 1
    assert f"?[2J?{labels[0]}ö" in ran.stdout
    assert "\x1b" not in ran.stdout


def _rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def damaged(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return damaged


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5],
        lambda content: content[:2000],
        lambda content: content[:-1],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content.replace(b'"F32"', b'"F16"'),
        _rewritten(lambda header: header["classifier.bias"].update(data_offsets=[-16, 0])),
        _rewritten(lambda header: header["classifier.bias"].update(shape=[5])),
        _rewritten(lambda header: header["classifier.bias"].update(shape=["a"])),
        _rewritten(lambda header: header.update({"classifier.bias": 3})),
        _rewritten(lambda header: header.pop("classifier.bias")),
        _rewritten(lambda header: header["classifier.bias"].update(shape=[2, 2])),
    ],
)
def test_damaged_weights_are_one_line(damage: Callable[[bytes], bytes], own_folder: Path) -> None:
    file = own_folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    model = imported(own_folder)
    with pytest.raises(model.Unusable, match=r"model\.safetensors: (is damaged|its weights are not those)") as raised:
        model.load()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_bundle_that_is_not_whole_is_one_line(own_folder: Path, tmp_path: Path) -> None:
    picture("RGB", (20, 20)).save(tmp_path / "b.png")
    (own_folder / "labels.json").write_text("[")
    ran = run(own_folder, tmp_path / "b.png")
    assert (ran.returncode, ran.stderr) == (2, f"{own_folder / 'labels.json'}: is not JSON\n")
    (own_folder / "labels.json").unlink()
    ran = run(own_folder, tmp_path / "b.png")
    assert ran.stderr == f"{own_folder / 'labels.json'}: cannot be read: No such file or directory\n"


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error(folder: Path, tmp_path: Path) -> None:
    picture("RGB", (20, 20)).save(tmp_path / "a.png")
    command = [sys.executable, "-B", "model.py", *[str(tmp_path / "a.png")] * 50]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert ran.stdout
        assert ran.stderr
        ran.stdout.close()
        assert ran.stderr.read() == ""


def test_the_program_is_about_this_network_and_tidy(folder: Path) -> None:
    source = (folder / "model.py").read_text(encoding="utf-8")
    assert source == standalone_source(of_colour(3))
    assert "    Stage(depth=2, mid=12, groups=4, out=16, stride=1),\n" in source
    assert "nas" not in source
    rules = ["--config", str(Path(nas.__file__).parents[1] / "pyproject.toml"), "--ignore", "T201", "--no-cache"]
    command = [sys.executable, "-m", "ruff", "check", *rules, str(folder / "model.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
