"""Which process trains a trial, and whether it is still there."""

import os
import socket

__all__ = ["is_alive", "this_worker"]


def this_worker() -> str:
    """This process, as `HOST:PID`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_alive(worker: str) -> bool | None:
    """Whether that process still runs; None where it is on another machine."""
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return None
    try:
        os.kill(int(pid), 0)  # signal 0 is sent to nobody; it only asks
    except ProcessLookupError:
        return False
    except OSError:  # there, but another person's
        pass
    return True
