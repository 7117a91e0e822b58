import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas import Input, NasError, load_data
from nas.data import cache as cache_module
from nas.data import loading as loading_module
from nas.data.cache import open_shared, save_shared
from nas.data.images import ImageData, MappedImages, Split
from tests.helpers import write_photos

COLOUR = Input(3, 8)


def test_digits_are_all_there() -> None:
    data = load_data("digits", Input(1, 8))
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [1151, 287, 359]
    assert data.classes == tuple("0123456789")
    assert data.train.images[:].max() == 255


def test_digits_do_not_fit_a_colour_space() -> None:
    with pytest.raises(NasError, match=r"digits: its images have channels 1.*input.channels is 3"):
        load_data("digits", COLOUR)


def test_folder_of_classes(tmp_path: Path) -> None:
    data = load_data(str(write_photos(tmp_path / "photos")), COLOUR)
    assert data.classes == ("cat", "dog")
    assert data.train.images.shape == (len(data.train.labels), 8, 8, 3)
    hues = [data.train.images[data.train.labels == label].mean(axis=(0, 1, 2)).argmax() for label in (0, 1)]
    assert hues == [0, 1]  # labels belong to their images


def test_folder_with_splits_keeps_them(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", per_class=10)
    write_photos(tmp_path / "test", per_class=3)
    data = load_data(str(tmp_path), COLOUR)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [16, 4, 6]
    write_photos(tmp_path / "val", per_class=5)
    data = load_data(str(tmp_path), COLOUR)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [20, 10, 6]


def test_a_file_is_no_test_image_for_its_name(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", classes=("test", "train"))
    (photos / "test" / "00.png").rename(photos / "test" / "test_00.png")
    data = load_data(str(photos), COLOUR)
    assert data.classes == ("test", "train")
    assert sum(len(split.labels) for split in (data.train, data.validation, data.test)) == 16


def test_grey_files_fit_colour_but_colour_files_do_not_fit_grey(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    with pytest.raises(NasError, match=r"photos: cat.00.png is in colour.*input.channels is 1"):
        load_data(str(photos), Input(1, 8))
    for file in photos.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert load_data(str(photos), Input(1, 8)).train.images.shape[-1] == 1
    colour = load_data(str(photos), COLOUR).train.images[:]
    assert np.array_equal(colour[..., 0], colour[..., 2])


def test_sixteen_bit_greys_are_scaled_down(tmp_path: Path) -> None:
    for name, value in (("dark", 0x1000), ("light", 0xF000)):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.fromarray(np.full((9, 9), value, dtype=np.uint16)).save(tmp_path / name / f"{number}.png")
    data = load_data(str(tmp_path), Input(1, 8))
    assert set(data.train.images[data.train.labels == 0].ravel().tolist()) == {0x10}
    assert set(data.train.images[data.train.labels == 1].ravel().tolist()) == {0xF0}


def test_transparent_images_lie_on_white_and_grey_ones_may_be_stored_in_colour(tmp_path: Path) -> None:
    for name, level in (("black", 0), ("grey", 90)):
        (tmp_path / name).mkdir()
        for number in range(4):
            drawing = Image.new("RGBA", (12, 12), (level, level, level, 0))
            drawing.paste((level, level, level, 255), (0, 0, 12, 6))
            (drawing if number % 2 else drawing.convert("P")).save(tmp_path / name / f"{number}.png")
    data = load_data(str(tmp_path), Input(1, 12))
    for image, label in zip(data.train.images[:], data.train.labels, strict=True):
        assert image[:5].max() == image[:5].min() == (0, 90)[label]
        assert image[7:].min() == 255


def test_parquet_splits_may_be_folders(tmp_path: Path) -> None:
    for split, rows in (("train", 20), ("test", 6)):
        (tmp_path / split).mkdir()
        parquet(tmp_path / split / "0000.parquet", rows)
    data = load_data(str(tmp_path), COLOUR)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [16, 4, 6]


def test_images_beside_the_splits_are_not_lost_silently(tmp_path: Path) -> None:
    write_photos(tmp_path / "train")
    write_photos(tmp_path, classes=("plane", "car"))
    with pytest.raises(NasError, match="'car' stand beside the splits"):
        load_data(str(tmp_path), COLOUR)


def damage(photos: Path) -> None:
    (photos / "cat" / "03.png").write_bytes(b"not an image")
    whole = (photos / "dog" / "05.png").read_bytes()
    (photos / "dog" / "05.png").write_bytes(whole[: len(whole) // 2])


def test_bad_images_are_named_and_counted_and_skipped_only_when_asked(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    damage(photos)
    with pytest.raises(NasError, match=r"2 images cannot be read: cat.03.png, dog.05.png; .*--skip-bad-images"):
        load_data(str(photos), COLOUR)
    data = load_data(str(photos), COLOUR, skip_bad_images=True)
    assert len(data.skipped) == 2
    assert sum(len(split.labels) for split in (data.train, data.validation, data.test)) == 14
    hues = [data.train.images[data.train.labels == label].mean(axis=(0, 1, 2)).argmax() for label in (0, 1)]
    assert hues == [0, 1]


def test_files_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "photos")
    decoded = []
    original = loading_module._decode

    def counted(*arguments: Any, **options: Any) -> tuple[int, np.ndarray | None]:
        decoded.append(arguments[1])
        return original(*arguments, **options)

    monkeypatch.setattr(loading_module, "_decode", counted)
    first = load_data(str(photos), COLOUR)
    assert len(decoded) == 16
    assert load_data(str(photos), COLOUR).fingerprint == first.fingerprint
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(photos)
    for spelling in ("photos", "./photos/", "photos/../photos", "link"):
        assert load_data(spelling, COLOUR).fingerprint == first.fingerprint
    assert len(decoded) == 16
    Image.new("RGB", (9, 9)).save(photos / "cat" / "00.png")
    load_data(str(photos), COLOUR)
    assert len(decoded) == 32


def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    file = photos / "cat" / "00.bmp"
    Image.new("RGB", (9, 9), "black").save(file)
    before, known = load_data(str(photos), COLOUR).fingerprint, file.stat()
    Image.new("RGB", (9, 9), "white").save(file)
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (known.st_size, known.st_mtime_ns)
    assert load_data(str(photos), COLOUR).fingerprint != before


def test_processes_that_want_the_same_files_at_once_decode_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "photos")
    decoded = []
    original = loading_module._decode

    def slow(*arguments: Any, **options: Any) -> tuple[int, np.ndarray | None]:
        decoded.append(arguments[1])
        time.sleep(0.005)
        return original(*arguments, **options)

    monkeypatch.setattr(loading_module, "_decode", slow)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load_data(str(photos), COLOUR), range(4)))
    assert len(decoded) == 16
    assert len({data.fingerprint for data in loaded}) == 1


def test_files_are_mapped_not_read(tmp_path: Path) -> None:
    write_photos(tmp_path / "train")
    write_photos(tmp_path / "val")
    write_photos(tmp_path / "test")
    whole = load_data(str(tmp_path), COLOUR)
    assert all(isinstance(split.images, np.memmap) for split in (whole.train, whole.validation, whole.test))
    part = load_data(str(tmp_path), COLOUR, max_images=16)
    assert isinstance(part.train.images, MappedImages)
    assert isinstance(part.train.images.array, np.memmap)


def of_arrays(folder: Path) -> Any:
    images = np.random.default_rng(7).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    return images, np.arange(60) % 3


def of_a_map(folder: Path) -> Any:
    images, labels = of_arrays(folder)
    np.save(folder / "mine.npy", images[::-1])
    return np.load(folder / "mine.npy", mmap_mode="r"), labels


def of_a_part_of_a_map(folder: Path) -> Any:
    images, labels = of_a_map(folder)
    return images[6:], labels[6:]


def of_photos(folder: Path) -> Any:
    (write_photos(folder / "photos") / "cat" / "03.png").write_bytes(b"not an image")
    return str(folder / "photos")


def of_photos_in_splits(folder: Path) -> Any:
    for name in ("train", "val", "test"):
        write_photos(folder / name)
    return str(folder)


def assert_equal(ours: ImageData, theirs: ImageData) -> None:
    for name in ("train", "validation", "test"):
        split, other = getattr(ours, name), getattr(theirs, name)
        assert np.array_equal(split.images[:], other.images[:])
        assert np.array_equal(split.labels, other.labels)
        assert split.labels.dtype == other.labels.dtype
    assert ours.describe() == theirs.describe()
    assert (ours.classes, ours.skipped) == (theirs.classes, theirs.skipped)
    assert ours.normalization == theirs.normalization
    assert replace(ours).fingerprint == theirs.fingerprint  # measured anew
    assert replace(ours).normalization == theirs.normalization


@pytest.mark.parametrize("max_images", [None, 12])
@pytest.mark.parametrize(
    ("source", "written"),
    [(of_arrays, 3), (of_a_map, 3), (of_a_part_of_a_map, 3), (of_photos, 0), (of_photos_in_splits, 0)],
)
def test_shared_images_are_the_same_and_mapped_and_written_only_where_they_must_be(
    tmp_path: Path, source: Callable[[Path], Any], written: int, max_images: int | None
) -> None:
    data = load_data(source(tmp_path), COLOUR, max_images=max_images, skip_bad_images=True)
    folder = save_shared(data)
    shared = open_shared(folder)
    assert_equal(shared, data)
    assert len(list(folder.glob("*.images.npy"))) == written
    for split in (shared.train, shared.validation, shared.test):
        images = split.images.array if isinstance(split.images, MappedImages) else split.images
        assert isinstance(images, np.memmap)
        assert not images.flags.writeable
    assert_equal(open_shared(save_shared(shared)), data)


def test_a_part_of_what_the_cache_maps_is_shared_as_that_part(tmp_path: Path) -> None:
    whole = load_data(of_photos_in_splits(tmp_path), COLOUR)
    part = replace(whole, train=Split(whole.train.images[3:9], whole.train.labels[3:9]))
    assert_equal(open_shared(save_shared(part)), part)


def test_a_cache_behind_a_link_is_known_as_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "link"))
    (tmp_path / "photos").mkdir()
    folder = save_shared(load_data(of_photos_in_splits(tmp_path / "photos"), COLOUR))
    assert not list(folder.glob("*.images.npy"))


def test_the_same_images_are_shared_in_one_folder_and_others_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(of_arrays(tmp_path), COLOUR)
    images = data.test.images[:].copy()
    images[0, 0, 0, 0] ^= 1
    others = [
        load_data(of_arrays(tmp_path), COLOUR, seed=1),
        replace(data, classes=("a", "b", "c")),
        replace(data, source="elsewhere"),
        replace(data, skipped=("broken.png",)),
        replace(data, test=Split(images, data.test.labels)),
    ]
    assert len({save_shared(one) for one in (data, *others)}) == 6
    monkeypatch.setattr(cache_module, "written_whole", None)  # nothing is written twice
    assert save_shared(load_data(of_arrays(tmp_path), COLOUR)) == save_shared(data)


def test_nothing_is_measured_again_of_shared_images(tmp_path: Path) -> None:
    data = load_data(of_arrays(tmp_path), COLOUR)
    shared = open_shared(save_shared(data))
    assert vars(shared)["normalization"] == data.normalization
    assert vars(shared)["fingerprint"] == data.fingerprint


def test_sharing_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(of_arrays(tmp_path), COLOUR)
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "save_images", full)
        with pytest.raises(NasError, match=r"arrays: the cache folder .*No space left.*set XDG_CACHE_HOME") as raised:
            save_shared(data)
    assert "\n" not in str(raised.value)
    assert list((cache / "nas").iterdir()) == []
    assert_equal(open_shared(save_shared(data)), data)


@pytest.mark.parametrize(
    "harm",
    [
        shutil.rmtree,
        lambda folder: (folder / "about.json").write_text("{"),
        lambda folder: (folder / "about.json").write_text("{}"),
        lambda folder: (folder / "train.images.npy").unlink(),
        lambda folder: (folder / "train.images.npy").write_bytes(b""),
        lambda folder: (folder / "train.images.npy").write_bytes((folder / "train.images.npy").read_bytes()[:-9]),
    ],
)
def test_shared_images_that_are_not_whole_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], Any]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = save_shared(load_data(of_arrays(tmp_path), COLOUR))
    harm(folder)
    with pytest.raises(NasError, match=r"shared images: the cache folder .* cannot be used") as raised:
        open_shared(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such file or folder"),
        (lambda root: root.mkdir(), "holds no class folders"),
        (lambda root: root.write_text("x"), "not a .parquet, .tar, .csv or .npz one"),
        (lambda root: write_photos(root, classes=("cat",)), "has 1 class"),
        (lambda root: (write_photos(root) / "empty").mkdir(), "class 'empty' has no images"),
        (lambda root: write_photos(root, per_class=2), "class 'cat' has too few images"),
        (
            lambda root: (write_photos(root / "train"), (root / "test" / "cat").mkdir(parents=True)),
            "class 'cat' has no",
        ),
    ],
)
def test_sources_that_cannot_be_used_are_refused(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "photos"
    make(root)  # type: ignore[operator]
    with pytest.raises(NasError, match=message) as raised:
        load_data(str(root), COLOUR)
    assert str(root) in str(raised.value)
    assert "\n" not in str(raised.value)


def parquet(file: Path, rows: int, *, names: tuple[str, ...] | None = ("cat", "dog")) -> None:
    datasets = pytest.importorskip("datasets")
    rng = np.random.default_rng(len(file.name))
    encoded = []
    for number in range(rows):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": f"{number}.png"})
    label = datasets.ClassLabel(names=list(names)) if names else datasets.Value("string")
    labels = [number % 2 if names else ("dog", "cat")[number % 2] for number in range(rows)]
    features = datasets.Features({"image": datasets.Image(), "label": label})
    datasets.Dataset.from_dict({"image": encoded, "label": labels}, features=features).to_parquet(file)


def test_parquet_file_and_folder(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00001.parquet", 20)
    data = load_data(str(tmp_path / "train-00000-of-00001.parquet"), COLOUR)
    assert data.classes == ("cat", "dog")
    assert len(data.test.labels) == 4
    parquet(tmp_path / "test-00000-of-00001.parquet", 6)
    data = load_data(str(tmp_path), COLOUR)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [16, 4, 6]


def test_parquet_with_labels_in_words(tmp_path: Path) -> None:
    parquet(tmp_path / "photos.parquet", 12, names=None)
    data = load_data(str(tmp_path / "photos.parquet"), COLOUR)
    assert data.classes == ("cat", "dog")


def tar(file: Path, labels: Sequence[object]) -> None:
    """A WebDataset file: a number is the content of KEY.cls, anything else that of KEY.json."""
    pytest.importorskip("datasets")
    rng = np.random.default_rng(len(file.name))
    with tarfile.open(file, "w") as archive:
        for number, label in enumerate(labels):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)).save(buffer, "PNG")
            suffix = "cls" if isinstance(label, int) else "json"
            for name, content in (("png", buffer.getvalue()), (suffix, json.dumps(label).encode())):
                member = tarfile.TarInfo(f"images/{number:04}.{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def test_webdataset_file_and_folder(tmp_path: Path) -> None:
    tar(tmp_path / "train-000.tar", [number % 2 for number in range(20)])
    data = load_data(str(tmp_path / "train-000.tar"), COLOUR)
    assert data.classes == ("0", "1")
    assert len(data.test.labels) == 4
    tar(tmp_path / "test-000.tar", [0, 1, 0, 1, 0, 1])
    data = load_data(str(tmp_path), COLOUR)
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [16, 4, 6]


def test_a_tar_beside_the_images_that_it_held_is_left_out(tmp_path: Path) -> None:
    root = write_photos(tmp_path / "photos")
    before = load_data(str(root), COLOUR)
    (root / "photos.tar").write_bytes(b"whatever was unpacked here")
    assert len(load_data(str(root), COLOUR).train.labels) == len(before.train.labels)


def test_webdataset_with_labels_in_json(tmp_path: Path) -> None:
    tar(tmp_path / "one.tar", [{"label": ("dog", "cat")[number % 2], "by": "me"} for number in range(20)])
    assert load_data(str(tmp_path / "one.tar"), COLOUR).classes == ("cat", "dog")
    tar(tmp_path / "several.tar", [{"labels": ["cat", "dog"][: 1 + number % 2]} for number in range(30)])
    data = load_data(str(tmp_path / "several.tar"), COLOUR)
    assert (data.classes, data.train.labels.ndim) == (("cat", "dog"), 2)


def test_a_damaged_tar_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "train.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(NasError, match="cannot be read as a data set") as raised:
        load_data(str(tmp_path), COLOUR)
    assert "\n" not in str(raised.value)


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(NasError, match="cannot be read as a data set") as raised:
        load_data(str(tmp_path), COLOUR)
    assert "\n" not in str(raised.value)


def test_a_hub_name_without_a_network_is_one_line() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(NasError, match="nobody/nothing: cannot be read as a data set") as raised:
        load_data("nobody/nothing", COLOUR)
    assert "\n" not in str(raised.value)
