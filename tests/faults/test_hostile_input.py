"""Architectures, spaces, images and names from people who mean no good: a NasError at most, and nothing is written."""

import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nas import Architecture, Input, SearchSpace, Study, load_data, load_space, search
from nas.cli.arguments import read_study, read_target
from nas.study.config import StudyConfig
from nas.training.recipe import Recipe
from nas.units import parse_count, parse_duration
from nas.validation import LARGEST_FILE, read_yaml, shown
from tests.architectures.test_architecture import VALID
from tests.faults.hostile import ODD, PLAIN, listing, mutated, nested, refused, thorough
from tests.helpers import TINY, Ran, formula, write_photos

COLOUR = Input(3, 8)
SPACE = SearchSpace.from_dict(TINY)
CONFIG = StudyConfig(SPACE, {"source": "digits", "classes": ["a", "b"], "train_images": 3, "max_images": None}, 0)
READERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "architecture": (Architecture.from_dict, VALID),
    "space": (SearchSpace.from_dict, SPACE.to_dict()),
    "recipe": (Recipe.from_dict, Recipe().to_dict()),
    "configuration": (StudyConfig.from_dict, CONFIG.to_dict()),
}
YAML_READERS: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "architecture": (Architecture.from_yaml, VALID),
    "space": (load_space, SPACE.to_dict()),
}
TEXTS, ANYTHING = {"name", "purpose"}, {"versions"}
EXAMPLES = [pytest.param(60, id="short"), pytest.param(4000, id="long", marks=pytest.mark.long)]
Tally = Callable[[str, int], None]


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("what", READERS)
def test_documents_with_anything_in_them_are_read_or_refused_in_a_line(what: str, examples: int, tally: Tally) -> None:
    read, valid = READERS[what]
    assert refused(read, valid) is None

    @thorough(examples)
    @given(mutated(valid, PLAIN + ODD))
    def tried(document: Any) -> None:
        refused(read, document)
        tally("hostile documents", 1)

    tried()


@pytest.mark.parametrize("what", READERS)
def test_anything_in_any_one_place(what: str, tally: Tally) -> None:
    read, valid = READERS[what]
    for value in ODD:
        for key in valid.keys() - ANYTHING:
            assert refused(read, {**valid, key: value}) is not None or (key in TEXTS and isinstance(value, str))
            tally("hostile documents", 1)
        assert refused(read, value) is not None


@pytest.mark.parametrize("read", [parse_count, parse_duration])
def test_numbers_of_any_kind(read: Callable[[Any, str], Any]) -> None:
    for value in [*PLAIN, *ODD, " " * 10**6 + "x", "1" * 10**6 + "x", "1 " * 10**5, "1s" * 10**5, "1" * 400 + "G"]:
        refused(read, value, "field")


def test_what_is_shown_of_a_value_takes_no_longer_for_a_large_one() -> None:
    for value in (
        nested(10**5, lambda value: [value]),
        nested(10**5, lambda value: {1: value}),
        "x" * 10**8,
        {"k": "x" * 10**8},
    ):
        assert refused(lambda value: None if len(shown(value)) <= 60 else 1 / 0, value) is None


TAGS = [
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/name:os.system",
    "!!python/tuple [1]",
    "!!set {1, 2}",
    "!!omap [a: 1]",
    "!!pairs [a: 1]",
    "!!binary aGk=",
    "!!binary x",
    "!!int x",
    "!!float x",
    "!!bool x",
    "!!timestamp x",
    "!!null x",
    "!<tag:yaml.org,2002:python/object/new:os.system> [x]",
    "!x y",
    ".nan",
    "-.inf",
    "1e400",
    "1.0e+400",
    "0x" + "f" * 5000,
    "0b" + "1" * 50_000,
    "9" * 50_000,
    "1" + ":59" * 20_000,
    "2001-99-99",
    "2001-12-14t21:59:43.10-05:00",
    "&a [*a]",
    "&a x",
    "*a",
    "<<: {a: 1}",
    "{<<: [{a: 1}, {a: 2}]}",
    "[" * 5000,
    "{a: " * 5000,
    "- " * 5000,
    "? " * 5000,
    "? [a]\n: b",
    "{[a]: b}",
    "{1: 2, 0x1: 3}",
    "{a: 1, a: 2}",
    "|\n" + "  x\n" * 5000,
    '"' + "\\x41" * 5000 + '"',
    '"\\ud800"',
    "'\x00'",
    "\x1b[31m",
    "%YAML 9.9",
    "--- 1\n--- 2",
    "@",
    "`",
    "\t- a",
]
PIECES = [
    "[",
    "]",
    "{",
    "}",
    ":",
    ": ",
    "- ",
    "? ",
    "\n",
    "  ",
    "#",
    "&a",
    "*a",
    "!",
    "!!",
    "|",
    ">",
    "'",
    '"',
    "%",
    ",",
    "\t",
]


def a_text(valid: Any) -> st.SearchStrategy[bytes]:
    """YAML with scalars replaced or pieces put in; or anything at all."""
    text = yaml.safe_dump(valid, sort_keys=False)
    lines = text.splitlines()
    piece = st.sampled_from(TAGS) | st.lists(st.sampled_from(PIECES), max_size=20).map("".join)

    def put(at: int, new: str) -> bytes:
        line = lines[at]
        changed = f"{line.partition(': ')[0]}: {new}"
        return "\n".join([*lines[:at], changed, *lines[at + 1 :]]).encode("utf-8", "surrogatepass")

    def cut(at: int, new: str) -> bytes:
        return (text[:at] + new + text[at:]).encode("utf-8", "surrogatepass")

    return st.one_of(
        st.builds(put, st.integers(0, len(lines) - 1), piece),
        st.builds(cut, st.integers(0, len(text)), piece),
        st.lists(st.sampled_from(PIECES + TAGS), max_size=30).map(lambda parts: "".join(parts).encode()),
        st.binary(max_size=300),
        st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("what", YAML_READERS)
def test_files_with_anything_in_them_are_read_or_refused_in_a_line(
    what: str,
    examples: int,
    tally: Tally,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, valid = YAML_READERS[what]
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "it.yaml"

    @thorough(examples)
    @given(a_text(valid))
    def tried(content: bytes) -> None:
        file.write_bytes(content)
        line = refused(read, file)
        assert line is None or str(file) in line
        tally("hostile YAML files", 1)

    tried()
    assert [path.name for path in tmp_path.iterdir()] == ["it.yaml"]


@pytest.mark.parametrize(
    "name", ["x" * 300, "x" * 10_000 + ".yaml", "\0", "a\0.yaml", "", "/", "~", "../..", "\x1b[31m"], ids=ascii
)
def test_names_of_files_that_are_none(name: str) -> None:
    assert refused(load_space, name) is not None
    assert refused(Architecture.from_yaml, name) is not None


def test_a_file_that_is_none_or_too_long_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe.yaml", "zero.yaml", "folder.yaml"):
        line = refused(Architecture.from_yaml, tmp_path / name)
        assert line is not None
        assert "is not a file" in line
    long = tmp_path / "long.yaml"
    long.write_bytes(b"#" * (LARGEST_FILE + 1))
    assert "is longer than" in (refused(read_yaml, long) or "")
    long.write_bytes(b"#" * LARGEST_FILE)
    assert refused(read_yaml, long) is None


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"depth": 1, "mid": 8, "groups": 8, "out": {"low": 1, "high": 1000}}, "widths"),
        ({"depth": {"low": 1, "high": 1000}, "mid": {"low": 1, "high": 1000}, "groups": [1], "out": [8, 9]}, "forms"),
    ],
)
def test_a_space_that_nothing_could_go_through_is_refused_at_once(stage: Any, message: str) -> None:
    data = {"name": "x", "input": {"channels": 3, "size": 32}, "stages": [{**stage, "stride": 1}] * 2}
    assert message in (refused(SearchSpace.from_dict, data) or "")
    assert "at most 64" in (refused(SearchSpace.from_dict, {**TINY, "stages": TINY["stages"] * 1000}) or "")  # type: ignore[operator]


@pytest.mark.long
@pytest.mark.parametrize("command", ["space", "profile --sizes 8"])
def test_what_no_memory_can_hold_is_told_in_a_line(command: str, tmp_path: Path) -> None:
    stages = [{"depth": 1, "mid": 65_536, "groups": 1, "out": 65_536, "stride": 1}]
    size = 65_536 if command == "space" else 8
    stem = [{"width": 65_536}]
    whole = {"input": {"channels": 3, "size": size}, "classes": 10, "stem": stem, "stages": stages}
    (tmp_path / "it.yaml").write_text(yaml.safe_dump({"name": "x", **whole} if command == "space" else whole))
    name, *options = command.split()
    ran = subprocess.run(
        [sys.executable, "-m", "nas", name, str(tmp_path / "it.yaml"), *options],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34)),
    )
    assert (ran.returncode, ran.stderr) == (2, "nas: there is not enough memory for a network or images of that size\n")


# Images.


def png(width: int, height: int, *, colour: int = 0, depth: int = 8, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb(side: int) -> bytes:
    """A PNG of a few kB that is whole and unpacks to side² bytes."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side))
    return png(side, side, pixels=rows + packer.flush())


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    content = io.BytesIO()
    (image or Image.new("RGB", (20, 20), "red")).save(content, kind, **options)
    return content.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        png(100_000, 100_000),
        png(0, 0),
        png(10, 10),
        png(2**31 - 1, 2**31 - 1, depth=16, colour=6),
        bomb(9000),
        encoded("PCX"),  # as EPS, one of the many that Pillow could read
        encoded("JPEG")[:300],
        encoded("PNG")[:50],
        b"GIF89a" + b"\xff" * 20,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        b"P6 99999999 99999999 255\n",
        b"\x00\x00\x00\x00" * 1000,
    ],
    ids=str,
)
def test_images_that_are_none_are_told_by_name(content: bytes, photos: Path) -> None:
    (photos / "cat" / "bad.png").write_bytes(content)
    line = refused(load_data, str(photos), COLOUR)
    assert line is not None
    assert "1 image cannot be read: cat/bad.png" in line
    data = load_data(str(photos), COLOUR, skip_bad_images=True)
    assert data.skipped == ("cat/bad.png",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("wrong.jpg", encoded("PNG")),
        ("wrong.png", encoded("JPEG")),
        ("moves.gif", encoded("GIF", save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")] * 50)),
        ("moves.webp", encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")] * 5)),
        ("printed.jpg", encoded("JPEG", Image.new("CMYK", (20, 20)))),
        ("palette.png", encoded("PNG", Image.new("P", (20, 20)), transparency=b"\x00\x80")),
        ("deep.png", encoded("PNG", Image.fromarray(np.full((9, 9), 4096, np.uint16)))),
        ("exif.jpg", encoded("JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x12\x01" * 30_000)),
        ("large.png", bomb(4000)),
        ("thin.png", encoded("PNG", Image.new("L", (1, 60_000)))),
    ],
)
def test_images_that_are_odd_are_read_without_a_word(name: str, content: bytes, photos: Path) -> None:
    (photos / "cat" / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not load_data(str(photos), COLOUR).skipped


def test_unpacking_is_bounded(photos: Path) -> None:
    large, too_large = bomb(8000), bomb(12_000)
    for number in range(3):
        (photos / "cat" / f"bomb{number}.png").write_bytes(large)
        (photos / "dog" / f"bomb{number}.png").write_bytes(too_large)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = load_data(str(photos), COLOUR, skip_bad_images=True)
    assert len(data.skipped) == 3
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 600_000, f"{grown} kB"  # 64 million pixels, as greys and as colours, are 320 MB: one at a time


def test_what_leads_out_of_the_folder_is_not_followed(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_photos(own, classes=("secret",))
    private = own / "secret" / "00.png"
    bad = {
        "out.png": (private, "leads out of the folder; copy there what it leads to"),
        "up.png": (Path("../../own/secret/00.png"), "leads out of the folder"),
        "device.png": (Path("/dev/zero"), "leads out of the folder"),
        "broken.png": (Path("nowhere.png"), "a link to nothing"),
        "loop.png": (Path("loop.png"), "a link to nothing"),
    }
    for name, (target, _) in bad.items():
        (photos / "cat" / name).symlink_to(target)
    os.mkfifo(photos / "cat" / "pipe.png")
    (photos / "cat" / "inside.png").symlink_to("../dog/00.png")
    assert "leads out of the folder; copy there" in (refused(load_data, str(photos), COLOUR) or "")
    data = load_data(str(photos), COLOUR, skip_bad_images=True)
    said = dict(skipped.removeprefix("cat/").split(" (", maxsplit=1) for skipped in data.skipped)
    assert said.keys() == bad.keys() | {"pipe.png"}
    assert all(why in said[name] for name, (_, why) in bad.items())
    assert said["pipe.png"] == "no file)"
    assert sum(len(split.labels) for split in (data.train, data.validation, data.test)) == 17
    linked = tmp_path / "linked"
    linked.symlink_to(photos)
    assert load_data(str(linked), COLOUR, skip_bad_images=True).classes == ("cat", "dog")
    (photos / "bird").symlink_to(own / "secret")
    assert "'bird' is a link that leads out of the folder; copy there" in (
        refused(load_data, str(photos), COLOUR) or ""
    )


def test_names_of_classes_and_files_are_fit_to_be_shown(tmp_path: Path) -> None:
    names = ("a\x1b]0;x\x07", "b\nc", "d\u202ee", "f\u2066")
    write_photos(tmp_path / "photos", classes=names)
    (tmp_path / "photos" / names[0] / "\x1b[2J.png").write_bytes(b"")
    line = refused(load_data, str(tmp_path / "photos"), COLOUR)
    assert line is not None
    assert r"\x1b[2J.png" in line
    data = load_data(str(tmp_path / "photos"), COLOUR, skip_bad_images=True)
    assert data.classes == (r"a\x1b]0;x\x07", r"b\nc", r"d\u202ee", r"f\u2066")
    assert data.skipped == (r"a\x1b]0;x\x07/\x1b[2J.png",)
    (tmp_path / "photos" / r"b\nc").mkdir()
    (tmp_path / "photos" / "b\nc" / "00.png").rename(tmp_path / "photos" / r"b\nc" / "00.png")
    assert "two classes are called" in (
        refused(load_data, str(tmp_path / "photos"), COLOUR, skip_bad_images=True) or ""
    )


@pytest.mark.parametrize("examples", EXAMPLES)
def test_images_with_any_byte_changed(examples: int, tally: Tally, tmp_path: Path) -> None:
    from nas.data.loading import _decode

    kinds = [encoded(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")]
    kinds.append(encoded("JPEG", Image.new("RGB", (40, 40)), progressive=True))

    @thorough(5 * examples)
    @given(
        st.sampled_from(kinds),
        st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=8)), min_size=1, max_size=4),
    )
    def tried(content: bytes, changes: list[tuple[int, bytes]]) -> None:
        for at, new in changes:
            place = at % (len(content) + 1)
            content = content[:place] + new + content[place + (at % 3) * len(new) :]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refused(_decode, content, "it", COLOUR)
        tally("hostile images", 1)

    tried()


# Parquet.


def parquet(file: Path, images: list[Any], labels: list[Any]) -> None:
    table = pytest.importorskip("pyarrow")
    from pyarrow import parquet as written

    pytest.importorskip("datasets")
    written.write_table(table.table({"image": images, "label": labels}), file)


def test_a_parquet_file_cannot_name_a_person_s_own_files(tmp_path: Path) -> None:
    private = write_photos(tmp_path / "own", classes=("secret",)) / "secret" / "00.png"
    good = {"bytes": encoded("PNG"), "path": None}
    parquet(tmp_path / "it.parquet", [good] * 8 + [{"bytes": None, "path": str(private)}] * 2, [0, 1] * 5)
    line = refused(load_data, str(tmp_path / "it.parquet"), COLOUR)
    assert line is not None
    assert "00.png (not in the data)" in line
    assert len(load_data(str(tmp_path / "it.parquet"), COLOUR, skip_bad_images=True).skipped) == 2


GOOD = {"bytes": encoded("PNG"), "path": "x.png"}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ([1, 2, 3], [0, 1, 0]),
        (["x", "y", "z"], [0, 1, 0]),
        ([b"x", b"y", b"z"], [0, 1, 0]),
        ([[1], [2], [3]], [0, 1, 0]),
        ([{"a": 1}] * 3, [0, 1, 0]),
        ([{"bytes": "x", "path": 1}] * 3, [0, 1, 0]),
        ([GOOD] * 3, [0.5, 1.5, 0.5]),
        ([GOOD] * 3, [None, None, None]),
        ([GOOD] * 3, [[0], [1], [0]]),
        ([GOOD] * 3, [{"a": 1}] * 3),
        ([GOOD] * 3, [True, False, True]),
        ([GOOD] * 3, [-(2**63), 2**63 - 1, 0]),
        ([GOOD] * 3, ["a" * 10**6, "b", "c"]),
        ([GOOD] * 4, ["a\x1b", "a\\x1b"] * 2),
        ([None] * 3, [0, 1, 0]),
        ([], []),
    ],
)
def test_parquet_files_with_the_wrong_columns(images: list[Any], labels: list[Any], tmp_path: Path) -> None:
    parquet(tmp_path / "it.parquet", images, labels)
    assert refused(load_data, str(tmp_path / "it.parquet"), COLOUR) is not None


@pytest.mark.parametrize("cuts", [pytest.param(6, id="short"), pytest.param(60, id="long", marks=pytest.mark.long)])
def test_parquet_files_that_are_cut_or_changed(cuts: int, tmp_path: Path, tally: Tally) -> None:
    parquet(tmp_path / "whole.parquet", [GOOD] * 20, [0, 1] * 10)
    whole = (tmp_path / "whole.parquet").read_bytes()
    rng = np.random.default_rng(0)
    for number, at in enumerate(np.linspace(0, len(whole) - 1, cuts).astype(int).tolist()):
        cut = tmp_path / f"cut{number}.parquet"
        cut.write_bytes(whole[:at])
        assert refused(load_data, str(cut), COLOUR) is not None
        changed = tmp_path / f"changed{number}.parquet"
        changed.write_bytes(whole[:at] + rng.bytes(4) + whole[at + 4 :])
        refused(load_data, str(changed), COLOUR)
        tally("hostile parquet files", 2)


@pytest.mark.parametrize(
    "source",
    [
        "../..",
        "a/..",
        "../a",
        "a/b/../c",
        "\0/a",
        "a/\0",
        "~nobody-here/x",
        "x" * 300 + "/y",
        "a" * 100_000,
        "",
        " / ",
        "a/b?c",
        "a@b/c",
        "hf://a/b",
        "https://x/y",
        "-a/b",
        "a\n/b",
    ],
    ids=ascii,
)
def test_names_of_data_sets_that_are_none(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(load_data, source, COLOUR) is not None


@pytest.mark.parametrize("data", [([[1], [2, 3]], [0, 1]), (np.zeros((2, 8, 8, 3), np.uint8), [0, 10**12]), ("x", "y")])
def test_pairs_that_are_no_images(data: Any) -> None:
    assert refused(load_data, data, COLOUR) is not None


# Names of studies.

BAD_NAMES = [
    "../x",
    "..",
    ".",
    "",
    "/tmp/x",
    "x/../y",
    "x/y",
    "x\0y",
    "x\ny",
    "x" * 300,
    "-x",
    "x y",
    "\x1b[31m",
    "x:y",
]
DOORS: dict[str, Callable[[str, Path, str | None], Any]] = {
    "create": lambda name, runs, url: Study.create(name, runs, CONFIG, storage=url),
    "open": lambda name, runs, url: Study.open(name, runs, storage=url),
    "read": lambda name, runs, url: read_study(name, runs=runs, storage=url),
    "target": lambda name, runs, url: read_target(name, runs=runs, storage=url),
}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with two studies, in a folder with things that are nobody else's."""
    outer = tmp_path_factory.mktemp("surroundings")
    (outer / "x").mkdir()
    (outer / "x" / "precious.txt").write_text("precious")
    search(SPACE, evaluate=formula, trials=2, name="there", runs=outer / "runs")
    search(
        SPACE,
        evaluate=formula,
        trials=1,
        name="based",
        runs=outer / "runs",
        storage=f"sqlite:///{outer / 'runs' / 'x.db'}",
    )
    return outer


@pytest.fixture
def runs(surroundings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that runs folder, and of what is around it, which is where we are."""
    shutil.copytree(surroundings, tmp_path / "outer")
    monkeypatch.chdir(tmp_path / "outer")
    return tmp_path / "outer" / "runs"


@pytest.mark.parametrize("based", [False, True], ids=["journal", "database"])
@pytest.mark.parametrize("door", DOORS)
def test_no_name_leads_out_of_the_runs_folder(door: str, based: bool, runs: Path) -> None:
    url = f"sqlite:///{runs / 'x.db'}" if based else None
    before = listing(runs.parent)
    for name in BAD_NAMES:
        assert refused(DOORS[door], name, runs, url) is not None
        assert not Study.exists(name, runs)
    assert listing(runs.parent) == before


COMMANDS = [
    ("front", "NAME"),
    ("trials", "NAME"),
    ("show", "0", "NAME"),
    ("pick", "NAME"),
    ("export", "NAME", "--out", "out"),
    ("confirm", "NAME"),
    ("train", "NAME:0"),
    ("profile", "NAME:0"),
    ("worker", "NAME"),
    ("search", "digits", "--study", "NAME", "--workers", "1", "--trials", "1"),
    ("search", "digits", "--warm-start", "NAME", "--workers", "1", "--trials", "1"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_command_takes_a_name_that_leads_out(
    command: tuple[str, ...], runs: Path, nas_command: Callable[..., Ran]
) -> None:
    before = listing(runs.parent)
    for name in ("../x", "..", "/tmp/x", "x\ny", "x" * 300):
        for storage in ([], ["--storage", f"sqlite:///{runs / 'x.db'}"]):
            ran = nas_command(*(part.replace("NAME", name) for part in command), "--runs", runs, *storage)
            assert ran.code == 2
            assert ran.err.count("\n") == 1, ran.err
            assert ran.err.startswith("nas: ")
    assert listing(runs.parent) == before


def test_what_a_database_calls_its_studies_is_not_believed(runs: Path, nas_command: Callable[..., Ran]) -> None:
    import optuna

    from nas.study.catalog import list_studies

    url = f"sqlite:///{runs / 'x.db'}"
    for name in ("../x", "/tmp/x", "\x1b[31m", "x" * 300, "based\n"):
        optuna.create_study(study_name=name, storage=url)
    assert list_studies(runs, storage=url) == ["based"]
    (runs / "\x1b[31m").mkdir()
    (runs / "\x1b[31m" / "study.yaml").touch()
    assert set(list_studies(runs)) == {"there", "based"}
    assert "\x1b" not in nas_command("front", "nowhere", "--runs", runs).err


@pytest.mark.parametrize("url", ["sqlite:///{}/new.db", "sqlite:///{}/other.db", "sqlite:///{}/precious.txt"])
def test_reading_makes_no_database(url: str, runs: Path, nas_command: Callable[..., Ran]) -> None:
    """Also where a stranger's study.yaml names it."""
    import sqlite3

    with sqlite3.connect(runs.parent / "x" / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    file = runs / "there" / "study.yaml"
    file.write_text(file.read_text().replace("storage: null", "storage: " + url.format(runs.parent / "x")))
    before = listing(runs.parent)
    for command in ("front", "trials"):
        assert nas_command(command, "there", "--runs", runs).code == 2
        assert nas_command(command, "there", "--runs", runs, "--storage", url.format(runs.parent / "x")).code == 2
    assert listing(runs.parent) == before


def test_a_journal_that_is_a_link_is_not_appended_to(runs: Path, nas_command: Callable[..., Ran]) -> None:
    journal = runs / "there" / "journal.log"
    journal.rename(runs.parent / "x" / "elsewhere.log")
    journal.symlink_to(runs.parent / "x" / "elsewhere.log")
    before = listing(runs.parent)
    ran = nas_command("search", "digits", "--study", "there", "--runs", runs, "--workers", "1", "--trials", "3")
    assert ran.code == 2
    assert "is a link; copy there what it leads to" in ran.err
    assert listing(runs.parent) == before
