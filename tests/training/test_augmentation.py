"""Augmentation: what each change does to images, and that labels follow where images are mixed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nas import Recipe, SearchSpace
from nas.data.images import ImageData
from nas.errors import InvalidValue
from nas.training.augmentation import Augmentation
from nas.training.train import on_device, train
from tests.helpers import AUGMENTED

MEAN = torch.tensor([90.0, 100.0, 110.0])


def augmented(images: Tensor, labels: Tensor | None = None, *, seed: int = 0, **recipe: Any) -> tuple[Tensor, Tensor]:
    """Images (B, height, width, C), changed by a recipe with these fields."""
    labels = torch.arange(len(images)) if labels is None else labels
    augmentation = Augmentation(Recipe(**recipe), classes=len(images))
    return augmentation(images, labels, mean=MEAN, generator=torch.Generator().manual_seed(seed))


def photos(count: int = 64, height: int = 12, width: int = 20) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, height, width, 3))).float()


def dot_at(images: Tensor) -> Tensor:
    """The centre of brightness of each image, from the middle of the image, in pixels (B, 2)."""
    bright = images[..., 0]
    places = [torch.arange(side) - (side - 1) / 2 for side in bright.shape[1:]]
    weights = bright / bright.sum(dim=(1, 2), keepdim=True)
    return torch.stack([(weights.sum(2) * places[0]).sum(1), (weights.sum(1) * places[1]).sum(1)], dim=1)


def test_nothing_is_changed_by_a_recipe_without_augmentation() -> None:
    images, labels = photos(), torch.arange(64)
    changed, same = augmented(images, labels)
    assert changed is images
    assert same is labels


def test_a_rotation_turns_around_the_centre_by_at_most_its_angle_whatever_the_proportions() -> None:
    images = torch.zeros((500, 24, 40, 3))
    images[:, 11:13, 27:29] = 255.0  # 8 pixels right of the middle
    changed, labels = augmented(images, rotation=40)
    y, x = dot_at(changed).unbind(1)
    assert torch.allclose((y**2 + x**2).sqrt(), torch.tensor(8.0), atol=0.25)
    angles = torch.rad2deg(torch.atan2(y, x))
    assert 36 < angles.max() < 41
    assert -41 < angles.min() < -36
    assert angles.mean().abs() < 4
    assert labels.tolist() == list(range(500))


def test_mixed_precision_does_not_round_the_changes() -> None:
    plain, _ = augmented(photos(), **AUGMENTED)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, shares = augmented(photos(), **AUGMENTED)
    assert torch.equal(mixed, plain)
    assert shares.dtype == torch.float32


def test_what_comes_into_view_is_a_reflection() -> None:
    changed, _ = augmented(torch.full((20, 9, 9, 3), 200.0), rotation=180)
    assert torch.allclose(changed, torch.tensor(200.0), atol=1e-3)


def test_colours_change_by_at_most_the_share_and_alike_in_all_of_an_image() -> None:
    images = torch.full((300, 4, 4, 3), 100.0)
    changed, _ = augmented(images, color_jitter=0.2)
    assert torch.allclose(changed, changed[:, :1, :1, :1].expand_as(changed), atol=1e-3)  # grey stays grey and even
    factors = changed[:, 0, 0, 0] / 100
    assert 0.8 - 1e-4 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.2 + 1e-4
    red = torch.zeros((300, 4, 4, 3))
    red[..., 0] = 128.0
    changed, _ = augmented(red, color_jitter=0.5)
    assert (changed[..., 0] > changed[..., 1] + 20).all()  # it is still red
    assert changed[..., 1].std() > 5  # of another saturation


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_of_other_channels_keep_their_number(channels: int) -> None:
    images = torch.rand((8, 6, 6, channels)) * 255
    changed, _ = augmented(images, color_jitter=0.5, random_augment=1)
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)


def test_cutout_blanks_a_square_in_the_mean_colour() -> None:
    images = torch.full((400, 10, 16, 3), 7.0)
    changed, _ = augmented(images, cutout=0.4)
    assert set(changed.flatten().tolist()) == {7.0, *MEAN.tolist()}
    blank = (changed == MEAN).all(dim=3)
    tall, wide = blank.any(dim=2).sum(dim=1), blank.any(dim=1).sum(dim=1)
    assert torch.equal(blank.sum(dim=(1, 2)), tall * wide)  # rectangles
    assert tall.max() == wide.max() == 4
    assert tall.min() < 4  # cut off by the border
    assert blank.any(dim=0).all()  # anywhere


@pytest.mark.parametrize("how", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 0.5}, {"cutmix": 0.3}])
def test_labels_are_mixed_as_their_images_are(how: dict[str, Any]) -> None:
    count = 200
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 8, 12, 3).contiguous()  # the label as a colour
    changed, shares = augmented(images, **how)
    assert shares.shape == (count, count)
    assert torch.allclose(shares.sum(1), torch.ones(count), atol=1e-5)
    assert torch.allclose(changed.mean(dim=(1, 2, 3)), shares @ torch.arange(count).float(), atol=1e-2)
    own = shares.diagonal()
    assert abs((own < 1).float().mean().item() - sum(how.values())) < 0.15  # small rectangles may lie between pixels
    assert own.min() < 0.25  # all proportions occur
    is_pasted = [set(image.flatten().tolist()) <= {float(i), (i - 1) % count} for i, image in enumerate(changed)]
    assert all(is_pasted) == ("mixup" not in how)


def test_several_labels_are_mixed_too() -> None:
    images, labels = photos(4), torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]])
    _, shares = augmented(images, labels, mixup=1.0)
    others = labels.roll(1, 0)
    assert shares.shape == (4, 3)
    assert (shares[labels == others] == labels[labels == others]).all()
    assert ((shares > 0) & (shares < 1))[labels != others].all()


def test_random_augment_does_one_thing_to_an_image_and_more_with_more_strength() -> None:
    images = photos(1).repeat(600, 1, 1, 1)
    differences = {}
    for strength in (0.1, 0.5, 1.0):
        changed, _ = augmented(images, random_augment=strength)
        assert changed.min() >= 0
        assert changed.max() <= 255
        differences[strength] = (changed - images).abs().mean().item()
    assert 0 < differences[0.1] < differences[0.5] < differences[1.0]
    untouched = ((changed - images).abs().amax(dim=(1, 2, 3)) < 0.01).float().mean().item()
    assert 1 / 22 < untouched < 1 / 5  # one of eleven operations, and small changes that round to none
    colours = augmented(images, random_augment=1.0)[0]
    assert torch.equal(colours, changed)  # drawn by the generator alone


@pytest.mark.parametrize("field", ["color_jitter", "cutout", "mixup", "cutmix", "random_augment"])
def test_shares_are_from_0_to_1(field: str) -> None:
    for wrong in (-0.1, 1.1):
        with pytest.raises(InvalidValue, match=f"recipe.{field}={wrong}: must be from 0 to 1"):
            Recipe().with_values(**{field: wrong})


def test_images_are_mixed_in_one_way() -> None:
    with pytest.raises(InvalidValue, match=r"recipe.mixup \+ recipe.cutmix=1.1"):
        Recipe(mixup=0.6, cutmix=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_training_with_everything_is_repeatable_and_streamed_alike(
    digits: ImageData, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    if channels == 3:
        tiny = tiny.with_changes(input=replace(tiny.input, channels=3))
        digits = _in_colour(digits)
    network = tiny.architecture(next(tiny.points()))
    recipe = replace(tiny.recipe, epochs=2, batch_size=32, **AUGMENTED)
    data = on_device(digits, recipe, "cpu")
    first = train(network, data, recipe, seed=1)
    again = train(network, data, recipe, seed=1)
    assert first.curve == again.curve
    monkeypatch.setattr("nas.training.train._fits", lambda *_: False)
    streamed = on_device(digits, recipe, "cpu")
    assert streamed.train.streamed
    assert train(network, streamed, recipe, seed=1).curve == first.curve
    plain = train(network, data, replace(tiny.recipe, epochs=2, batch_size=32), seed=1)
    assert any(not torch.equal(value, first.weights[name]) for name, value in plain.weights.items())


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_networks_learn_from_mixed_labels(digits: ImageData, tiny: SearchSpace, weights: str) -> None:
    network = tiny.architecture(next(tiny.points()))
    recipe = replace(tiny.recipe, epochs=8, batch_size=32, mixup=0.5, cutmix=0.5, class_weights=weights)
    assert train(network, on_device(digits, recipe, "cpu"), recipe).accuracy > 0.6


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    digits: ImageData, tiny: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.training.checkpoint.SECONDS_BEFORE_FIRST", 0.0)
    network = tiny.architecture(next(tiny.points()))
    recipe, file = replace(tiny.recipe, epochs=3, **AUGMENTED), tmp_path / "checkpoint"
    data = on_device(digits, recipe, "cpu")
    undisturbed = train(network, data, recipe, seed=3)

    def interrupt(epoch: int, accuracy: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network, data, recipe, seed=3, report=interrupt, checkpoint=file)
    assert file.exists()
    resumed = train(network, data, recipe, seed=3, checkpoint=file)
    assert resumed.curve == undisturbed.curve
    assert all(torch.equal(value, undisturbed.weights[name]) for name, value in resumed.weights.items())


def _in_colour(data: ImageData) -> ImageData:
    splits = [
        split._replace(images=np.repeat(split.images[:], 3, axis=3))
        for split in (data.train, data.validation, data.test)
    ]
    return replace(data, train=splits[0], validation=splits[1], test=splits[2])
