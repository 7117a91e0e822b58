"""Gives images the proportions of an input: by cropping, by padding (letterbox), or by stretching."""

from typing import TYPE_CHECKING

from nas.architectures.architecture import Sides

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CROP", "LETTERBOX", "RESIZES", "STRETCH", "resized"]

CROP, LETTERBOX, STRETCH = "crop", "letterbox", "stretch"
RESIZES = (CROP, LETTERBOX, STRETCH)
PADDING = (128, 128, 128)


def resized(image: "Image.Image", sides: Sides, resize: str) -> "Image.Image":
    """Returns an RGB or grey image of the given height and width, resized bilinearly with antialiasing.

    Args:
        image: the image.
        sides: height and width of the result in pixels.
        resize: `crop` keeps the largest central part of the result's proportions; `letterbox` keeps the whole image and
            its proportions, with grey strips beside it; `stretch` keeps the whole image but not its proportions.
    """
    from PIL import Image, ImageOps  # not at start-up: it takes as long as all of `nas --help`

    height, width = sides
    if resize == CROP:
        return ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    if resize == STRETCH:
        return image.resize((width, height), Image.Resampling.BILINEAR)
    across, down = within(image.size, (width, height))
    whole = Image.new(image.mode, (width, height), PADDING if image.mode == "RGB" else PADDING[0])
    left, top = (width - across) // 2, (height - down) // 2
    whole.paste(image.resize((across, down), Image.Resampling.BILINEAR), (left, top))
    return whole


def within(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """Returns the size that an image has within a frame, both (width, height), if it keeps its proportions."""
    if size[0] * frame[1] >= size[1] * frame[0]:
        return frame[0], max(1, round(size[1] / size[0] * frame[0]))
    return max(1, round(size[0] / size[1] * frame[1])), frame[1]
