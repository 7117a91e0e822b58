"""Local processes: how workers are named, whether one is alive, and how they are started."""

import multiprocessing
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

__all__ = [
    "METHOD",
    "NEEDED",
    "STARTTIME",
    "end_with_parent",
    "exit_text",
    "is_alive",
    "prepare",
    "this_worker",
    "worker_named",
]

NEEDED = ["nas.workers.join", "nas.training.train"]
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

STARTTIME = 19
"""Index of the start time among the fields of `/proc/PID/stat` after the process name (proc_pid_stat(5))."""


def this_worker() -> str:
    """Returns the worker name of this process."""
    return worker_named(os.getpid())


def worker_named(pid: int) -> str:
    """Returns the worker name of a local process, `HOST:PID@BEGAN`; the start time distinguishes reused PIDs."""
    return f"{socket.gethostname()}:{pid}@{_began(pid)}"


def is_alive(worker: str) -> bool | None:
    """Returns whether a worker's process still runs; None if it is on another machine."""
    host, _, process = worker.rpartition(":")
    pid, _, began = process.partition("@")
    if host != socket.gethostname() or not pid.isdigit():
        return None
    import psutil

    try:
        zombie = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE  # dead, but not yet reaped
        return not zombie and (not began or began == _began(int(pid)))
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it exists, but belongs to another user
        return True


def _began(pid: int) -> str:
    """Returns when a process started; on Linux the boot ID and ticks since boot, immune to clock changes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return f"{boot}{after_name.split()[STARTTIME]}"
    except (OSError, IndexError):
        import psutil

        with suppress(psutil.Error):
            return f"{psutil.Process(pid).create_time():.2f}"
        return ""  # the process is gone


def prepare() -> None:
    """Starts importing the workers' modules in the fork server, in parallel with this process."""
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.get_context(METHOD).set_forkserver_preload(NEEDED)
        forkserver.ensure_running()


def end_with_parent(grace_seconds: float = 0.0) -> None:
    """Exits this process once its parent has ended, which a killed parent cannot announce.

    Blocks until then, so run it in a thread. With a grace period, the process first gets SIGTERM and has that
    long to shut down.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    if grace_seconds:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(grace_seconds)
    os._exit(1)


def exit_text(code: int | None) -> str:
    """Describes how a process ended: `exit code 1` or `signal 9 (Killed)`."""
    return f"signal {-code} ({signal.strsignal(-code)})" if code is not None and code < 0 else f"exit code {code}"
