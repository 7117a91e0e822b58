"""The formats of image files that can be read: those of Pillow, and what phones store as HEIC with the extra `heic`."""

from functools import cache
from importlib.util import find_spec

__all__ = ["HEIC_HELP", "HEIC_SUFFIXES", "image_formats", "image_suffixes"]

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow may detect, whatever the file name; to read some others it runs external programs."""
SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
HEIC_SUFFIXES = frozenset({".heic", ".heif"})
HEIC_HELP = "HEIC is read with pillow-heif: pip install pillow-heif"


def image_suffixes() -> frozenset[str]:
    """Returns the suffixes, in lower case, of the files that are taken for images."""
    return SUFFIXES | HEIC_SUFFIXES if _reads_heic() else SUFFIXES


@cache
def image_formats() -> list[str]:
    """Returns the `FORMATS` that this Pillow can read."""
    from PIL import Image

    if _reads_heic():
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _reads_heic() -> bool:
    return find_spec("pillow_heif") is not None
