import os
import subprocess
import sys

from nas.workers import is_alive, this_worker


def test_a_worker_lives_as_long_as_its_process() -> None:
    host, _, pid = this_worker().rpartition(":")
    assert int(pid) == os.getpid()
    assert is_alive(this_worker())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_alive(f"{host}:{ended.pid}") is False


def test_of_another_machine_nothing_is_known() -> None:
    assert is_alive("another-machine:1") is None
    assert is_alive("nonsense") is None
