"""Provides normalised, augmented batches on a device, from images stored there or streamed to it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.data.images import Images, Labels, MappedImages, Normalization, Split, chunks
from nas.training.augmentation import Augmentation

__all__ = ["DeviceData", "DeviceImages"]


@dataclass(frozen=True)
class DeviceData:
    """The training and validation images, prepared for a device."""

    train: "DeviceImages"
    validation: "DeviceImages"
    device: torch.device


class DeviceImages:
    """One split on one device, as normalised float32 batches (B, C, height, width), channels last in memory.

    On a CPU the images share the split's memory, which must not change; other devices hold a copy.

    Args:
        split: the images and labels.
        normalization: the mean and standard deviation per channel.
        device: where batches are returned.
        padding: reflected pixels around an image before a random crop.
        streamed: keeps the images on the host and sends each batch; the batches are the same.
    """

    def __init__(
        self,
        split: Split,
        normalization: Normalization,
        device: torch.device,
        *,
        padding: int = 0,
        streamed: bool = False,
    ) -> None:
        self._device, self._padding = device, padding
        self.streamed = streamed
        self._sides = split.images.shape[1:3]
        self._places: Tensor | None = None  # the row in `_images` of each image, if they differ
        images = split.images
        if device.type != "cpu" and not streamed:
            self._images = _moved(images, device)
        elif isinstance(images, MappedImages):
            self._images, self._places = _in_place(images.array), torch.from_numpy(images.rows)
        else:
            self._images = _in_place(images)
        self._labels = torch.tensor(split.labels, device=self._images.device)
        # Crops extend over the border into reflected pixels, which are looked up, not stored.
        self._rows, self._columns = (
            torch.tensor(np.pad(np.arange(side), padding, mode="reflect"), device=device) for side in self._sides
        )
        mean, std = (torch.tensor(values, device=device) for values in normalization)
        self._scale, self._shift, self._mean = 1 / (255 * std), -mean / std, 255 * mean

    def __len__(self) -> int:
        return len(self._labels)

    def in_order(self, batch_size: int) -> list[slice]:
        """Returns slices for `plain` that cover every image once."""
        return [slice(start, start + batch_size) for start in range(0, len(self), batch_size)]

    def class_counts(self) -> list[int]:
        """Returns the number of images of each class."""
        counts: list[int] = (self._labels.sum(dim=0) if self.is_multi_label else torch.bincount(self._labels)).tolist()
        return counts

    def labels(self) -> Labels:
        """Returns the labels of all images, in order, on the host."""
        found: Labels = self._labels.cpu().numpy()
        return found

    @property
    def is_multi_label(self) -> bool:
        """Whether labels are (B, classes) of 0 and 1 instead of (B,)."""
        return self._labels.ndim == 2

    def shuffled(self, batch_size: int, generator: torch.Generator, *, balanced: bool = False) -> Iterator[Tensor]:
        """Returns full batches of indices for `augmented`, in random order; the remainder is dropped.

        With `balanced`, images are drawn with repetition, those of each class equally often; each must have one label.

        The indices are on the device of the images, so streaming synchronises with the GPU here, not at each batch.
        """
        if balanced:
            shares = (1 / torch.bincount(self._labels).double())[self._labels].to(generator.device)
            order = torch.multinomial(shares, len(self), replacement=True, generator=generator)
        else:
            order = torch.randperm(len(self), generator=generator, device=generator.device)
        order = order.to(self._images.device)
        return iter(torch.split(order[: len(self) - len(self) % batch_size], batch_size))

    def plain(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Returns normalised images without augmentation, and their labels, (B,) or (B, classes)."""
        images, places, labels = self._found(torch.arange(*rows.indices(len(self)), device=self._images.device))
        return self._normalised(images.index_select(0, places)), labels

    def augmented(
        self, rows: Tensor, *, augmentation: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Returns normalised images, randomly cropped and changed, and their labels.

        Args:
            rows: indices (B,) from `shuffled`.
            augmentation: the changes; it says what becomes of the labels.
            generator: draws crops and changes.
        """
        height, width = self._sides

        def below(limit: int) -> Tensor:
            return torch.randint(limit, (len(rows), 1), generator=generator, device=self._device)

        x = torch.arange(width, device=self._device).expand(len(rows), -1)
        y = torch.arange(height, device=self._device).expand(len(rows), -1)
        if augmentation.flip:
            x = torch.where(below(2).bool(), x.flip(1), x)
        if augmentation.flip_vertical:
            y = torch.where(below(2).bool(), y.flip(1), y)
        y = self._rows.take(y + below(2 * self._padding + 1))
        x = self._columns.take(x + below(2 * self._padding + 1))
        images, places, labels = self._found(rows)
        # One gather of whole pixels by flat index is several times as fast as one by image, row and column.
        lines = (places[:, None] * height + y) * width
        batch = images.view(-1, images.shape[3]).index_select(0, (lines[:, :, None] + x[:, None, :]).view(-1))
        batch = batch.view(len(rows), *images.shape[1:]).float()
        batch, labels = augmentation(batch, labels, mean=self._mean, generator=generator)
        return self._normalised(batch), labels

    def _found(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns images on the device, the indices (B,) of `rows` among them, and the labels of `rows`."""
        if self.streamed:
            rows = rows.cpu()  # the device that `shuffled` uses
        places = rows if self._places is None else self._places[rows]
        if not self.streamed:
            return self._images, places, self._labels[rows]
        images, labels = self._sent(self._images, places), self._sent(self._labels, rows)
        return images, torch.arange(len(rows), device=self._device), labels

    def _sent(self, whole: Tensor, rows: Tensor) -> Tensor:
        """Sends rows from the host asynchronously; torch keeps the pinned memory until the copy is done."""
        batch = torch.empty((len(rows), *whole.shape[1:]), dtype=whole.dtype, pin_memory=self._device.type == "cuda")
        torch.index_select(whole, 0, rows, out=batch)
        return batch.to(self._device, non_blocking=True)

    def _normalised(self, images: Tensor) -> Tensor:
        """Maps (B, height, width, C) uint8 to (B, C, height, width) float32; channels stay innermost in memory."""
        batch = images.float()
        return torch.addcmul(self._shift, batch, self._scale, out=batch).permute(0, 3, 1, 2)


def _in_place(images: Images) -> Tensor:
    """Returns a tensor on the same memory; it is only read, so torch's warning about read-only maps is suppressed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(np.ascontiguousarray(images))


def _moved(images: Images | MappedImages, device: torch.device) -> Tensor:
    """Copies images to a device in chunks, so that a memory map of any length takes a few MiB of host memory."""
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    start = 0
    for part in chunks(images):
        there[start : start + len(part)] = _in_place(part)
        start += len(part)
    return there
