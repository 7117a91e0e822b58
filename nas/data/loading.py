"""load_data: any source → ImageData. Files are decoded once; their arrays are cached and mapped into memory.

The cache is `$XDG_CACHE_HOME/nas` (`~/.cache/nas`), a folder for each source, size and number of channels, and for each
data set that processes share (`save_shared`). It can be deleted whenever no search runs.
"""

import hashlib
import io
import json
import math
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image, ImageChops, ImageOps

from nas.architectures.architecture import Input
from nas.data.cache import CACHE_VERSION, _unusable, _write_header, _written_whole
from nas.data.images import (
    ImageData,
    Images,
    RawImages,
    Split,
    arrays_as_images,
    check_input,
    split_images,
)
from nas.data.sources import Encoded, Listing, list_source
from nas.errors import DataError, visible
from nas.system.files import cache_folder
from nas.validation import shown

__all__ = ["DIGITS", "load_data"]

DIGITS = Input(channels=1, size=8)
"""The shape of the embedded digits."""

DECODED_AT_ONCE = 1024
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for, whatever its name: some of its others are read by starting other programs."""
MOST_PIXELS = 2**26
"""What unpacks to more is no photo that is to be made small, but a few bytes that fill the memory."""
LARGE_PIXELS = 2**24
"""Images of more are decoded one at a time."""
LATER: Images = np.zeros(0, dtype=np.uint8)
"""In place of an image that is to be decoded by itself."""
NAMED_AT_MOST = 5


def load_data(
    source: Any, wanted: Input, *, seed: int = 0, max_images: int | None = None, skip_bad_images: bool = False
) -> ImageData:
    """Images as arrays of the wanted size and channels, split by `seed` (`nas.data.images.split_images`).

    `source` is `digits`, a folder of images (`CLASS/*.jpg`, or `train/CLASS` and `test/CLASS`), a parquet file or a
    folder of them, a name on the Hugging Face hub, or a pair of arrays (`nas.data.images.arrays_as_images`). Files are
    cropped to a square and resized. Grey files are repeated over colour channels, as nothing is lost by it; files
    with any colour are refused for a grey input, and so are arrays whose shape is not the input's.

    Raises:
        DataError: naming the source and what is wrong with it.
        MissingExtra: parquet files and hub names need the extra `data`.
    """
    if isinstance(source, tuple | list) and len(source) == 2:
        raw = arrays_as_images(*source)
    elif not isinstance(source, str | Path):
        raise DataError(f"data={shown(source)}: must be a name, a path, or a pair of images and labels")
    elif str(source) == "digits":
        raw = _digits()
    else:
        raw = _files(str(source), wanted, skip_bad_images=skip_bad_images)
    data = split_images(raw, seed=seed, max_images=max_images)
    check_input(data, wanted)
    return data


def _digits() -> RawImages:
    """1,797 handwritten digits of 8×8 pixels in 17 greys (Alpaydin and Kaynak, 1998), as scikit-learn ships them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return RawImages("digits", tuple(map(str, digits.target_names)), Split(images, digits.target.astype(np.int64)))


def _files(source: str, wanted: Input, *, skip_bad_images: bool) -> RawImages:
    if wanted.channels not in (1, 3):
        raise DataError(
            f"{source}: image files have 1 or 3 channels, but the space's input.channels is {wanted.channels}"
        )
    listing = list_source(source)
    identity = json.dumps([CACHE_VERSION, source, listing.version, wanted.channels, wanted.size, skip_bad_images])
    folder = cache_folder() / hashlib.sha256(identity.encode()).hexdigest()[:24]
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):  # one process decodes, and the others wait for it
                if not folder.is_dir():
                    _fill(folder, listing, source, wanted, skip_bad_images=skip_bad_images)
        splits = {
            name: Split(np.load(folder / f"{name}.images.npy", mmap_mode="r"), np.load(folder / f"{name}.labels.npy"))
            for name in listing.splits
        }
        skipped = tuple(json.loads((folder / "skipped.json").read_text()))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{source}: {_unusable(folder, error)}") from None
    return RawImages(
        source, listing.classes, splits["train"], splits.get("validation"), splits.get("test"), skipped=skipped
    )


def _fill(folder: Path, listing: Listing, source: str, wanted: Input, *, skip_bad_images: bool) -> None:
    """Decodes into the cache."""
    with _written_whole(folder) as partial:
        skipped: list[str] = []
        for split, encoded in listing.splits.items():
            shape = wanted.size, wanted.size, wanted.channels
            good = np.ones(len(encoded.labels), dtype=bool)
            with (partial / f"{split}.images.npy").open("wb") as file, warnings.catch_warnings():
                _write_header(file, (len(good), *shape))
                warnings.simplefilter("ignore")  # of Pillow: an image is read or not, there is nothing between
                for row, (image_name, image) in enumerate(_decode_all(encoded, source, wanted)):
                    if image is None:
                        good[row] = False
                        skipped.append(visible(image_name))
                    else:
                        file.write(image.tobytes())
                file.seek(0)
                _write_header(file, (int(good.sum()), *shape))
            np.save(partial / f"{split}.labels.npy", encoded.labels[good])
        if skipped and not skip_bad_images:
            raise DataError(
                f"{source}: {len(skipped)} image{'s' * (len(skipped) > 1)} cannot be read: {names_of(skipped)}; "
                "mend or remove, or pass --skip-bad-images"
            )
        (partial / "skipped.json").write_text(json.dumps(skipped))


def names_of(names: list[str] | tuple[str, ...]) -> str:
    """The first few of many names, for a message."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _decode_all(encoded: Encoded, source: str, wanted: Input) -> Iterator[tuple[str, Images | None]]:
    """(name, array) in order, None for what cannot be read; in threads, since decoders release the interpreter."""
    images = encoded.images()
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(images, DECODED_AT_ONCE)):
            decoded = pool.map(lambda item: _decode(item[1], f"{source}: {item[0]}", wanted), batch)
            for (name, content), image in zip(batch, decoded, strict=True):
                # By this thread, as memory that another one has freed may stay with it.
                yield name, _decode(content, f"{source}: {name}", wanted, alone=True) if image is LATER else image


def _decode(content: bytes | Path, name: str, wanted: Input, *, alone: bool = False) -> Images | None:
    """One image as (size, size, channels) uint8, None if it is damaged or no image; `LATER` if it must be `alone`."""
    side = wanted.size
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=_formats()) as opened:
            pixels = math.prod(opened.size) if "progressive" in opened.info else 0  # is unpacked whole all the same
            opened.draft(None, (2 * side, 2 * side))  # JPEG decoders shrink large photos for nothing
            pixels = max(pixels, math.prod(opened.size))
            if pixels > MOST_PIXELS:
                return None
            return _fitted(opened, name, wanted) if alone or pixels <= LARGE_PIXELS else LATER
    except DataError:
        raise
    except Exception:  # on damaged files decoders raise more than their own errors
        return None


@cache
def _formats() -> list[str]:
    """Those of `FORMATS` that this Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _fitted(opened: Image.Image, name: str, wanted: Input) -> Images | None:
    """Upright, on white, square, and of the wanted size and channels; None where its values have no known range."""
    side = wanted.size
    image = opened
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        image = image.point(lambda value: value * (1 / 256))  # 16-bit greys
    if image.mode == "F":
        return None
    if image.has_transparency_data:  # what shows through is white, as on a page
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    if wanted.channels == 1:
        red, green, blue = image.split()
        if ImageChops.difference(red, green).getbbox() or ImageChops.difference(green, blue).getbbox():
            raise DataError(f"{name} is in colour, but the space's input.channels is 1; set input.channels to 3")
        image = red
    fitted = ImageOps.fit(image, (side, side), method=Image.Resampling.BILINEAR)
    return np.asarray(fitted, dtype=np.uint8).reshape(side, side, wanted.channels)
