"""Makes images square: by cropping, by padding (letterbox), or by stretching."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CROP", "LETTERBOX", "RESIZES", "STRETCH", "squared"]

CROP, LETTERBOX, STRETCH = "crop", "letterbox", "stretch"
RESIZES = (CROP, LETTERBOX, STRETCH)
PADDING = (128, 128, 128)


def squared(image: "Image.Image", size: int, resize: str) -> "Image.Image":
    """Returns an RGB or grey image with `size` pixels on each side, resized bilinearly with antialiasing.

    Args:
        image: the image.
        size: side of the result in pixels.
        resize: `crop` keeps the central square; `letterbox` keeps the whole image and its proportions, with grey
            strips beside it; `stretch` keeps the whole image but not its proportions.
    """
    from PIL import Image, ImageOps  # not at start-up: it takes as long as all of `nas --help`

    if resize == CROP:
        return ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
    if resize == STRETCH:
        return image.resize((size, size), Image.Resampling.BILINEAR)
    longer = max(image.size)
    width, height = (max(1, round(length / longer * size)) for length in image.size)
    whole = Image.new(image.mode, (size, size), PADDING if image.mode == "RGB" else PADDING[0])
    whole.paste(image.resize((width, height), Image.Resampling.BILINEAR), ((size - width) // 2, (size - height) // 2))
    return whole
