import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from nas.journal import Journal, cut_torn_line

HOLDS = """
import sys, time
from pathlib import Path
from nas.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal._lock.acquire()
print("held", flush=True)
time.sleep(60)
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


def test_a_torn_line_is_cut_and_whole_ones_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    for text, kept in (('{"a": 1}\n{"b"', '{"a": 1}\n'), ('{"a": 1}\n', '{"a": 1}\n'), ('{"a"', ""), ("", "")):
        file.write_text(text)
        cut_torn_line(file)
        assert file.read_text() == kept
