from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas import Input, NasError, load_data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "all").mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (8, 8), (10 * number, 0, 50)).save(tmp_path / "photos" / "all" / f"{number}.png")
    return tmp_path / "photos"


def write(photos: Path, header: str, rows: list[str]) -> str:
    (photos / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return str(photos / "list.csv")


def test_a_csv_file_names_images_labels_and_splits(photos: Path) -> None:
    rows = [f'all/{number}.png,"cat, big",{"test" if number > 15 else "train"}' for number in range(0, 20, 2)]
    rows += [f"all/{number}.png,dog,{'TEST' if number > 15 else 'train'}" for number in range(1, 20, 2)]
    data = load_data(write(photos, "Path,Label,split", rows), Input(3, 8))
    assert data.classes == ("cat, big", "dog")
    reds = data.test.images[:][:, 0, 0, 0].tolist()
    assert sorted(reds) == [160, 170, 180, 190]
    assert [red // 10 % 2 for red in reds] == data.test.labels.tolist()


def test_without_splits_they_are_made(photos: Path) -> None:
    rows = [f"all/{number}.png,{number % 2}" for number in range(20)]
    data = load_data(write(photos, "filename,class", rows), Input(3, 8))
    assert len(data.train.labels) + len(data.validation.labels) + len(data.test.labels) == 20


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("name,label", "all/1.png,a", "has no column 'path'; its columns are name, label"),
        ("path,what", "all/1.png,a", "has no column 'label'"),
        ("path,label", "all/1.png,", "the column 'label' is empty in a row"),
        ("path,label,split", "all/1.png,a,other", "split='other': must be train, validation or test"),
        ("path,label,split", "all/1.png,a,test", "has no rows for training"),
        ("path,label", "all/nowhere.png,b", r"all/nowhere.png \(no file\)"),
        ("path,label", "../secret.png,b", r"\.\./secret.png \(not in the folder of the CSV file\)"),
    ],
)
def test_what_cannot_be_used_is_one_line(photos: Path, header: str, row: str, message: str) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos.parent / "secret.png")
    more = [] if "split" in header else [f"all/{number}.png,{'ab'[number % 2]}" for number in range(2, 20)]
    with pytest.raises(NasError, match=message):
        load_data(write(photos, header, [row, *(f"{each}" for each in more)]), Input(3, 8))


def test_a_link_that_leads_out_is_not_followed(photos: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos.parent / "secret.png")
    (photos / "all" / "link.png").symlink_to(photos.parent / "secret.png")
    rows = ["all/link.png,a", *(f"all/{number}.png,{'ab'[number % 2]}" for number in range(20))]
    with pytest.raises(NasError, match="not in the folder of the CSV file"):
        load_data(write(photos, "path,label", rows), Input(3, 8))


def test_an_empty_file_and_one_that_is_no_text_are_one_line(photos: Path) -> None:
    (photos / "list.csv").write_text("path,label\n")
    with pytest.raises(NasError, match="has no rows below its header"):
        load_data(str(photos / "list.csv"), Input(3, 8))
    (photos / "list.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(NasError, match="cannot be read"):
        load_data(str(photos / "list.csv"), Input(3, 8))
