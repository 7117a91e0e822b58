"""Loads `ImageData` from any source. Files are decoded once; the arrays are cached and memory-mapped.

The cache is `$XDG_CACHE_HOME/nas` (by default `~/.cache/nas`), with a folder for each source, size and number of
channels, and for each data set shared between processes (`save_shared`). It can be deleted whenever no search runs.
"""

import hashlib
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from PIL import Image, ImageChops, ImageOps

from nas.architectures.architecture import Input, Sides
from nas.data.cache import CACHE_VERSION, cache_unusable, write_header, written_whole
from nas.data.formats import image_formats
from nas.data.images import (
    ImageData,
    Images,
    RawImages,
    Split,
    arrays_as_images,
    check_input,
)
from nas.data.listing import Encoded, Listing
from nas.data.resizing import CROP, RESIZES, resized
from nas.data.sources import list_source
from nas.data.splitting import split_images
from nas.errors import DataError, visible
from nas.system.files import cache_folder
from nas.validation import one_of, shown

__all__ = [
    "DECODED_AT_ONCE",
    "DIGITS",
    "MOST_PIXELS",
    "Original",
    "is_grey",
    "load_data",
    "load_digits_images",
    "look_at",
    "on_white",
    "thumbnail",
]

DIGITS = Input(1, 8)
"""The input shape of the bundled digits."""

DECODED_AT_ONCE = 1024
MOST_PIXELS = 2**26
"""Images that decode to more pixels are rejected as decompression bombs."""
LARGE_PIXELS = 2**24
"""Images of more pixels are decoded one at a time."""
LATER: Images = np.zeros(0, dtype=np.uint8)
"""Placeholder for an image that must be decoded by itself."""
NAMED_AT_MOST = 5
GREY_TOLERANCE = 3
"""Largest difference between the channels of a grey pixel, of 255: lossy formats round them apart."""


GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
ORIENTATION, ON_THEIR_SIDE = 0x0112, (5, 6, 7, 8)
"""The Exif tag that says how an image is turned, and its values for a quarter turn."""


class Original(NamedTuple):
    """An image of a source as it is: height and width in pixels once it is upright, and whether it is grey."""

    sides: Sides
    is_grey: bool


def load_data(
    source: Any,
    wanted: Input,
    *,
    seed: int = 0,
    max_images: int | None = None,
    validation: float | None = None,
    folds: int | None = None,
    group_by: str | None = None,
    resize: str = CROP,
    skip_bad_images: bool = False,
) -> ImageData:
    """Loads images as arrays of the wanted size and channels, and splits them.

    Files are resized to the input. Grey images are repeated over colour channels, which loses nothing;
    images with any colour are rejected for a grey input, and so are arrays whose shape does not match the input.

    Args:
        source: `digits`, a folder of images (`CLASS/*.jpg`, or `train/CLASS` and `test/CLASS`), a parquet file or a
            folder of them, a CSV or npz file, a folder of IDX files, a name on the Hugging Face hub, or a pair of
            arrays (`nas.data.images.arrays_as_images`).
        wanted: the channels and size of the images to return.
        seed: seeds the splits (`nas.data.splitting.split_images`).
        max_images: approximate limit on training plus validation images.
        validation: what to hold out for validation if the source has no validation set: below 1 the share of each
            class, else the approximate number of images. None: a fifth, at most 5,000 images.
        folds: divide the images but those for the test into this many folds for a cross-validation instead.
        group_by: which images belong together, so that no two splits have images of one group: `folder`, the name of a
            column, or a regular expression on their paths (`nas.data.groups`); only for image files.
        resize: how image files of other proportions are made to fit: `crop`, `letterbox` or `stretch`
            (`nas.data.resizing.resized`).
        skip_bad_images: skips unreadable images, which are otherwise an error.

    Raises:
        DataError: the source cannot be used; the message names it and the reason.
        MissingExtra: the extra `data`, which parquet and tar files and hub names need, is not installed.
    """
    one_of(resize, "resize", RESIZES)
    if group_by is not None and (not isinstance(source, str | Path) or str(source) == "digits"):
        raise DataError(f"group_by={shown(group_by)}: arrays and the digits have no groups; leave this out")
    if isinstance(source, tuple | list) and len(source) == 2:
        raw = arrays_as_images(*source)
    elif not isinstance(source, str | Path):
        raise DataError(f"data={shown(source)}: must be a name, a path, or a pair of images and labels")
    elif str(source) == "digits":
        raw = load_digits_images()
    else:
        raw = _files(str(source), wanted, group_by=group_by, resize=resize, skip_bad_images=skip_bad_images)
    data = split_images(raw, seed=seed, max_images=max_images, validation=validation, folds=folds)
    check_input(data, wanted)
    return data


def load_digits_images() -> RawImages:
    """Loads scikit-learn's 1,797 handwritten digits of 8×8 pixels in 17 grey levels (Alpaydin and Kaynak, 1998)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return RawImages("digits", tuple(map(str, digits.target_names)), Split(images, digits.target.astype(np.int64)))


def _files(source: str, wanted: Input, *, group_by: str | None, resize: str, skip_bad_images: bool) -> RawImages:
    if wanted.channels not in (1, 3):
        raise DataError(
            f"{source}: image files have 1 or 3 channels, but the space's input.channels is {wanted.channels}"
        )
    listing = list_source(source, group_by=group_by)
    place = str(Path(source).resolve()) if Path(source).exists() else source  # a folder may be spelled in many ways
    identity = json.dumps([CACHE_VERSION, place, listing.version, wanted.to_dict(), resize, skip_bad_images])
    folder = cache_folder() / hashlib.sha256(identity.encode()).hexdigest()[:24]
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):  # one process decodes while the others wait
                if not folder.is_dir():
                    _fill(folder, listing, source, wanted, resize=resize, skip_bad_images=skip_bad_images)
        splits = {
            name: Split(np.load(folder / f"{name}.images.npy", mmap_mode="r"), np.load(folder / f"{name}.labels.npy"))
            for name in listing.splits
        }
        rows = {name: np.load(folder / f"{name}.rows.npy") for name in listing.splits}
        groups = {
            name: [encoded.groups[row] for row in rows[name]]
            for name, encoded in listing.splits.items()
            if encoded.groups is not None
        }
        about = json.loads((folder / "about.json").read_text())
        skipped, side = tuple(about["skipped"]), about["side"]
    except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
        raise DataError(f"{source}: {cache_unusable(folder, error)}") from None
    return RawImages(
        source,
        listing.classes,
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        skipped=skipped,
        original_side=side,
        groups=groups or None,
        resize=resize,
    )


def _fill(folder: Path, listing: Listing, source: str, wanted: Input, *, resize: str, skip_bad_images: bool) -> None:
    """Decodes all images into the cache folder."""
    with written_whole(folder) as partial:
        skipped: list[str] = []
        sides: Counter[int] = Counter()
        for split, encoded in listing.splits.items():
            shape = *wanted.sides, wanted.channels
            good = np.ones(len(encoded.labels), dtype=bool)
            with (partial / f"{split}.images.npy").open("wb") as file, warnings.catch_warnings():
                write_header(file, (len(good), *shape))
                warnings.simplefilter("ignore")  # from Pillow: an image is either read or not
                for row, (image_name, side, image) in enumerate(_decode_all(encoded, source, wanted, resize)):
                    if image is None:
                        good[row] = False
                        skipped.append(visible(image_name))
                    else:
                        file.write(image.tobytes())
                        sides[side] += 1
                file.seek(0)
                write_header(file, (int(good.sum()), *shape))
            np.save(partial / f"{split}.labels.npy", encoded.labels[good])
            np.save(partial / f"{split}.rows.npy", np.flatnonzero(good))
        if skipped and not skip_bad_images:
            raise DataError(
                f"{source}: {len(skipped)} image{'s' * (len(skipped) > 1)} cannot be read: {names_of(skipped)}; "
                "repair or remove them, or pass --skip-bad-images"
            )
        side = median_low(sides.elements()) if sides else 0
        (partial / "about.json").write_text(json.dumps({"skipped": skipped, "side": side}))


def names_of(names: list[str] | tuple[str, ...]) -> str:
    """Lists the first few names for a message."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _decode_all(encoded: Encoded, source: str, wanted: Input, resize: str) -> Iterator[tuple[str, int, Images | None]]:
    """Yields (name, shorter side, array or None if unreadable) in order.

    Images are decoded in threads, as decoders release the GIL.
    """
    images = encoded.images()
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(images, DECODED_AT_ONCE)):
            decoded = pool.map(lambda item: _decode(item[1], f"{source}: {item[0]}", wanted, resize=resize), batch)
            for (name, content), found in zip(batch, decoded, strict=True):
                if found[1] is LATER:  # in this thread, as memory freed by a pool thread may stay with that thread
                    yield name, *_decode(content, f"{source}: {name}", wanted, resize=resize, alone=True)
                else:
                    yield name, *found


def _decode(
    content: bytes | Path, name: str, wanted: Input, *, resize: str = CROP, alone: bool = False
) -> tuple[int, Images | None]:
    """Decodes an image to (height, width, channels) uint8, and returns its shorter side with it.

    The array is None if the image is unreadable, and `LATER` if it must be decoded `alone`.
    """
    original = 0
    try:
        with _opened(content) as opened:
            original = min(opened.size)
            pixels = math.prod(opened.size) if "progressive" in opened.info else 0  # is decoded whole regardless
            opened.draft(
                None, (2 * max(wanted.sides), 2 * max(wanted.sides))
            )  # JPEG decoders downscale large photos for free
            pixels = max(pixels, math.prod(opened.size))
            if pixels > MOST_PIXELS:
                return original, None
            return original, _fitted(opened, name, wanted, resize) if alone or pixels <= LARGE_PIXELS else LATER
    except DataError:
        raise
    except Exception:  # on damaged files decoders raise more than their own errors
        return original, None


def _opened(content: bytes | Path) -> Image.Image:
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=image_formats())


def look_at(content: bytes | Path) -> Original | None:
    """Returns what an image is like; None if it cannot be read."""
    try:
        with _opened(content) as opened:
            sides = upright_sides(opened)
            opened.draft(None, (64, 64))
            if math.prod(opened.size) > LARGE_PIXELS:
                return Original(sides, is_grey=opened.mode in GREY_MODES)
            return Original(sides, is_grey=opened.mode in GREY_MODES or is_grey(on_white(opened)))
    except Exception:  # as in `_decode`
        return None


def upright_sides(opened: Image.Image) -> Sides:
    """Returns the height and width that an image has once it is upright as Exif says."""
    width, height = opened.size
    return (width, height) if opened.getexif().get(ORIENTATION) in ON_THEIR_SIDE else (height, width)


def thumbnail(content: bytes | Path, size: int) -> Images | None:
    """Returns an image in colour, cropped square to (size, size, 3).

    None if it cannot be read, or is too large to be decoded beside others.
    """
    found = _decode(content, "image", Input(3, size))[1]
    return None if found is LATER else found


def on_white(image: Image.Image) -> Image.Image:
    """Returns an image as RGB, composited onto white as on a page where it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def is_grey(image: Image.Image) -> bool:
    """Returns whether the channels of an RGB image are equal up to rounding."""
    red, green, blue = image.split()
    differences = ImageChops.lighter(ImageChops.difference(red, green), ImageChops.difference(green, blue))
    return bool(np.asarray(differences).max() <= GREY_TOLERANCE)


def _fitted(opened: Image.Image, name: str, wanted: Input, resize: str) -> Images | None:
    """Returns the image upright, on white, as large as wanted; None if its values have no known range."""
    image = opened
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16-bit greys
        image = image.convert("I").point(lambda value: value * (1 / 256))
    if image.mode == "F":
        return None
    image = on_white(image)
    if wanted.channels == 1:
        if not is_grey(image):
            raise DataError(f"{name} is in colour, but the space's input.channels is 1; set input.channels to 3")
        image = image.convert("L")
    return np.asarray(resized(image, wanted.sides, resize), dtype=np.uint8).reshape(*wanted.sides, wanted.channels)
