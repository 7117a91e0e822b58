"""Defines `Augmentation`: random changes to batches of training images, on their device."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training.recipe import Recipe

__all__ = ["Augmentation"]

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in an image's grey (ITU-R BT.601)."""
OPERATIONS = 11
FULL_ROTATION, FULL_SHEAR, FULL_SHIFT, FULL_COLOR, FULL_BITS = 30.0, 0.3, 0.45, 0.9, 4.0
"""The full strength of RandAugment's operations: degrees, slope, share of the side, change of a factor, bits lost."""


class _Changes(NamedTuple):
    """What is done to each image of a batch, as tensors (B, 1, 1, 1); the values after the names change nothing."""

    angle: Tensor  # 0, radians
    shear_x: Tensor  # 0
    shear_y: Tensor  # 0
    shift_x: Tensor  # 0, in half widths
    shift_y: Tensor  # 0, in half heights
    brightness: Tensor  # 1
    contrast: Tensor  # 1
    saturation: Tensor  # 1
    bits_lost: Tensor  # 0, of 8
    inverted_from: Tensor  # above 255


class Augmentation:
    """Changes images as a recipe says, each with draws of its own, in this order (`Recipe` has the papers):

    1. rotation, and one operation of `random_augment`; what lies outside is the image's reflection;
    2. brightness, contrast and saturation, by `color_jitter` and `random_augment`;
    3. a square of `cutout`, in the mean colour;
    4. `mixup` or `cutmix` with the image before it in the batch, which mixes the labels as well.

    Crops and flips are not done here but where images are gathered, which costs nothing.

    Args:
        recipe: the training recipe.
        classes: the number of classes.
    """

    def __init__(self, recipe: Recipe, *, classes: int) -> None:
        self.flip, self.flip_vertical = recipe.flip, recipe.flip_vertical
        self._recipe, self._classes = recipe, classes
        self._moves = bool(recipe.rotation or recipe.random_augment)
        self._recolors = bool(recipe.color_jitter or recipe.random_augment)

    def __call__(
        self, images: Tensor, labels: Tensor, *, mean: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Returns changed images and their labels.

        Args:
            images: float32 (B, height, width, C) in [0, 255].
            labels: (B,), or (B, classes) of 0 and 1.
            mean: the mean colour (C,), in [0, 255].
            generator: draws the changes, on the device of the images.

        Returns:
            The images in the form of `images`, and the labels: as they are, or where images are mixed, the share of
            each class, float32 (B, classes).
        """
        if self._moves or self._recolors:
            changes = self._drawn(len(images), images.device, generator)
            if self._moves:
                images = _moved(images, changes)
            if self._recolors:
                images = _recolored(images, changes)
        if self._recipe.cutout:
            images = _cut(images, self._recipe.cutout, mean, generator)
        if self._recipe.mixup or self._recipe.cutmix:
            images, labels = self._mixed(images, labels, generator)
        return images.contiguous(), labels

    def _drawn(self, count: int, device: torch.device, generator: torch.Generator) -> _Changes:
        recipe = self._recipe

        def within(limit: float) -> Tensor:
            return limit * _signed(count, device, generator)

        zero = torch.zeros((count, 1, 1, 1), device=device)
        angle = within(recipe.rotation) if recipe.rotation else zero
        brightness, contrast, saturation = (
            1 + (within(recipe.color_jitter) if recipe.color_jitter else zero) for _ in range(3)
        )
        if not recipe.random_augment:
            turned = torch.deg2rad(angle)
            return _Changes(turned, zero, zero, zero, zero, brightness, contrast, saturation, zero, zero + 256)
        chosen = torch.randint(OPERATIONS, (count, 1, 1, 1), generator=generator, device=device)
        strength = within(recipe.random_augment)

        def of(operation: int, full: float) -> Tensor:  # the operation 0 changes nothing
            return torch.where(chosen == operation, full * strength, zero)

        return _Changes(
            torch.deg2rad(angle + of(1, FULL_ROTATION)),
            of(2, FULL_SHEAR),
            of(3, FULL_SHEAR),
            of(4, 2 * FULL_SHIFT),
            of(5, 2 * FULL_SHIFT),
            brightness + of(6, FULL_COLOR),
            contrast + of(7, FULL_COLOR),
            saturation + of(8, FULL_COLOR),
            of(9, FULL_BITS).abs().round(),
            256 - of(10, 256.0).abs(),
        )

    def _mixed(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mixes each image with the one before it: batches are in random order, so any other is as good."""
        count, height, width, _ = images.shape
        way, share = (_uniform(count, images.device, generator) for _ in range(2))
        kept = torch.where(way < self._recipe.mixup, share, 1.0)  # of the image itself
        others = images.roll(1, 0)
        images = kept * images + (1 - kept) * others
        if self._recipe.cutmix:
            side = (1 - share).sqrt()
            inside = _inside(height, width, side * height, side * width, generator)
            inside &= (way >= self._recipe.mixup) & (way < self._recipe.mixup + self._recipe.cutmix)
            images = torch.where(inside, others, images)
            kept = kept * (1 - inside.float().mean(dim=(1, 2, 3), keepdim=True))
        shares = labels.float() if labels.ndim == 2 else _one_hot(labels, self._classes)
        return images, kept[:, :, 0, 0] * shares + (1 - kept[:, :, 0, 0]) * shares.roll(1, 0)


def _uniform(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """Draws numbers in [0, 1), (count, 1, 1, 1)."""
    return torch.rand((count, 1, 1, 1), generator=generator, device=device)


def _signed(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    return 2 * _uniform(count, device, generator) - 1


def _moved(images: Tensor, changes: _Changes) -> Tensor:
    """Rotates around the centre, shears and shifts.

    Places are computed by elements, as autocast would have `torch.nn.functional.affine_grid` round them to bfloat16.
    """
    height, width = images.shape[1:3]
    x, y = (_centres(side, images.device) * (2 / side) - 1 for side in (width, height))
    x, y = x.view(1, 1, -1, 1), y.view(1, -1, 1, 1)
    cosine, sine = changes.angle.cos(), changes.angle.sin()
    # Coordinates go from −1 to 1 over either side, so that a turn has to know their proportion.
    from_x = cosine * x + (changes.shear_x - sine) * (height / width) * y + changes.shift_x
    from_y = (changes.shear_y + sine) * (width / height) * x + cosine * y + changes.shift_y
    grid = torch.cat([from_x, from_y], dim=3)
    found = F.grid_sample(images.permute(0, 3, 1, 2), grid, padding_mode="reflection", align_corners=False)
    return found.permute(0, 2, 3, 1)


def _recolored(images: Tensor, changes: _Changes) -> Tensor:
    """Changes brightness, contrast and saturation, then posterises and inverts bright pixels."""
    images = images * changes.brightness
    if images.shape[3] == len(GREY):
        grey = sum((share * images[..., c : c + 1] for c, share in enumerate(GREY)), torch.zeros_like(images[..., :1]))
        images = torch.lerp(grey, images, changes.saturation)
    else:
        grey = images
    images = torch.lerp(grey.mean(dim=(1, 2, 3), keepdim=True), images, changes.contrast).clamp(0, 255)
    step = torch.exp2(changes.bits_lost)
    images = torch.where(changes.bits_lost > 0, (images / step).floor() * step, images)
    return torch.where(images >= changes.inverted_from, 255 - images, images)


def _cut(images: Tensor, share: float, mean: Tensor, generator: torch.Generator) -> Tensor:
    count, height, width, _ = images.shape
    side = torch.full((count, 1, 1, 1), share * min(height, width), device=images.device)
    return torch.where(_inside(height, width, side, side, generator), mean, images)


def _inside(height: int, width: int, tall: Tensor, wide: Tensor, generator: torch.Generator) -> Tensor:
    """Returns which pixels (B, height, width, 1) are in a rectangle for each image, whose centre is anywhere in it.

    `tall` and `wide` are its sides in pixels, (B, 1, 1, 1).
    """
    count, device = len(tall), tall.device
    rows, columns = _centres(height, device).view(1, -1, 1, 1), _centres(width, device).view(1, 1, -1, 1)
    y, x = (side * _uniform(count, device, generator) for side in (height, width))
    return ((rows - y).abs() * 2 < tall) & ((columns - x).abs() * 2 < wide)


def _centres(side: int, device: torch.device) -> Tensor:
    """Returns the coordinates of pixels along a side: 0.5, 1.5 and so on."""
    return torch.arange(side, device=device) + 0.5


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.zeros((len(labels), classes), device=labels.device).scatter_(1, labels[:, None], 1.0)
