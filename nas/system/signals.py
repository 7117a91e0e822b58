"""Signals: Ctrl-C and SIGTERM end a program in good order within seconds, and a second one ends it at once."""

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

__all__ = ["INTERRUPTED_CODE", "SECONDS_TO_END", "interrupt_on_sigterm", "interruptible"]

INTERRUPTED_CODE = 130
"""The exit code of what Ctrl-C has ended."""
SECONDS_TO_END = 4.5
SHOW_CURSOR = b"\x1b[?25h"
LAST_WORDS = b"\nnas: ended at once; what was being trained is trained again when the same command goes on\n"


def interrupt_on_sigterm() -> None:
    """From now on SIGTERM, which systems end programs with, ends this one as Ctrl-C would: it puts its trial back."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def interruptible() -> Iterator[None]:
    """While it is entered, Ctrl-C and SIGTERM raise KeyboardInterrupt in the main thread, which puts things in order.

    Should that take more than 4.5 seconds, or a second signal come, the program and its child processes are ended
    there and then, whatever the main thread does: it may be inside a long computation, where Python sees no signal.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    noticed, written = socket.socketpair()
    written.setblocking(False)
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    fd_before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(noticed, written), daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:  # goes on to be watched: the end of the program may take long, too
        raise
    except BaseException:
        _restore(before, fd_before, written)
        raise
    _restore(before, fd_before, written)


def _restore(handlers: Mapping[signal.Signals, object], fd: int, written: socket.socket) -> None:
    signal.set_wakeup_fd(fd)
    for number, handler in handlers.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
    written.close()


def _watch(noticed: socket.socket, _written: socket.socket) -> None:
    """Waits for a first signal, then for a second or for the time to be up. The system itself writes their numbers.

    It holds on to both ends, as the system writes for as long as the program lives.
    """
    with noticed:
        if not _signal_in(noticed):
            return  # nothing is to be watched any more
        ready, _, _ = select.select([noticed], [], [], SECONDS_TO_END)
        if not ready or _signal_in(noticed):
            _end_now()


def _signal_in(noticed: socket.socket) -> bool:
    """Waits for a signal that means to end; False if the other side was closed."""
    while number := noticed.recv(1):
        if number[0] in (signal.SIGINT, signal.SIGTERM):
            return True
    return False


def _end_now() -> None:
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    with suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, (SHOW_CURSOR if os.isatty(2) else b"") + LAST_WORDS)
    os._exit(INTERRUPTED_CODE)
