import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.study.storage.journal import Journal

HOLDS = """
import sys, time
from pathlib import Path
from nas.study.storage.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal._lock.acquire()
print("held", flush=True)
time.sleep(60)
"""

APPENDS_UNDER_LIMIT = """
import resource, sys
from pathlib import Path
from nas.study.storage.journal import Journal
file = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20,) * 2)
try:
    Journal(file).append_logs([{"op_code": 8, "user_attr": {"number": 2}}])
except OSError as error:
    print(error)
"""


def attribute(number: int) -> dict[str, object]:
    return {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"number": number}}


def write_many(file: Path, first: int) -> None:
    journal = Journal(file)
    for number in range(first, first + 200):
        journal.append_logs([attribute(number)])


def test_lines_of_many_writers_are_whole_and_all_there(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        list(pool.map(write_many, [file] * 3, (0, 1000, 2000)))
    numbers = [json.loads(line)["user_attr"]["number"] for line in file.read_text().splitlines()]
    assert sorted(numbers) == [*range(200), *range(1000, 1200), *range(2000, 2200)]
    assert [number for number in numbers if number < 1000] == list(range(200))
    assert len(list(Journal(file).read_logs(0))) == 600


def test_a_writer_that_is_killed_holds_up_nobody(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(file)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    started = time.monotonic()
    Journal(file).append_logs([attribute(1)])
    assert time.monotonic() - started < 1


def test_a_trial_s_end_is_forced_onto_the_disk_and_its_parameters_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []
    monkeypatch.setattr(os, "fsync", forced.append)
    journal = Journal(tmp_path / "journal.log")
    journal.append_logs([attribute(1), {"op_code": 5, "worker_id": "w"}])
    assert not forced
    journal.append_logs([{"op_code": 6, "worker_id": "w"}])
    assert len(forced) == 1


WHOLE = '{"a":1}\n{"b":2}\n'


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (WHOLE, WHOLE),
        ("", ""),
        (WHOLE + '{"c"', WHOLE),
        (WHOLE + '{"c":3}', WHOLE),
        ('{"a"', ""),
        (WHOLE + "\0\0\0", WHOLE),
        (WHOLE + "\0\0\0\n", WHOLE),
        (WHOLE + "\0\0\0\n\0\n\0", WHOLE),
        (WHOLE + '\0\0\0"c":3}\n', WHOLE),
        ("\0\0\0", ""),
    ],
)
def test_a_torn_end_is_set_aside_and_whole_lines_are_kept(tmp_path: Path, text: str, kept: str) -> None:
    file, dropped = tmp_path / "journal.log", tmp_path / "journal.log.dropped"
    file.write_text(text)
    assert [json.dumps(log, separators=(",", ":")) + "\n" for log in Journal(file).read_logs(0)] == kept.splitlines(
        True
    )
    assert file.read_text() == text  # reading writes nothing
    assert Journal(file).drop_torn_end() == len(text) - len(kept)
    assert file.read_text() == kept
    torn = text[len(kept) :]
    assert (dropped.read_text() if dropped.exists() else "") == (
        torn if torn.endswith("\n") or not torn else torn + "\n"
    )
    assert Journal(file).drop_torn_end() == 0


@pytest.mark.parametrize("torn", ["half", "half\n", "\0\0", "\0\n"])
def test_nothing_is_appended_to_half_a_line(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "journal.log"
    file.write_text(WHOLE + torn)
    journal = Journal(file)
    journal.append_logs([attribute(1)])
    with file.open("a") as writer:
        writer.write("of one that was killed")
    journal.append_logs([attribute(2)])
    numbers = [log.get("user_attr", {}).get("number") for log in Journal(file).read_logs(0)]
    assert numbers == [None, None, 1, 2]
    assert (tmp_path / "journal.log.dropped").read_text().splitlines() == [torn.rstrip("\n"), "of one that was killed"]


def test_a_reader_waits_for_the_end_of_a_line_and_goes_on_from_there(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    file.write_text(WHOLE + '{"c"')
    journal = Journal(file)
    assert len(list(journal.read_logs(0))) == 2
    with file.open("a") as writer:
        writer.write(':3}\n{"d":4}\n')
    assert list(journal.read_logs(2)) == [{"c": 3}, {"d": 4}]
    assert list(journal.read_logs(4)) == []
    assert len(list(journal.read_logs(0))) == 4


@pytest.mark.parametrize("damaged", [b"{", b"\0\0", b"\xff", b"[]", b"", b"[" * 100_000])
def test_a_damaged_line_with_whole_ones_behind_is_named(tmp_path: Path, damaged: bytes) -> None:
    file = tmp_path / "journal.log"
    content = b'{"a":1}\n' + damaged + b'\n{"b":2}\n'
    file.write_bytes(content)
    with pytest.raises(NasError, match=r"journal.log, line 2: is damaged \(whole lines follow"):
        list(Journal(file).read_logs(0))
    assert Journal(file).drop_torn_end() == 0
    assert file.read_bytes() == content


def test_a_journal_that_was_deleted_is_not_begun_in_the_middle(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    journal = Journal(file)
    journal.append_logs([attribute(1)])
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"journal\.log"):
        journal.append_logs([attribute(2)])
    assert not file.exists()


def test_what_could_be_written_only_in_part_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    Journal(file).append_logs([attribute(1)])
    before = file.read_bytes()
    limited = subprocess.run(
        [sys.executable, "-c", APPENDS_UNDER_LIMIT, str(file)], capture_output=True, text=True, check=True
    )
    assert limited.stdout == f"[Errno 27] File too large: '{file}'\n"
    assert file.read_bytes() == before
