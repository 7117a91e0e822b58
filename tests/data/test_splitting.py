"""Splits that never part a group; the splits of single images are tested in test_images.py."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from nas import Input, NasError, SearchSpace, load_data
from nas.data.images import ImageData, RawImages, Split
from nas.data.splitting import split_images
from nas.study.images import images_of
from tests.helpers import TINY

COLOUR = Input(3, 8)
PATIENTS = 12


def write_patients(root: Path, *, patients: int = PATIENTS, each: int = 3) -> Path:
    """CLASS/pN/pN_K.png: the red value of an image names its patient, who has images of both classes."""
    for patient in range(patients):
        for label in ("ill", "well"):
            folder = root / label / f"p{patient}"
            folder.mkdir(parents=True)
            for number in range(each):
                colour = (patient, 10 * number, 99 if label == "ill" else 0)
                Image.new("RGB", (8, 8), colour).save(folder / f"p{patient}_{number}.png")
    return root


def patients_of(data: ImageData) -> list[set[int]]:
    return [set(split.images[:][:, 0, 0, 0].tolist()) for split in (data.train, data.validation, data.test)]


def assert_apart(data: ImageData, *, patients: int = PATIENTS) -> None:
    train, validation, test = patients_of(data)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(train) + len(validation) + len(test) == patients
    assert 1 <= len(test) <= patients / 3
    for split in (data.train, data.validation, data.test):
        assert set(split.labels.tolist()) == {0, 1}


@pytest.mark.parametrize("group_by", ["folder", r"p\d+", r"(p\d+)_", r"/p(?P<who>\d+)/"])
@pytest.mark.parametrize("seed", range(3))
def test_no_group_stands_in_two_splits(group_by: str, seed: int, tmp_path: Path) -> None:
    source = str(write_patients(tmp_path / "photos"))
    assert_apart(load_data(source, COLOUR, seed=seed, group_by=group_by))
    alone = patients_of(load_data(source, COLOUR, seed=seed))
    assert alone[0] & alone[1]  # without groups they do


def test_unreadable_images_do_not_shift_the_groups(tmp_path: Path) -> None:
    photos = write_patients(tmp_path / "photos")
    for patient in (0, 5):
        (photos / "ill" / f"p{patient}" / f"p{patient}_0.png").write_text("no image")
    data = load_data(str(photos), COLOUR, group_by="folder", skip_bad_images=True)
    assert len(data.skipped) == 2
    assert_apart(data)
    assert_apart(load_data(str(photos), COLOUR, group_by="folder", skip_bad_images=True))  # from the cache


def test_a_part_of_the_images_keeps_the_groups_apart(tmp_path: Path) -> None:
    photos = write_patients(tmp_path / "photos")
    data = load_data(str(photos), COLOUR, group_by="folder", max_images=24)
    train, validation, test = patients_of(data)
    assert not train & validation
    assert not (train | validation) & test
    assert len(data.train.labels) + len(data.validation.labels) < 40


def test_a_column_of_a_csv_file_or_a_pattern_on_its_paths(tmp_path: Path) -> None:
    photos = write_patients(tmp_path / "photos")
    files = sorted(photos.rglob("*.png"))
    lines = [f"{file.relative_to(photos)},{file.parts[-3]},{file.parts[-2]}" for file in files]
    (photos / "list.csv").write_text("\n".join(["path,label,Patient", *lines]))
    assert_apart(load_data(str(photos / "list.csv"), COLOUR, group_by="Patient"))
    assert_apart(load_data(str(photos / "list.csv"), COLOUR, group_by="/(p[0-9]+)/"))


def test_a_column_of_a_parquet_file(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("datasets")
    from pyarrow import parquet

    images, labels, patients = [], [], []
    for number in range(60):
        content = io.BytesIO()
        Image.new("RGB", (8, 8), (number % PATIENTS, number, 0)).save(content, "PNG")
        images.append({"bytes": content.getvalue(), "path": None})
        labels.append(number // PATIENTS % 2)
        patients.append(number % PATIENTS)
    file = tmp_path / "it.parquet"
    parquet.write_table(arrow.table({"image": images, "label": labels, "patient": patients}), file)
    assert_apart(load_data(str(file), COLOUR, group_by="patient"))
    with pytest.raises(NasError, match=r"group_by='folder': must be a column of .*: image, label, patient"):
        load_data(str(file), COLOUR, group_by="folder")


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("p1_", r"group_by='p1_': does not match 'ill/p0/p0_0.png', nor \d+ other images of .*; it must be 'folder'"),
        ("p1_(1)?", r"group_by='p1_\(1\)\?': does not match 'ill/p0/p0_0.png', nor \d+ other images of .*; it must"),
        ("p(", "group_by='p\\(': is neither 'folder' nor a column nor a regular expression: missing \\)"),
        (
            "ill|well",
            "split such that each class is on both sides; class 'ill' has images of 1 group, and at",
        ),
    ],
)
def test_groups_that_cannot_be_are_one_line(group_by: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(NasError, match=message) as raised:
        load_data(str(write_patients(tmp_path / "photos")), COLOUR, group_by=group_by)
    assert "\n" not in str(raised.value)


def test_what_has_no_names_has_no_groups(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="group_by='folder': arrays and the digits have no groups"):
        load_data("digits", Input(1, 8), group_by="folder")
    np.savez(tmp_path / "it.npz", images=np.zeros((20, 8, 8, 3), np.uint8), labels=np.arange(20) % 2)
    with pytest.raises(NasError, match="have neither paths nor columns to group by"):
        load_data(str(tmp_path / "it.npz"), COLOUR, group_by="folder")


def test_a_group_in_two_splits_of_the_source_is_said() -> None:
    split = Split(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2)
    groups = {"train": ("a", "b", "c", "d"), "test": ("e", "d", "c", "f")}
    raw = RawImages("photos", ("x", "y"), split, test=split, groups=groups)
    with pytest.raises(NasError, match=r"photos: the group 'c' \(and 1 more\) has images in train and in test"):
        split_images(raw, seed=0)


def test_a_study_keeps_its_groups_and_how_images_are_made_square(tmp_path: Path) -> None:
    photos = str(write_patients(tmp_path / "photos"))
    space = SearchSpace.from_dict({**TINY, "input": {"channels": 3, "size": 8}})

    def search(trials: int, group_by: str | None) -> nas.Study:
        return nas.search(
            space,
            photos,
            trials=trials,
            name="s",
            runs=tmp_path,
            group_by=group_by,
            resize="letterbox" if group_by else None,
            evaluate=lambda architecture: 0.5,
        )

    study = search(1, "folder")
    assert study.config.data["group_by"] == "folder"
    assert study.config.data["resize"] == "letterbox"
    images = images_of(study.config)
    assert images.resize == "letterbox"
    assert_apart(images)
    assert search(2, None).config == study.config
    with pytest.raises(NasError, match=r"data\.group_by is folder there and p\(\\d\+\) now"):
        search(3, r"p(\d+)")


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.7, 0.9])
def test_of_groups_as_large_a_share_is_held_out_as_asked(share: float, tmp_path: Path) -> None:
    source = str(write_patients(tmp_path / "photos", patients=60, each=1))
    data = load_data(source, COLOUR, group_by="folder", validation=share)
    train, validation, test = patients_of(data)
    assert len(validation) / len(train | validation) == pytest.approx(share, abs=0.03)
    assert not (train | test) & validation


def test_of_groups_at_least_one_of_each_class_is_held_out(tmp_path: Path) -> None:
    source = str(write_patients(tmp_path / "photos", patients=60, each=1))
    train, validation, _ = patients_of(load_data(source, COLOUR, group_by="folder", validation=2))
    assert 1 <= len(validation) < len(train)


def test_a_limit_that_leaves_no_image_of_a_label_is_one_line() -> None:
    labels = np.zeros((200, 4), dtype=np.int64)
    labels[:40, 0] = labels[40:80, 3] = labels[20:62, 2] = labels[80:, 1] = 1  # the third always beside a rarer one
    split = Split(np.zeros((200, 8, 8, 3), dtype=np.uint8), labels)
    raw = RawImages("it", ("0", "1", "2", "3"), split, validation=split, test=split)
    with pytest.raises(NasError, match="max_images=12: leaves no training image of '2'"):
        for seed in range(100):
            split_images(raw, seed=seed, max_images=12)
