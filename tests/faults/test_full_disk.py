"""Disks that are full, files that may not grow, folders that may not be written: one line, and nothing is lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.data.cache import save_shared
from nas.data.loading import DIGITS, load_data
from nas.errors import NasError
from nas.study.catalog import list_studies
from nas.study.records import TrialRecord, TrialState
from nas.study.study import Study
from nas.system.files import publish, write_whole
from tests.faults.disks import fill, mount, mounted
from tests.helpers import Ran, write_photos

Tally = Callable[[str, int], None]
ROOM = 2**22
NO_SPACE = "No space left on device"

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
UNPRIVILEGED = """
import ctypes, os, sys
PR_CAPBSET_DROP, MAY_WRITE_ANYTHING, MAY_READ_ANYTHING = 24, 1, 2
if os.geteuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (MAY_WRITE_ANYTHING, MAY_READ_ANYTHING):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Python as a person whom permissions bind: also root, once it has given up what sets it above them."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, ROOM):
        yield place


def make_room(disk: Path) -> None:
    (disk / "filler").unlink()


def nas_process(*args: object, launcher: tuple[str, ...] = (), **environment: object) -> Ran:
    """`nas ARGS` in a process of its own; whatever happens, it ends by itself and shows no traceback."""
    command = [sys.executable, *launcher, "-m", "nas", *map(str, args)]
    env = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=360, check=False, env=env)
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
    return Ran(ended.returncode, ended.stdout, ended.stderr)


def limited(size: int) -> tuple[str, ...]:
    return "-c", LIMITED, str(size)


def check_refused(ran: Ran, *parts: str) -> None:
    """It has ended on one line that says so."""
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran
    assert ran.err.startswith("nas: ")
    assert all(part in ran.err for part in parts), ran.err


def ended(runs: Path) -> list[TrialRecord]:
    """The trials of the study `s` that have ended and count."""
    return [record for record in Study.open("s", runs).records() if record.finished]


def search(runs: Path, *args: object, **more: Any) -> Ran:
    options = ("--study", "s", "--runs", runs, "--epochs", 1, "--device", "cpu", *args)
    return nas_process("search", "digits", *options, **more)


def check_whole(runs: Path, before: list[TrialRecord], *, trials: int) -> None:
    """A search has gone on to its end with what it had."""
    records = Study.open("s", runs).records()
    assert [record for record in records if record.finished][: len(before)] == before
    assert sum(record.finished for record in records) == trials
    assert TrialState.RUNNING not in {record.state for record in records}
    assert not list((runs / "s").rglob("*.partial"))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with the study `s`, which has weights."""
    runs = tmp_path_factory.mktemp("searched")
    nas.search("digits", trials=2, epochs=1, name="s", runs=runs, device="cpu", keep="all")
    return runs


def test_a_file_that_finds_no_room_leaves_what_was_there(disk: Path) -> None:
    file = disk / "file"
    write_whole(file, b"before")
    fill(disk)
    with pytest.raises(OSError, match=f"{NO_SPACE}.*{file}"):
        write_whole(file, bytes(20_000))
    make_room(disk)
    assert everything(disk) == {"file": b"before"}


def test_a_folder_is_published_once_and_over_nothing(tmp_path: Path) -> None:
    for number in range(2):
        written = tmp_path / f"written-{number}"
        (written / "inner").mkdir(parents=True)
        (written / "inner" / "file").write_bytes(b"%d" % number)
    publish(tmp_path / "written-0", tmp_path / "target")
    with pytest.raises(OSError, match="not empty"):
        publish(tmp_path / "written-1", tmp_path / "target")
    assert everything(tmp_path / "target") == {"inner/file": b"0"}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_journal_that_may_not_grow_ends_the_search_and_the_same_command_goes_on(
    tmp_path: Path, workers: int, tally: Tally
) -> None:
    asked = ("--workers", workers, "--keep", "none")
    save_shared(load_data("digits", DIGITS))  # what workers share is larger than they may write
    check_refused(
        search(tmp_path, *asked, "--trials", 30, launcher=limited(14_000)), "File too large", "/s/journal.log"
    )
    before = ended(tmp_path)
    assert before
    journal = tmp_path / "s" / "journal.log"
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert not (tmp_path / "s" / "journal.log.dropped").exists()
    trials = len(before) + 1
    nas.search("digits", name="s", runs=tmp_path, epochs=1, trials=trials, device="cpu", workers=workers, keep="none")
    check_whole(tmp_path, before, trials=trials)
    tally("journals that may not grow", 1)


GROWS_TO_EACH = """
import json, resource, shutil, sys
from pathlib import Path
import nas
from nas.errors import NasError
from nas.spaces.search_space import SearchSpace
from tests.helpers import TINY, formula

runs, step = Path(sys.argv[1]), int(sys.argv[2])
nas.search(SearchSpace.from_dict(TINY), evaluate=formula, trials=12, name='first', runs=runs)  # imports all
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
ask = dict(evaluate=formula, trials=3, seed=0, name="s", runs=runs)
limit = tried = 0
while True:
    shutil.rmtree(runs / "s", ignore_errors=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        nas.search(SearchSpace.from_dict(TINY), **ask)
        whole = True
    except NasError as error:
        assert "File too large" in str(error), error
        assert "journal.log" in str(error) or "study.yaml" in str(error), error
        whole = False
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    journal = runs / "s" / "journal.log"
    assert all(isinstance(json.loads(line), dict) for line in journal.read_text().splitlines())
    assert whole or journal.stat().st_size <= limit
    try:
        before = [r for r in nas.Study.open("s", runs).records() if r.finished]
    except NasError:
        before = []
    records = nas.search(SearchSpace.from_dict(TINY), **ask).records()
    assert [r for r in records if r.finished][:len(before)] == before
    assert sum(r.finished for r in records) == 3 and not any(r.state == "running" for r in records)
    assert not (runs / "s" / "journal.log.dropped").exists()
    if whole:
        break
    tried += 1
    limit += step
print(tried)
"""


@pytest.mark.parametrize("step", [2999, pytest.param(307, marks=pytest.mark.long)])
def test_wherever_the_disk_ends_a_search_says_so_and_goes_on_later(tmp_path: Path, tally: Tally, step: int) -> None:
    program = [sys.executable, "-W", "error", "-c", GROWS_TO_EACH, str(tmp_path), str(step)]
    ran = subprocess.run(program, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 2
    tally("searches whose files may not grow", int(ran.stdout))


@pytest.mark.long
@pytest.mark.parametrize(("workers", "left"), [(1, 0), (1, 400_000), (2, 30_000)])
def test_a_disk_that_fills_while_searching(disk: Path, tally: Tally, workers: int, left: int) -> None:
    asked = ("--workers", workers, "--keep", "all")
    assert search(disk, *asked, "--trials", 1).code == 0
    fill(disk, left=left)
    check_refused(search(disk, *asked, "--trials", 40), NO_SPACE, f"{disk}/s/")
    before = ended(disk)
    assert before
    assert nas_process("front", "s", "--runs", disk).code == 0
    make_room(disk)
    assert search(disk, *asked, "--trials", len(before) + 1).code == 0
    check_whole(disk, before, trials=len(before) + 1)
    tally("disks filled while searching", 1)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_is_full_when_it_comes_to_confirming(
    disk: Path, searched: Path, tally: Tally, workers: int
) -> None:
    shutil.copytree(searched, disk, dirs_exist_ok=True)
    fill(disk, left=40_000)
    ask = ("confirm", "s", "--runs", disk, "--seeds", 1, "--device", "cpu", "--workers", workers)
    check_refused(nas_process(*ask), NO_SPACE, f"{disk}/s/s.confirmed-1/")
    check_refused(nas_process("train", "s:0", "--runs", disk, "--device", "cpu"), NO_SPACE, f"{disk}/s/")
    make_room(disk)
    assert nas_process(*ask).code == 0
    assert nas_process("pick", "s", "--runs", disk).code == 0
    tally("disks full when confirming", 1)


@pytest.mark.parametrize("left", [pytest.param(left, marks=pytest.mark.long) for left in (10_000, 150_000)])
def test_a_bundle_that_finds_no_room_is_not_there(disk: Path, searched: Path, tally: Tally, left: int) -> None:
    fill(disk, left=left)
    ask = ("export", "s", "--runs", searched, "--out", disk / "best")
    check_refused(nas_process(*ask), f"out={disk}/best: ", NO_SPACE)
    assert {entry.name for entry in disk.iterdir()} == {"filler"}
    make_room(disk)
    assert nas_process(*ask).code == 0
    tally("exports to a full disk", 1)


LOADS = "import sys, nas; from nas.architectures.architecture import Input; nas.load_data(sys.argv[1], Input(3, 96))"
HANDS_OVER = """
import sys
from pathlib import Path
import numpy as np
from nas.data.images import Split
from nas.exporters.verification import hand_over
images = Split(np.ones((200, 96, 96, 3), dtype=np.uint8), np.zeros(200, dtype=np.int64))
hand_over(images, np.zeros((200, 2), dtype=np.float32), handover=Path(sys.argv[1]))
"""


def test_images_that_find_no_room_are_an_error_and_not_the_end_of_the_process(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "photos", per_class=40, size=96)
    fill(disk, left=300_000)
    env = {**os.environ, "XDG_CACHE_HOME": str(disk / "cache")}
    for program, where in ((LOADS, photos), (HANDS_OVER, disk)):
        ran = subprocess.run(
            [sys.executable, "-c", program, str(where)], capture_output=True, text=True, check=False, env=env
        )
        assert ran.returncode == 1, ran
        assert NO_SPACE in ran.stderr.splitlines()[-1]
    assert not [entry for entry in (disk / "cache" / "nas").iterdir() if entry.is_dir()]
    for left in disk.glob("*.npy"):
        left.unlink()
    make_room(disk)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk / "cache"))
    assert len(load_data(str(photos), nas.architectures.architecture.Input(3, 96)).train.labels) > 0


@pytest.mark.long
def test_a_cache_that_finds_no_room_is_one_line(disk: Path, tmp_path: Path, tally: Tally) -> None:
    fill(disk, left=8_192)  # two blocks, of which NumPy fills what it can
    ran = search(tmp_path, "--trials", 2, "--workers", 2, XDG_CACHE_HOME=disk / "cache")
    check_refused(ran, f"the cache folder {disk}/cache/nas/", "is the disk full?", "set XDG_CACHE_HOME")
    assert not (tmp_path / "s").exists()
    fill(disk)
    assert search(tmp_path, "--trials", 1, "--workers", 1, TMPDIR=disk).code == 0
    tally("caches and temporary folders full", 2)


@pytest.fixture
def read_only(disk: Path, searched: Path) -> Path:
    shutil.copytree(searched, disk, dirs_exist_ok=True)
    if mount("-o", "remount,ro", str(disk)):
        pytest.skip("a disk cannot be made read-only here")
    return disk


READS: tuple[tuple[object, ...], ...] = (
    ("front", "s"),
    ("trials", "s"),
    ("show", "0", "--study", "s"),
    ("pick", "s"),
    ("front",),
)


def test_what_reads_needs_no_folder_that_can_be_written(read_only: Path, nas_command: Callable[..., Ran]) -> None:
    for command in READS:
        ran = nas_command(*command, "--runs", read_only)
        assert (ran.code, ran.err) == (0, ""), (command, ran)
    assert list_studies(read_only) == ["s"]
    study = Study.open("s", read_only)
    assert len(study.records()) == 2
    study.version()
    _ = study.attributes.search


def test_what_writes_says_that_it_cannot(
    read_only: Path, nas_command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ("search", "digits", "--study", "s", "--epochs", 1, "--workers", 1),
        ("search", "digits", "--study", "new", "--workers", 1),
        ("confirm", "s", "--workers", 1),
        ("train", "s:0"),
        ("worker", "s"),
    ):
        check_refused(nas_command(*command, "--runs", read_only, "--device", "cpu"), "Read-only", str(read_only))
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only / "cache"))
    with pytest.raises(NasError, match=r"the cache folder .* cannot be used \(Read-only.*set XDG_CACHE_HOME"):
        nas.load_data(str(write_photos(read_only.parent / "photos")), nas.architectures.architecture.Input(3, 8))


@pytest.fixture
def forbidden(tmp_path: Path, searched: Path) -> Iterator[Path]:
    """A runs folder that may be read and not written by those whom permissions bind."""
    runs = tmp_path / "runs"
    shutil.copytree(searched, runs)
    change(runs, remove=0o222)
    yield runs
    change(runs, add=0o200)


def change(folder: Path, *, add: int = 0, remove: int = 0) -> None:
    for entry in [folder, *folder.rglob("*")]:
        entry.chmod(entry.stat().st_mode & ~remove | add)


def as_anybody(*args: object, **environment: object) -> Ran:
    if sys.platform != "linux":
        pytest.skip("how root gives up its privileges is known of Linux alone")
    ran = nas_process(*args, launcher=("-c", UNPRIVILEGED), **environment)
    if ran.code == 77:
        pytest.skip("root cannot give up its privileges here")
    return ran


def test_a_folder_without_permission_can_be_read(forbidden: Path) -> None:
    before = everything(forbidden)
    ran = as_anybody("front", "s", "--runs", forbidden)
    assert (ran.code, ran.err) == (0, "")
    assert everything(forbidden) == before


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        ("search", "digits", "--study", "s", "--epochs", 1, "--workers", 2),
        ("search", "digits", "--study", "new", "--workers", 1),
        ("confirm", "s", "--workers", 1),
        ("worker", "s"),
    ],
)
def test_without_permission_nothing_is_changed(forbidden: Path, command: tuple[object, ...], tally: Tally) -> None:
    before = everything(forbidden)
    check_refused(as_anybody(*command, "--runs", forbidden, "--device", "cpu"), "Permission denied", str(forbidden))
    assert everything(forbidden) == before
    tally("commands without permission", 1)


@pytest.mark.long
def test_what_cannot_be_read_is_told(forbidden: Path, tally: Tally) -> None:
    journal = forbidden / "s" / "journal.log"
    for file in (journal, forbidden / "s"):
        mode = file.stat().st_mode
        file.chmod(0)
        ran = as_anybody("front", "s", "--runs", forbidden)
        file.chmod(mode)
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran
    weights = next((forbidden / "s" / "artifacts").glob("*.safetensors"))
    for file in (forbidden / "s" / "artifacts").glob("*.safetensors"):
        file.chmod(0)
    check_refused(as_anybody("export", "s", "--runs", forbidden, "--out", forbidden.parent / "best"), weights.name[:6])
    tally("commands without permission", 3)
