import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.report import report_on
from nas.errors import DataError
from tests.helpers import Ran


def photo(seed: int, *, size: int = 48) -> Image.Image:
    """A smooth image in colour, unlike those of other seeds."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)


def folder_of(root: Path, counts: dict[str, int], *, first: int = 0) -> Path:
    seed = first
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            photo(seed).save(root / name / f"{number}.png")
            seed += 1
    return root


def test_what_a_folder_holds_is_counted(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", {"cat": 30, "dog": 3})
    photo(900, size=20).resize((30, 20)).convert("L").convert("RGB").save(root / "dog" / "grey.png")
    (root / "cat" / "broken.png").write_bytes(b"no image")
    found = report_on(str(root))
    assert found.counts == {"train": (30, 4)}
    assert (found.images, found.classes, found.sides) == (34, ("cat", "dog"), (20, 48, 48))
    assert found.grey == pytest.approx(1 / 34)
    assert found.oblong == pytest.approx(1 / 34)
    assert found.unreadable == ("cat/broken.png",)
    assert found.copies == ()
    assert found.imbalance == 7.5
    assert not any("--metric" in sentence for sentence in found.advice())
    (root / "dog" / "0.png").unlink()
    (root / "dog" / "1.png").unlink()
    (root / "dog" / "2.png").unlink()
    assert any("30 times as many" in sentence and "--metric" in sentence for sentence in report_on(str(root)).advice())


@pytest.mark.parametrize("change", ["same", "jpeg", "smaller", "brighter"])
def test_a_photo_that_was_saved_again_is_found_in_the_other_split(tmp_path: Path, change: str) -> None:
    folder_of(tmp_path / "p" / "train", {"cat": 20, "dog": 20})
    folder_of(tmp_path / "p" / "test", {"cat": 5, "dog": 5}, first=100)
    copy = photo(7)
    target = tmp_path / "p" / "test" / "cat"
    if change == "same":
        copy.save(target / "copy.png")
    elif change == "jpeg":
        copy.save(target / "copy.jpg", quality=70)
    elif change == "smaller":
        copy.resize((33, 33), Image.Resampling.BICUBIC).save(target / "copy.png")
    else:
        copy.point(lambda value: min(255, value + 3)).save(target / "copy.png")
    found = report_on(str(tmp_path / "p"))
    [group] = found.copies
    assert set(zip(group.names, group.splits, strict=True)) == {
        (str(Path("train/cat/7.png")), "train"),
        (f"test/cat/copy.{'jpg' if change == 'jpeg' else 'png'}", "test"),
    }
    assert group.is_leak
    assert not group.is_contradictory
    assert group.exact == (change == "same")
    assert any("Copies stand in more than one split (1 group)" in sentence for sentence in found.advice())


def test_copies_in_two_classes_are_contradictory_and_many_copies_are_one_group(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", {"cat": 10, "dog": 10})
    for name, quality in (("cat/a", 90), ("cat/b", 80), ("dog/c", 70)):
        photo(3).save(root / f"{name}.jpg", quality=quality)
    found = report_on(str(root))
    [group] = found.contradictions
    assert sorted(group.names) == ["cat/3.png", "cat/a.jpg", "cat/b.jpg", "dog/c.jpg"]
    assert not found.leaks
    assert any("copies of other images (3)" in sentence for sentence in found.advice())


def test_images_without_a_drawing_are_not_called_alike(tmp_path: Path) -> None:
    for name, level in (("cat", 200), ("dog", 202)):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (20, 20), (level + number, level, level)).save(tmp_path / name / f"{number}.png")
    assert report_on(str(tmp_path)).copies == ()


def test_the_command_prints_what_was_found(nas_command: Callable[..., Ran], tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", {"cat": 12, "[dog]": 12})
    for number in range(3):
        photo(number).save(root / "[dog]" / f"copy {number}.png")
    ran = nas_command("data", root, "--top", 2)
    assert ran.code == 0
    words = " ".join(ran.out.split())
    assert "27 images of 2 classes, all in colour; their shorter sides have 48 pixels; all square." in words
    assert "With different labels: 3 groups" in words
    assert "[dog]/copy 0.png (train, [dog])" in words
    assert "and 1 more; --top 3 lists all" in words
    found = json.loads(nas_command("data", root, "--json").out)
    assert (found["images"], len(found["copies"]), found["copies"][0]["contradictory"]) == (27, 3, True)
    digits = " ".join(nas_command("data", "digits").out.split())
    assert "1,797 images of 10 classes, all grey; their shorter sides have 8 pixels" in digits
    assert "no such file or folder" in nas_command("data", tmp_path / "nowhere").err


def test_a_split_without_a_readable_image_is_counted_as_empty(tmp_path: Path) -> None:
    folder_of(tmp_path / "p" / "test", {"cat": 2, "dog": 2})
    for name in ("cat", "dog"):
        (tmp_path / "p" / "train" / name).mkdir(parents=True)
        (tmp_path / "p" / "train" / name / "broken.png").write_bytes(b"no image")
    found = report_on(str(tmp_path / "p"))
    assert found.counts == {"train": (0, 0), "test": (2, 2)}
    assert any("2 cannot be read" in sentence for sentence in found.advice())


def test_what_a_search_would_refuse_is_said(tmp_path: Path) -> None:
    folder_of(tmp_path / "outer" / "photos", {"cat": 4, "dog": 4})
    first, second, *_ = report_on(str(tmp_path / "outer")).advice()
    assert "at least 2 classes" in first
    assert f"cat, dog within it are not. If they should be, name {tmp_path / 'outer' / 'photos'} instead" in second
    folder_of(tmp_path / "years" / "2024", {"cat": 4, "dog": 4})
    folder_of(tmp_path / "years" / "2025", {"cat": 4}, first=50)
    (nested,) = [sentence for sentence in report_on(str(tmp_path / "years")).advice() if "outermost" in sentence]
    assert "'2024' is a class, and cat, dog within it are not" in nested
    few = folder_of(tmp_path / "few", {"cat": 9, "dog": 2})
    assert any("at least 3" in sentence and "dog" in sentence for sentence in report_on(str(few)).advice())
    folder_of(tmp_path / "split" / "train", {"cat": 9, "dog": 2})
    folder_of(tmp_path / "split" / "test", {"cat": 2, "dog": 2}, first=60)
    assert not any("at least" in sentence for sentence in report_on(str(tmp_path / "split")).advice())
    assert not any("outermost" in sentence for sentence in report_on(str(tmp_path / "split")).advice())


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", {"cat": 4, "dog": 4})
    for name in ("cat/one.MOV", "cat/two.mov", "dog/notes.txt", "dog/.hidden", "beside.pdf"):
        (root / name).write_bytes(b"")
    found = report_on(str(root))
    assert found.others == {".mov": 2, ".txt": 1}
    assert any("2 .mov, 1 .txt" in sentence and "JPEG" in sentence for sentence in found.advice())
    for file in (root / "cat").glob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"'cat' has no images, only .mov; those that can be read are .*.jpeg, .jpg"):
        report_on(str(root))


def test_parquet_files_that_differ_are_one_line(tmp_path: Path, nas_command: Callable[..., Ran]) -> None:
    pytest.importorskip("datasets")
    import pandas as pd

    for name, columns in (("a", {"x": [1]}), ("b", {"y": ["q"], "z": [2]})):
        (tmp_path / name).mkdir()
        pd.DataFrame(columns).to_parquet(tmp_path / name / f"train-{name}.parquet")
    ran = nas_command("data", tmp_path)
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1
    assert "cannot be read as a data set" in ran.err
