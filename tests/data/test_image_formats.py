"""Photos as phones store them: HEIC, with its extra and without."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas import Input
from nas.data.formats import image_formats
from nas.data.loading import load_data
from nas.data.report import report_on
from nas.errors import DataError
from nas.exporters.templates import model as program
from tests.data.test_report import folder_of, photo

SHAPE = Input(3, 48, 32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Upright photos of phones that were held on their side."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    root, exif = tmp_path / "photos", Image.Exif()
    exif[0x0112] = 6
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(5):
            upright = photo(10 * label + number).resize((64, 96))
            upright.transpose(Image.Transpose.ROTATE_90).save(root / name / f"{number}.HEIC", exif=exif.tobytes())
    return root


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


def test_heic_is_read_upright(photos: Path) -> None:
    assert "HEIF" in image_formats()
    found = report_on(str(photos))
    assert (found.images, found.others, found.unreadable) == (10, {}, ())
    data = load_data(str(photos), SHAPE)
    assert data.train.images.shape[1:] == (48, 32, 3)
    truths = [np.asarray(photo(seed).resize((32, 48)), dtype=float) for seed in [*range(5), *range(10, 15)]]
    for image in np.asarray(data.train.images):
        assert min(np.abs(image - truth).mean() for truth in truths) < 8


def test_the_program_of_a_bundle_reads_heic(photos: Path) -> None:
    pixels = program.read_with_pillow(photos / "cat" / "0.HEIC", (32, 48), "crop").numpy()
    assert np.abs(pixels.transpose(1, 2, 0) - np.asarray(photo(0).resize((32, 48)), dtype=float)).mean() < 8


@pytest.mark.usefixtures("no_extra")
def test_without_the_extra_heic_is_left_out_and_said(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "photos", {"cat": 4, "dog": 4})
    (root / "cat" / "one.HEIC").write_bytes(b"")
    found = report_on(str(root))
    assert found.others == {".heic": 1}
    assert any("1 .heic" in sentence and "JPEG" in sentence for sentence in found.advice())
    assert any("pip install pillow-heif" in sentence for sentence in found.advice())
    for file in (root / "cat").glob("*.png"):
        file.unlink()
    with pytest.raises(
        DataError, match=r"'cat' has no images, only .heic; HEIC is read with .* pip install pillow-heif"
    ):
        report_on(str(root))
