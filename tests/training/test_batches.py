"""DeviceImages: batches cut from an array, from rows of a memory map, or streamed, which must all be the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nas import Recipe
from nas.data import images as data_module
from nas.data.images import Images, MappedImages, Normalization, Split
from nas.training import batches as batches_module
from nas.training.augmentation import Augmentation
from nas.training.batches import DeviceImages

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CPU = torch.device("cpu")
PLAIN = Augmentation(Recipe(), classes=10)
MIRRORED = Augmentation(Recipe(flip=True), classes=10)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def made(images: Images | MappedImages = IMAGES, *, padding: int = 2, streamed: bool = False) -> DeviceImages:
    return DeviceImages(Split(images, np.arange(len(images))), NORMALIZATION, CPU, padding=padding, streamed=streamed)


def mapped(folder: Path, images: Images = IMAGES) -> MappedImages:
    """The same images as rows, every other one, of a file's memory map."""
    file = folder / "images.npy"
    np.save(file, np.repeat(images, 2, axis=0)[::-1])
    return MappedImages(np.load(file, mmap_mode="r"), np.arange(2 * len(images) - 2, -1, -2))


def test_plain_batches_are_normalised_and_channels_last() -> None:
    batch, labels = made().plain(slice(1, 4))
    mean, std = np.array(NORMALIZATION.mean), np.array(NORMALIZATION.std)
    expected = ((IMAGES[1:4] / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert np.allclose(batch.numpy(), expected, atol=1e-5)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == [1, 2, 3]


def test_augmented_batches_are_crops_of_the_reflected_image_mirrored_half_of_the_time() -> None:
    generator = torch.Generator().manual_seed(0)
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    mean, std = np.array(NORMALIZATION.mean), np.array(NORMALIZATION.std)
    seen: dict[tuple[int, int, bool], int] = {}
    for _ in range(60):
        batch, labels = made().augmented(torch.arange(6), augmentation=MIRRORED, generator=generator)
        pixels = np.rint((batch.numpy().transpose(0, 2, 3, 1) * std + mean) * 255)
        for image, label in zip(pixels, labels.tolist(), strict=True):
            match = [
                (y, x, flipped)
                for y in range(5)
                for x in range(5)
                for flipped in (False, True)
                if np.array_equal(padded[label, y : y + 5, x : x + 5][:, :: -1 if flipped else 1], image)
            ]
            assert match  # twice for a crop that is its own mirror image
            seen.update(dict.fromkeys(match, 1))
    assert len(seen) == 50  # every offset, mirrored and not


def by_padding(images: Images, rows: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """What `augmented` gave when it cut crops from images that had been padded: existing studies were trained so."""
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = torch.from_numpy(np.pad(images, widths, mode="reflect"))
    height, width = images.shape[1:3]

    def below(limit: int) -> Tensor:
        return torch.randint(limit, (len(rows), 1), generator=generator)

    x = torch.arange(width).expand(len(rows), -1)
    if flip:
        x = torch.where(below(2).bool(), x.flip(1), x)
    y = torch.arange(height) + below(2 * padding + 1)
    x = x + below(2 * padding + 1)
    mean, std = (torch.tensor(values) for values in NORMALIZATION)
    cut = padded[rows[:, None, None], y[:, :, None], x[:, None, :]]
    return torch.addcmul(-mean / std, cut.float(), 1 / (255 * std)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("sides", "padding"), [((5, 5), 0), ((5, 5), 1), ((5, 5), 4), ((5, 5), 7), ((1, 1), 2), ((8, 5), 2), ((3, 9), 2)]
)
def test_crops_are_those_of_padded_images_bit_for_bit(
    tmp_path: Path, sides: tuple[int, int], padding: int, flip: bool
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (20, *sides, 3), dtype=np.uint8)
    ways = [
        made(images, padding=padding),
        made(np.asfortranarray(images), padding=padding),
        made(images, padding=padding, streamed=True),
        made(mapped(tmp_path, images), padding=padding),
        made(mapped(tmp_path, images), padding=padding, streamed=True),
    ]
    rows = torch.randperm(20, generator=torch.Generator().manual_seed(2))[:13]
    old = torch.Generator().manual_seed(3)
    expected = [by_padding(images, rows, padding=padding, flip=flip, generator=old) for _ in range(5)]
    for way in ways:
        new = torch.Generator().manual_seed(3)
        for wanted in expected:
            batch, labels = way.augmented(rows, augmentation=MIRRORED if flip else PLAIN, generator=new)
            assert torch.equal(batch, wanted)
            assert batch.stride() == wanted.stride()
            assert torch.equal(labels, rows)
        assert torch.equal(new.get_state(), old.get_state())


def test_without_padding_and_flip_nothing_is_changed() -> None:
    images = made(padding=0)
    rows = torch.tensor([4, 0])
    batch, labels = images.augmented(rows, augmentation=PLAIN, generator=torch.Generator())
    assert torch.equal(batch[1], images.plain(slice(0, 1))[0][0])
    assert labels.tolist() == [4, 0]


@pytest.mark.parametrize("rows", [slice(2), slice(3, 9), slice(None)])
def test_plain_batches_of_rows_of_a_map_and_streamed_ones_are_the_same(tmp_path: Path, rows: slice) -> None:
    expected, labels = made().plain(rows)
    assert labels.tolist() == list(range(6))[rows]
    for images in (IMAGES, mapped(tmp_path)):
        for streamed in (False, True):
            batch, same = made(images, streamed=streamed).plain(rows)
            assert torch.equal(batch, expected)
            assert torch.equal(same, labels)


@pytest.mark.parametrize("streamed", [False, True])
def test_epochs_are_full_batches_of_different_images(streamed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    epochs = [list(made(streamed=streamed).shuffled(4, generator)) for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [4]
    assert len(set(epochs[0][0].tolist())) == 4
    assert not torch.equal(epochs[0][0], epochs[1][0])


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_map_is_not_copied(tmp_path: Path, whole: bool, streamed: bool) -> None:
    rows = mapped(tmp_path)
    images = made(rows.array if whole else rows, streamed=streamed)
    assert images._images.data_ptr() == rows.array.ctypes.data


def test_an_array_is_not_copied_either() -> None:
    assert made()._images.data_ptr() == IMAGES.ctypes.data


@pytest.mark.parametrize("as_given", [lambda folder: IMAGES, mapped])
def test_a_copy_for_a_device_is_made_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_given: Callable[[Path], Images | MappedImages]
) -> None:
    monkeypatch.setattr(data_module, "CHUNK_BYTES", 4 * 75)  # four images, then two
    parts: list[int] = []
    original = batches_module._in_place

    def counted(images: Images) -> Tensor:
        parts.append(len(images))
        return original(images)

    monkeypatch.setattr(batches_module, "_in_place", counted)
    copy = batches_module._moved(as_given(tmp_path), CPU)
    assert parts == [4, 2]
    assert np.array_equal(copy.numpy(), IMAGES)


@needs_cuda
def test_on_a_gpu_streamed_batches_are_those_of_resident_images_and_no_batch_waits(tmp_path: Path) -> None:
    cuda = torch.device("cuda", 0)
    given: list[list[Tensor]] = []
    for images in (IMAGES, mapped(tmp_path)):
        for streamed in (False, True):
            split = Split(images, np.arange(6))
            there = DeviceImages(split, NORMALIZATION, cuda, padding=2, streamed=streamed)
            generator = torch.Generator(cuda).manual_seed(0)
            batches = list(there.shuffled(4, generator))
            torch.cuda.set_sync_debug_mode("error")
            try:
                drawn = [there.augmented(rows, augmentation=MIRRORED, generator=generator) for rows in batches]
                drawn.append(there.plain(slice(1, 5)))
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert all(tensor.device == cuda for pair in drawn for tensor in pair)
            given.append([tensor.cpu() for pair in drawn for tensor in pair])
    for other in given[1:]:
        assert all(torch.equal(a, b) for a, b in zip(given[0], other, strict=True))
