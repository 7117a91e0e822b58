"""Images with any number of labels: how sources name them, and how they are split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas import Input, NasError, load_data
from nas.data.images import ImageData, label_sets
from nas.data.inspection import example_images, inspect_source
from nas.data.report import report_on

COLOUR = Input(3, 8)
SETS = (("cat",), ("cat", "dog"), ("dog",), (), ("cat", "cow", "dog"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty images, whose red value is ten times their place in `SETS`."""
    for number in range(40):
        red = 10 * (number % len(SETS))
        Image.new("RGB", (8, 8), (red, number, 50)).save(tmp_path / f"{number}.png")
    return tmp_path


def write(photos: Path, *, separator: str = ";", column: str = "labels", split: bool = False) -> str:
    rows = [f'{number}.png,"{separator.join(SETS[number % len(SETS)])}"' for number in range(40)]
    if split:
        rows = [f"{row},{'test' if number >= 30 else 'train'}" for number, row in enumerate(rows)]
    (photos / "list.csv").write_text("\n".join([f"path,{column}{',split' * split}", *rows]) + "\n")
    return str(photos / "list.csv")


def check(data: ImageData) -> None:
    assert data.classes == ("cat", "cow", "dog")
    assert data.is_multi_label
    assert sum(len(split.labels) for split in (data.train, data.validation, data.test)) == 40
    for split in (data.train, data.validation, data.test):
        reds = split.images[:][:, 0, 0, 0] // 10
        named = [tuple(data.classes[label] for label in labels) for labels in label_sets(split.labels)]
        assert named == [SETS[red] for red in reds.tolist()]
        assert split.labels.sum(axis=0).min() >= 1


@pytest.mark.parametrize("separator", [";", "|", ",", " ; "])
@pytest.mark.parametrize(("column", "split"), [("labels", False), ("Tags", True)])
def test_a_csv_file_lists_the_labels_of_each_image(photos: Path, separator: str, column: str, split: bool) -> None:
    check(load_data(write(photos, separator=separator, column=column, split=split), COLOUR))


def test_a_column_with_one_label_comes_first(photos: Path) -> None:
    rows = [f"{number}.png,{number % 2},a;b" for number in range(40)]
    (photos / "list.csv").write_text("\n".join(["path,label,labels", *rows]))
    assert not load_data(str(photos / "list.csv"), COLOUR).is_multi_label


def test_labels_that_are_all_empty_are_one_line(photos: Path) -> None:
    (photos / "list.csv").write_text("path,labels\n0.png,\n1.png,;\n")
    with pytest.raises(NasError, match="the column 'labels' is empty in all rows"):
        load_data(str(photos / "list.csv"), COLOUR)


def test_a_parquet_file_may_hold_lists(photos: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": (photos / f"{number}.png").read_bytes()} for number in range(40)]
    for labels, of in (
        ([list(SETS[number % len(SETS)]) for number in range(40)], datasets.Value("string")),
        (
            [[("cat", "cow", "dog").index(name) for name in SETS[number % len(SETS)]] for number in range(40)],
            datasets.ClassLabel(names=["cat", "cow", "dog"]),
        ),
    ):
        features = datasets.Features({"image": datasets.Image(), "labels": datasets.List(of)})
        table = datasets.Dataset.from_dict({"image": images, "labels": labels}, features=features)
        table.to_parquet(str(photos / "all.parquet"))
        check(load_data(str(photos / "all.parquet"), COLOUR))


def arrays() -> tuple[np.ndarray, np.ndarray]:
    images = np.zeros((40, 8, 8, 3), np.uint8)
    images[:, 0, 0, 0] = 10 * (np.arange(40) % len(SETS))
    labels = np.array([[name in SETS[number % len(SETS)] for name in ("cat", "cow", "dog")] for number in range(40)])
    return images, labels


def test_arrays_and_npz_files_have_a_column_for_each_label(tmp_path: Path) -> None:
    images, labels = arrays()
    np.savez(tmp_path / "all.npz", images=images, labels=labels.astype(np.uint8))
    for source in ((images, labels), (images, labels.astype(int)), str(tmp_path / "all.npz")):
        data = load_data(source, COLOUR)
        assert data.classes == ("0", "1", "2")
        assert label_sets(data.test.labels) == [
            tuple(("cat", "cow", "dog").index(name) for name in SETS[red // 10])
            for red in data.test.images[:][:, 0, 0, 0].tolist()
        ]
    np.savez(tmp_path / "all.npz", images=images, labels=2 * labels.astype(np.uint8))
    for source in ((images, 2 * labels.astype(int)), str(tmp_path / "all.npz")):
        with pytest.raises(NasError, match=r"0 (and|or) 1"):
            load_data(source, COLOUR)


def test_splits_with_labels_of_different_shapes_are_one_line(tmp_path: Path) -> None:
    images, labels = arrays()
    numbers = labels.astype(np.uint8)
    for other in (np.arange(40) % 3, numbers[:, :2], np.hstack([numbers, numbers[:, :1]])):
        np.savez(tmp_path / "all.npz", x_train=images, y_train=numbers, x_test=images, y_test=other)
        with pytest.raises(NasError, match="its splits have labels of different shapes"):
            load_data(str(tmp_path / "all.npz"), COLOUR)


@pytest.mark.parametrize("seed", range(5))
def test_rare_labels_are_in_every_split_and_frequent_ones_about_as_often(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.1, 0.03])
    labels = rng.random((400, 4)) < shares
    data = load_data((rng.integers(0, 255, (400, 8, 8, 3), dtype=np.uint8), labels), COLOUR, seed=seed)
    for split in (data.train, data.validation, data.test):
        assert split.labels.sum(axis=0).min() >= 1
        assert split.labels.mean(axis=0) == pytest.approx(labels.mean(axis=0), abs=0.07)
    few = load_data((rng.integers(0, 255, (400, 8, 8, 3), dtype=np.uint8), labels), COLOUR, seed=seed, max_images=100)
    assert 90 <= len(few.train.labels) + len(few.validation.labels) <= 110


def test_a_label_of_two_images_cannot_be_split() -> None:
    images, labels = arrays()
    labels[:, 1] = np.arange(40) < 2
    with pytest.raises(NasError, match="label '1' has too few images to split"):
        load_data((images, labels), COLOUR)


def test_groups_are_kept_together(photos: Path) -> None:
    lines = Path(write(photos)).read_text().splitlines()
    rows = [f"{line},{number // 5}" for number, line in enumerate(lines[1:])]
    (photos / "list.csv").write_text("\n".join([f"{lines[0]},patient", *rows]))
    data = load_data(str(photos / "list.csv"), COLOUR, group_by="patient")
    check(data)
    groups = [set((split.images[:][:, 0, 0, 1] // 5).tolist()) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8


def test_the_report_counts_every_label_of_an_image(photos: Path) -> None:
    source = write(photos)
    found = report_on(source)
    assert (found.images, found.multi_label) == (40, True)
    assert found.counts == {"train": (24, 8, 24)}
    Image.open(photos / "0.png").save(photos / "1.png")  # has other labels
    wrong = [group for group in report_on(source).contradictions if group.exact]
    assert [group.classes for group in wrong] == [("cat", "cat, dog")]
    assert inspect_source(source).classes == 3
    assert sorted(example_images(source, size=8, most=9)) == ["cat", "cow", "dog"]
