"""A study's images: how the study describes them, and how they are located and loaded again."""

from pathlib import Path
from typing import Any

from nas.data.images import ImageData
from nas.data.loading import load_data
from nas.errors import DataError
from nas.study.config import StudyConfig

__all__ = ["described", "images_of"]


def images_of(config: StudyConfig, data: Any = None) -> ImageData:
    """Loads a study's images with the study's split; `data` gives their current location if they have moved.

    An `ImageData` is already split and is returned unchanged.

    Raises:
        DataError: the images cannot be loaded, or differ from those of the study.
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
    """Returns the description of the images that a study stores, with the absolute path of `data`.

    Args:
        images: the images.
        data: what they were loaded from; a path that exists is stored as an absolute one.
        max_images: the limit they were loaded with; None: no limit.
    """
    description = {**images.describe(), "max_images": max_images}
    if isinstance(data, str | Path) and Path(data).expanduser().exists():
        description["source"] = str(Path(data).expanduser().absolute())
    return description
