"""What the hosts of the tests run: python -m tests.faults.host_program search|work STUDY RUNS URL TRIALS LOG."""

import faulthandler
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nas
from nas import Architecture, SearchSpace
from nas.study.storage import heartbeat, locks
from nas.system.logs import show_log
from tests.helpers import TINY

GRACE_SECONDS = float(os.environ.get("NAS_TEST_GRACE", "8"))
Report = Callable[[int, float], None]


def brief(architecture: Architecture, report: Report) -> float:
    """Trains nothing for some tenths of a second, and notes that it is done in a file that no host shares."""
    accuracy = 0.5 + (int(architecture.key, 16) % 400) / 1000
    for step in range(1, 4):
        time.sleep(random.uniform(0.1, 0.2))
        report(step, accuracy * step / 3)
    with Path(os.environ["NAS_TEST_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{architecture.key} {socket.gethostname()} {os.getpid()}\n")
    return accuracy


def main() -> None:
    """Searches without workers, or works for a search."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # a test that waits in vain shows where all hosts are
    what, study, runs, url, trials, log = sys.argv[1:]
    os.environ["NAS_TEST_LOG"] = log
    heartbeat.GRACE_SECONDS, heartbeat.BEAT_SECONDS, locks.LONGEST_SECONDS = GRACE_SECONDS, 1.0, int(GRACE_SECONDS)
    show_log()
    if what == "search":
        space = SearchSpace.from_dict(TINY)
        options: Any = {"evaluate": brief, "storage": url, "workers": 0, "keep": "none", "seed": 1}
        nas.search(space, trials=int(trials), runs=runs, name=study, **options)
    else:
        nas.join(study, runs=runs, storage=url, evaluate=brief)


if __name__ == "__main__":
    main()
