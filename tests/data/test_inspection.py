from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas import Input, NasError, load_data
from nas.data.inspection import LARGEST_SIDE, example_images, image_names, inspect_source, suitable_sides


def write(folder: Path, images: dict[str, Any], *, suffix: str = "png", **options: Any) -> Path:
    for name, pixels in images.items():
        for number in range(4):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number}.{suffix}", **options)
    return folder


RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (28, 28), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (60, 40, 3), dtype=np.uint8)


def test_the_shape_is_that_of_most_images(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a": COLOUR, "b": COLOUR, "c": GREY})
    found = inspect_source(str(folder))
    assert (found.input, found.classes, found.images) == (Input(3, 40), 3, 12)


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("jpg", {"quality": 80}), ("webp", {"quality": 80})])
def test_a_grey_image_saved_in_colour_is_grey(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    smooth = np.asarray(Image.fromarray(GREY).resize((64, 64), Image.Resampling.BICUBIC))
    folder = write(tmp_path, {name: np.stack([smooth] * 3, axis=-1) for name in "ab"}, suffix=suffix, **options)
    assert inspect_source(str(folder)).input == Input(1, 64)
    assert load_data(str(folder), Input(1, 64)).train.images.shape[1:] == (64, 64, 1)


@pytest.mark.filterwarnings("error")
def test_a_grey_drawing_on_a_transparent_ground_is_grey(tmp_path: Path) -> None:
    """What a transparent pixel would have as its colour is not seen."""
    drawing = np.dstack([COLOUR, np.zeros((60, 40), dtype=np.uint8)])
    drawing[10:20, 10:20] = (90, 90, 90, 255)
    folder = write(tmp_path, {"a": drawing, "b": drawing})
    palette = Image.fromarray(GREY).convert("P")
    palette.save(folder / "a" / "palette.png", transparency=bytes(range(256)))
    assert inspect_source(str(folder)).input == Input(1, 40)
    assert load_data(str(folder), Input(1, 40)).train.images.shape[1:] == (40, 40, 1)


def test_large_photos_are_scaled_down_and_that_is_kept(tmp_path: Path) -> None:
    photo = np.asarray(Image.fromarray(COLOUR).resize((400, 300)))
    folder = write(tmp_path, {"a": photo, "b": photo})
    shape = inspect_source(str(folder)).input
    assert shape == Input(3, LARGEST_SIDE, round(LARGEST_SIDE * 4 / 3))
    assert load_data(str(folder), shape).describe()["original_side"] == 300


@pytest.mark.parametrize(
    ("sides", "suitable"),
    [
        ([(30, 40)] * 3, (30, 40)),
        ([(300, 400), (600, 800), (150, 201)], (128, 171)),  # the same proportions, but for rounding
        ([(400, 100)] * 3, (400, 100)),
        ([(30, 40), (40, 30)], (30, 30)),  # taken upright and on the side
        ([(30, 40), (30, 30), (30, 40)], (30, 30)),
        ([(40, 41)], (40, 40)),
        ([(10, 41)], (10, 10)),
        ([(1, 10_000)], (1, 1)),
    ],
)
def test_images_of_the_same_proportions_keep_them(sides: list[tuple[int, int]], suitable: tuple[int, int]) -> None:
    assert suitable_sides(sides) == suitable


def test_photos_that_exif_turns_count_as_they_are_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(COLOUR).resize((60, 40)).save(tmp_path / name / f"{number}.jpg", exif=exif)
    shape = inspect_source(str(tmp_path)).input
    assert shape == Input(3, 60, 40)
    assert load_data(str(tmp_path), shape).train.images.shape[1:] == (60, 40, 3)


def test_arrays_and_the_digits_have_the_shape_they_have() -> None:
    images = np.zeros((30, 12, 12, 3), dtype=np.uint8)
    assert inspect_source((images, np.arange(30) % 3)) == (Input(3, 12), 3, 30, False)
    assert inspect_source("digits") == (Input(1, 8), 10, 1797, False)


def test_a_folder_whose_images_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"no image")
    with pytest.raises(NasError, match="none of its images can be read"):
        inspect_source(str(tmp_path))


def test_examples_are_the_first_images_of_each_class(tmp_path: Path) -> None:
    folder = write(tmp_path, {"a": COLOUR, "b": 255 - COLOUR, "c": GREY})
    (folder / "b" / "0.png").write_bytes(b"no image")
    found = example_images(str(folder), size=16, most=9)
    assert {name: [image.shape for image in of] for name, of in found.items()} == {
        "a": [(16, 16, 3)] * 1,
        "c": [(16, 16, 3)] * 1,
    }
    assert set(example_images(str(folder), size=16, most=2)) == {"a", "c"}
    digits = example_images("digits", size=16, most=10)
    assert list(digits) == [str(number) for number in range(10)]
    assert [image.shape for image in digits["3"]] == [(8, 8, 1)]
    several = example_images("digits", size=16, most=2, each=7)
    assert {name: len(images) for name, images in several.items()} == {"0": 7, "9": 7}
    assert len({image.tobytes() for image in several["9"]}) == 7


def test_images_are_named_as_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    for at, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (20 * number, 100 * at, 50)).save(folder / name / f"{number}.png")
    (folder / "a" / "5.png").write_bytes(b"no image")
    data = load_data(str(folder), Input(3, 8), skip_bad_images=True)
    for split in (data.train, data.validation, data.test):
        found = image_names(split, str(folder))
        assert found is not None
        shown = [(str(Path("ab"[pixel[1] // 100]) / f"{pixel[0] // 20}.png")) for pixel in split.images[:][:, 0, 0]]
        assert found == shown
    assert image_names(load_data("digits", Input(1, 8)).validation, "digits") is None
