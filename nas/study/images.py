"""A study's images: how the study describes them, and how they are located and loaded again."""

from pathlib import Path
from typing import Any

from nas.architectures.architecture import Input
from nas.data.images import HELD_OUT, ImageData, train_on_all
from nas.data.loading import load_data
from nas.errors import DataError
from nas.study.config import StudyConfig

__all__ = ["images_of", "load_described"]


def images_of(config: StudyConfig, data: Any = None) -> ImageData:
    """Loads a study's images with the study's split; `data` gives their current location if they have moved.

    An `ImageData` is already split. A study that trains on all images gets them as `train_on_all` returns them.

    Raises:
        DataError: the images cannot be loaded, or differ from those of the study.
    """
    if isinstance(data, ImageData):
        return train_on_all(data) if config.on_all_images else data
    source = data if data is not None else config.data["source"]
    if source in ("arrays", "evaluate"):
        raise DataError(f"data: the study was searched from Python ({source}); go on there, with the same data=")
    images = load_data(
        source,
        config.space.input,
        seed=config.seed,
        max_images=config.data.get("max_images"),
        validation=_validation_share(config),
        skip_bad_images=True,
    )
    if config.on_all_images:
        images = train_on_all(images)
    if images.fingerprint != config.data.get("fingerprint", images.fingerprint):
        raise DataError(
            f"{source}: its images are not those of the study; they have changed since the search, or are others"
        )
    return images


def load_described(
    data: Any,
    shape: Input,
    *,
    seed: int,
    known: StudyConfig | None = None,
    max_images: int | None = None,
    validation: float | None = None,
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
        skip_bad_images: skip unreadable images.

    Raises:
        DataError: the images cannot be loaded, or `validation` is given and they have a validation set of their own.
    """
    held_out = validation if validation is not None or known is None else _validation_share(known)
    images = load_data(
        data, shape, seed=seed, max_images=max_images, validation=held_out, skip_bad_images=skip_bad_images
    )
    if validation is not None and images.validation_share is None:
        raise DataError(f"validation={validation:g}: {images.source} has a validation set of its own; leave this out")
    description = {**images.describe(), "max_images": max_images}
    if isinstance(data, str | Path) and Path(data).expanduser().exists():
        description["source"] = str(Path(data).expanduser().absolute())
    return images, description


def _validation_share(config: StudyConfig) -> float | None:
    """Returns what was held out for validation of a study's images; studies that recorded nothing held out a fifth."""
    share: float | None = config.data.get("validation_share", HELD_OUT)
    return share
