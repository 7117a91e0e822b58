from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas import Input, NasError, load_data
from nas.data.resizing import resized


def bars() -> Image.Image:
    """40×20 pixels: red, green, blue and white bars from left to right."""
    image = Image.new("RGB", (40, 20))
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]):
        image.paste(colour, (10 * number, 0, 10 * number + 10, 20))
    return image


def test_cropping_keeps_the_middle() -> None:
    pixels = np.asarray(resized(bars(), (10, 10), "crop"))
    assert pixels[5, 1].tolist() == [0, 255, 0]
    assert pixels[5, 8].tolist() == [0, 0, 255]


def test_a_letterbox_keeps_all_of_it_between_strips_of_grey() -> None:
    pixels = np.asarray(resized(bars(), (20, 20), "letterbox"))
    assert (pixels[:5] == 128).all()
    assert (pixels[15:] == 128).all()
    assert pixels[10, 1].tolist() == [255, 0, 0]
    assert pixels[10, 18].tolist() == [255, 255, 255]
    upright = np.asarray(resized(bars().rotate(90, expand=True), (20, 20), "letterbox"))
    assert (upright[:, :5] == 128).all()
    assert not (upright[:, 5:15] == 128).all(axis=2).any()


def test_stretching_keeps_all_of_it() -> None:
    pixels = np.asarray(resized(bars(), (8, 8), "stretch"))
    assert pixels.shape == (8, 8, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[7, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (3, 7)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("resize", ["crop", "letterbox", "stretch"])
def test_any_shape_fits(size: tuple[int, int], mode: str, resize: str) -> None:
    made = resized(Image.new(mode, size, "white"), (16, 16), resize)
    assert (made.size, made.mode) == ((16, 16), mode)
    assert np.asarray(made).max() == 255


def test_images_of_files_are_resized_as_asked_and_the_cache_tells_them_apart(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(5):
            bars().save(tmp_path / "photos" / label / f"{number}.png")
    source = str(tmp_path / "photos")
    cropped, boxed = (load_data(source, Input(3, 8), resize=resize) for resize in ("crop", "letterbox"))
    assert (boxed.train.images[:][0][0] == 128).all()
    assert not (cropped.train.images[:][0][0] == 128).any()
    assert (boxed.describe()["resize"], cropped.describe().get("resize")) == ("letterbox", None)
    with pytest.raises(NasError, match="resize='fit': must be one of crop, letterbox, stretch"):
        load_data(source, Input(3, 8), resize="fit")
