"""Images on the device: normalised, augmented batches cut from tensors that already lie where they are needed."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from nas.data import Normalization, Split

__all__ = ["DeviceImages"]


class DeviceImages:
    """One split on one device; hands out normalised float batches (B, C, size, size), channels last in memory."""

    def __init__(self, split: Split, normalization: Normalization, device: torch.device, *, padding: int = 0) -> None:
        self._size = split.images.shape[1]
        self._padding = padding
        images = split.images
        if padding:  # reflected once here, so that a crop is a choice of rows and columns later
            images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
        self._images = torch.tensor(images, device=device)
        self._labels = torch.tensor(split.labels, device=device)
        mean, std = (torch.tensor(values, device=device) for values in normalization)
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def __len__(self) -> int:
        return len(self._labels)

    def in_order(self, batch_size: int) -> list[slice]:
        """Slices that cover every image once, for `plain`."""
        return [slice(start, start + batch_size) for start in range(0, len(self), batch_size)]

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Full batches of indices in random order, for `augmented`; the rest waits for another epoch's order."""
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        return iter(torch.split(order[: len(self) - len(self) % batch_size], batch_size))

    def plain(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Images as they are, with their labels (B,)."""
        inner = slice(self._padding, self._padding + self._size)
        return self._normalised(self._images[rows, inner, inner]), self._labels[rows]

    def augmented(self, rows: Tensor, *, flip: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Randomly cropped and, with `flip`, mirrored images: both are one indexing of the padded images."""
        side = torch.arange(self._size, device=rows.device)

        def below(limit: int) -> Tensor:
            return torch.randint(limit, (len(rows), 1), generator=generator, device=rows.device)

        x = side.expand(len(rows), -1)
        if flip:
            x = torch.where(below(2).bool(), x.flip(1), x)
        y = side + below(2 * self._padding + 1)
        x = x + below(2 * self._padding + 1)
        return self._normalised(self._images[rows[:, None, None], y[:, :, None], x[:, None, :]]), self._labels[rows]

    def _normalised(self, images: Tensor) -> Tensor:
        """(B, size, size, C) uint8 → (B, C, size, size) float32; channels stay innermost, so nothing is moved."""
        return torch.addcmul(self._shift, images.float(), self._scale).permute(0, 3, 1, 2)
