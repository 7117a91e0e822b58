"""Processes of this machine: how a worker is named, whether it is alive, how one is forked."""

import multiprocessing
import os
import socket
from contextlib import suppress
from pathlib import Path

__all__ = ["METHOD", "NEEDED", "STARTTIME", "is_alive", "prepare", "this_worker", "worker_named"]

NEEDED = ["nas.workers.join", "nas.training.train"]
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

STARTTIME = 19
"""Where `/proc/PID/stat` has it after the process's name (proc_pid_stat(5))."""


def this_worker() -> str:
    """This process, as `worker_named` names it."""
    return worker_named(os.getpid())


def worker_named(pid: int) -> str:
    """A process of this machine, as `HOST:PID@BEGAN`: numbers are used again, after a reboot or in a container soon."""
    return f"{socket.gethostname()}:{pid}@{_began(pid)}"


def is_alive(worker: str) -> bool | None:
    """Whether that process still runs; None where it is on another machine."""
    host, _, process = worker.rpartition(":")
    pid, _, began = process.partition("@")
    if host != socket.gethostname() or not pid.isdigit():
        return None
    import psutil

    try:
        zombie = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE  # dead, if nobody has asked how it ended
        return not zombie and (not began or began == _began(int(pid)))
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # there, but another person's
        return True


def _began(pid: int) -> str:
    """When a process began, by a clock that nobody sets: Linux counts from the boot, which has a name of its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return f"{boot}{after_name.split()[STARTTIME]}"
    except (OSError, IndexError):
        import psutil

        with suppress(psutil.Error):
            return f"{psutil.Process(pid).create_time():.2f}"
        return ""  # it is gone


def prepare() -> None:
    """Begins to import what workers need, in a process of its own, while this one does other things."""
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.get_context(METHOD).set_forkserver_preload(NEEDED)
        forkserver.ensure_running()
