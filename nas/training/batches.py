"""Images for a device: normalised, augmented batches, cut on the device or streamed to it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.data.images import Images, MappedImages, Normalization, Split, chunks

__all__ = ["DeviceData", "DeviceImages"]


@dataclass(frozen=True)
class DeviceData:
    """The splits that a search reads, for the device where it trains."""

    train: "DeviceImages"
    validation: "DeviceImages"
    device: torch.device


class DeviceImages:
    """One split for one device; hands out normalised float batches (B, C, size, size), channels last in memory.

    On a CPU the images are the split's own memory, which must not change meanwhile; another device holds a copy.
    `streamed` leaves them on the host, from where each batch is sent. What is drawn and handed out is the same.
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
        self._size = split.images.shape[1]
        self._places: Tensor | None = None  # the row of `_images` of each image, where that is another one
        images = split.images
        if device.type != "cpu" and not streamed:
            self._images = _moved(images, device)
        elif isinstance(images, MappedImages):
            self._images, self._places = _in_place(images.array), torch.from_numpy(images.rows)
        else:
            self._images = _in_place(images)
        self._labels = torch.tensor(split.labels, device=self._images.device)
        # A crop reaches over the border to reflected pixels: these are looked up, not stored.
        reflected = np.pad(np.arange(self._size), padding, mode="reflect")
        self._reflected = torch.tensor(reflected, device=device)
        mean, std = (torch.tensor(values, device=device) for values in normalization)
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def __len__(self) -> int:
        return len(self._labels)

    def in_order(self, batch_size: int) -> list[slice]:
        """Slices that cover every image once, for `plain`."""
        return [slice(start, start + batch_size) for start in range(0, len(self), batch_size)]

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Full batches of indices in random order, for `augmented`; the rest waits for another epoch's order.

        The indices lie where the images are: streaming waits for the device here, and for no batch.
        """
        order = torch.randperm(len(self), generator=generator, device=generator.device).to(self._images.device)
        return iter(torch.split(order[: len(self) - len(self) % batch_size], batch_size))

    def plain(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Images as they are, with their labels (B,)."""
        images, places, labels = self._found(torch.arange(*rows.indices(len(self)), device=self._images.device))
        return self._normalised(images.index_select(0, places)), labels

    def augmented(self, rows: Tensor, *, flip: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Randomly cropped and, with `flip`, mirrored images: both are one choice of pixels."""
        side = torch.arange(self._size, device=self._device)

        def below(limit: int) -> Tensor:
            return torch.randint(limit, (len(rows), 1), generator=generator, device=self._device)

        x = side.expand(len(rows), -1)
        if flip:
            x = torch.where(below(2).bool(), x.flip(1), x)
        y = self._reflected.take(side + below(2 * self._padding + 1))
        x = self._reflected.take(x + below(2 * self._padding + 1))
        images, places, labels = self._found(rows)
        # Whole pixels, chosen by their number, are copied several times as fast as by image, row and column.
        lines = (places[:, None] * self._size + y) * self._size
        batch = images.view(-1, images.shape[3]).index_select(0, (lines[:, :, None] + x[:, None, :]).view(-1))
        return self._normalised(batch.view(len(rows), *images.shape[1:])), labels

    def _found(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images on the device, the places (B,) of these rows among them, and the rows' labels (B,)."""
        if self.streamed:
            rows = rows.cpu()  # where `shuffled` put them
        places = rows if self._places is None else self._places[rows]
        if not self.streamed:
            return self._images, places, self._labels[rows]
        images, labels = self._sent(self._images, places), self._sent(self._labels, rows)
        return images, torch.arange(len(rows), device=self._device), labels

    def _sent(self, whole: Tensor, rows: Tensor) -> Tensor:
        """Rows from the host on the device; nothing waits for them, as torch keeps pinned memory while it is read."""
        batch = torch.empty((len(rows), *whole.shape[1:]), dtype=whole.dtype, pin_memory=self._device.type == "cuda")
        torch.index_select(whole, 0, rows, out=batch)
        return batch.to(self._device, non_blocking=True)

    def _normalised(self, images: Tensor) -> Tensor:
        """(B, size, size, C) uint8 → (B, C, size, size) float32; channels stay innermost, so nothing is moved."""
        batch = images.float()
        return torch.addcmul(self._shift, batch, self._scale, out=batch).permute(0, 3, 1, 2)


def _in_place(images: Images) -> Tensor:
    """A tensor of the same memory, which it only reads: torch's warning that a map cannot be written is void here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(np.ascontiguousarray(images))


def _moved(images: Images | MappedImages, device: torch.device) -> Tensor:
    """A copy on a device, made a part at a time: a map of any length takes a few MiB of the host's memory."""
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    start = 0
    for part in chunks(images):
        there[start : start + len(part)] = _in_place(part)
        start += len(part)
    return there
