"""A study's images: how the study describes them, and how they are found again."""

from pathlib import Path
from typing import Any

from nas.data.images import ImageData
from nas.data.loading import load_data
from nas.errors import DataError
from nas.study.config import StudyConfig

__all__ = ["described", "images_of"]


def images_of(config: StudyConfig, data: Any = None) -> ImageData:
    """A study's images, split as they were when it was begun; `data` says where they are now, if elsewhere.

    An `ImageData` is taken as it is: it was split already.

    Raises:
        DataError: they cannot be had, or are others now.
    """
    if isinstance(data, ImageData):
        return data
    source = data if data is not None else config.data["source"]
    if source in ("arrays", "evaluate"):
        raise DataError(f"data: the study was searched from Python ({source}); go on there, with the same data=")
    images = load_data(
        source, config.space.input, seed=config.seed, max_images=config.data.get("max_images"), skip_bad_images=True
    )
    if images.fingerprint != config.data.get("fingerprint", images.fingerprint):
        raise DataError(
            f"{source}: its images are not those of the study; they have changed since the search, or are others"
        )
    return images


def described(images: ImageData, data: Any, max_images: int | None = None) -> dict[str, Any]:
    """What a study records of its images: what makes them comparable, and where they are found from any folder."""
    description = {**images.describe(), "max_images": max_images}
    if isinstance(data, str | Path) and Path(data).expanduser().exists():
        description["source"] = str(Path(data).expanduser().absolute())
    return description
