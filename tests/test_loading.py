import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas import Input, NasError, load_data
from nas import loading as loading_module
from tests.conftest import write_photos

COLOUR = Input(3, 8)


def test_digits_are_all_there() -> None:
    data = load_data("digits", Input(1, 8))
    assert [len(split.labels) for split in (data.train, data.validation, data.test)] == [1151, 287, 359]
    assert data.classes == tuple("0123456789")
    assert data.train.images.max() == 255


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
    colour = load_data(str(photos), COLOUR).train.images
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
    for image, label in zip(data.train.images, data.train.labels, strict=True):
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

    def counted(content: bytes | Path, name: str, wanted: Input) -> np.ndarray | None:
        decoded.append(name)
        return original(content, name, wanted)

    monkeypatch.setattr(loading_module, "_decode", counted)
    first = load_data(str(photos), COLOUR)
    assert len(decoded) == 16
    assert load_data(str(photos), COLOUR).fingerprint == first.fingerprint
    assert len(decoded) == 16
    Image.new("RGB", (9, 9)).save(photos / "cat" / "00.png")
    load_data(str(photos), COLOUR)
    assert len(decoded) == 32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such file or folder"),
        (lambda root: root.mkdir(), "holds no class folders"),
        (lambda root: root.write_text("x"), "not a .parquet one"),
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
