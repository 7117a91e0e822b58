"""A study's images: how the study describes them, and how they are located and loaded again."""

from pathlib import Path
from typing import Any, TypedDict, Unpack

from nas.architectures.architecture import Input
from nas.data.images import ImageData, train_on_all
from nas.data.loading import DIGITS, load_data
from nas.data.resizing import CROP
from nas.data.splitting import HELD_OUT
from nas.errors import DataError
from nas.spaces.search_space import SearchSpace
from nas.study.config import FROM_PYTHON, StudyConfig

__all__ = ["ImageOptions", "checked", "images_of", "images_to_search", "load_described"]


class ImageOptions(TypedDict, total=False):
    """How images are chosen, prepared and split, as in `load_described`."""

    max_images: int | None
    validation: float | None
    folds: int | None
    group_by: str | None
    resize: str | None
    skip_bad_images: bool


def images_of(config: StudyConfig, data: Any = None) -> ImageData:
    """Loads a study's images with the study's split; `data` gives their current location if they have moved.

    An `ImageData` is already split. A study that trains on all images gets them as `train_on_all` returns them.

    Raises:
        DataError: the images cannot be loaded, or differ from those of the study.
    """
    images = data if isinstance(data, ImageData) else _loaded(config, data)
    if config.on_all_images:
        images = train_on_all(images)
    return checked(images, config, source=data if isinstance(data, str | Path) else config.data["source"])


def checked(images: ImageData, config: StudyConfig, *, source: str | Path) -> ImageData:
    """Returns the images if they are those that a study trains and judges on.

    Raises:
        DataError: they are not; the message begins with `source`.
    """
    if images.fingerprint != config.data.get("fingerprint", images.fingerprint):
        raise DataError(
            f"{source}: its images are not those of the study; they have changed since the search, or are others: put "
            "back what was removed, take out what was added, or name a copy of them with --data"
        )
    return images


def _loaded(config: StudyConfig, data: Any) -> ImageData:
    source = data if data is not None else config.data["source"]
    if source in FROM_PYTHON:
        raise DataError(f"data: the study was searched from Python ({source}); go on there, with the same data=")
    if data is None:
        _must_be_there(source)
    return load_data(
        source,
        config.space.input,
        seed=config.seed,
        max_images=config.data.get("max_images"),
        **_held_out(config),
        group_by=config.data.get("group_by"),
        resize=config.data.get("resize", CROP),
        skip_bad_images=True,
    )


def load_described(
    data: Any,
    shape: Input,
    *,
    seed: int,
    known: StudyConfig | None = None,
    max_images: int | None = None,
    validation: float | None = None,
    folds: int | None = None,
    group_by: str | None = None,
    resize: str | None = None,
    skip_bad_images: bool = False,
) -> tuple[ImageData, dict[str, Any]]:
    """Loads images as `nas.load_data` does, and describes them as a study stores it.

    Args:
        data: where they are; a path that exists is stored as an absolute one.
        shape: the channels and size of the images.
        seed: the seed of the split.
        known: the configuration of the study that they are for, if it exists.
        max_images: a limit on training plus validation images.
        validation: what to hold out for validation. None: as in `known`.
        folds: the number of folds of a cross-validation instead. None: as in `known`.
        group_by: which images belong together. None: as in `known`.
        resize: how images are made to fit the input. None: as in `known`, or cropped.
        skip_bad_images: skip unreadable images.

    Raises:
        DataError: the images cannot be loaded, or `validation` is given and they have a validation set of their own.
    """
    held_out: _HeldOut = {"validation": validation, "folds": folds}
    if known is not None and validation is None and folds is None:
        held_out = _held_out(known)
    if known is not None:
        group_by, resize = group_by or known.data.get("group_by"), resize or known.data.get("resize")
    images = load_data(
        data,
        shape,
        seed=seed,
        max_images=max_images,
        **held_out,
        group_by=group_by,
        resize=resize if resize is not None else CROP,
        skip_bad_images=skip_bad_images,
    )
    if validation is not None and images.validation_share is None:
        raise DataError(f"validation={validation:g}: {images.source} has a validation set of its own; leave this out")
    description = {**images.describe(), "max_images": max_images}
    if group_by is not None:
        description["group_by"] = group_by
    if isinstance(data, str | Path) and Path(data).expanduser().exists():
        description["source"] = str(Path(data).expanduser().absolute())
    return images, description


def images_to_search(
    data: Any, space: SearchSpace, *, known: StudyConfig | None, seed: int, **options: Unpack[ImageOptions]
) -> tuple[ImageData, dict[str, Any]]:
    """Returns the images to search on, and what the study records of them.

    Args:
        data: where they are. None: the study's own, or the digits if the space takes these.
        space: the search space.
        known: the configuration of the study if it exists.
        seed: the seed of the splits.
        **options: how they are chosen, prepared and split, as in `load_described`.

    Raises:
        DataError: as `load_described`; or `data` is None and there are no images to take.
    """
    if data is None:
        data, options["max_images"] = _usual_data(space, known, options.get("max_images"))
    if known and known.data.get("skipped_images"):
        options["skip_bad_images"] = True
    return load_described(data, space.input, seed=seed, known=known, **options)


def _usual_data(space: SearchSpace, known: StudyConfig | None, max_images: int | None) -> tuple[Any, int | None]:
    if known:
        source = known.data["source"]
        if source in FROM_PYTHON:
            raise DataError(f"data: the study was searched from Python ({source}); resume it there with the same")
        _must_be_there(source)
        return source, max_images if max_images is not None else known.data.get("max_images")
    if space.input == DIGITS:
        return "digits", max_images
    raise DataError(
        f"data: space '{space.name}' takes images of {space.input} pixels with "
        f"{space.input.channels} channels; name a folder of images, a parquet file or a hub data set with --data"
    )


def _must_be_there(source: str) -> None:
    if Path(source).is_absolute() and not Path(source).exists():
        raise DataError(f"{source}: the study's images are not there any more; name where they are now with --data")


class _HeldOut(TypedDict):
    validation: float | None
    folds: int | None


def _held_out(config: StudyConfig) -> _HeldOut:
    """Returns what was held out for validation of a study's images; studies that recorded nothing held out a fifth."""
    if (folds := config.data.get("folds")) is not None:
        return {"validation": None, "folds": folds}
    return {"validation": config.data.get("validation_share", HELD_OUT), "folds": None}
