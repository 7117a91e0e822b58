"""Ctrl-C, SIGTERM and SIGHUP shut a program down cleanly within seconds; a second one kills it at once."""

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

__all__ = ["INTERRUPTED_CODE", "SECONDS_TO_END", "interrupt_on_sigterm", "interruptible"]

INTERRUPTED_CODE = 130
"""Exit code of a program interrupted by Ctrl-C."""
SECONDS_TO_END = 4.5
HANGUP = getattr(signal, "SIGHUP", None)
ENDING = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]
"""Signals that end the program: Ctrl-C, a polite kill, and the loss of its terminal."""
SHOW_CURSOR = b"\x1b[?25h"
EXIT_MESSAGE = b"\nnas: ended at once; what was being trained is trained again when the same command goes on\n"


def interrupt_on_sigterm() -> None:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that a worker requeues its trial before it exits."""
    signal.signal(signal.SIGTERM, _interrupt_once)
    signal.signal(signal.SIGALRM, _interrupt)
    sys.unraisablehook = partial(_raise_again, sys.unraisablehook)


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, which then cleans up.

    A program that was started to ignore SIGHUP, as by nohup, still does. If cleaning up takes more than 4.5 seconds, or
    a second signal arrives, the program and its child processes are killed at once, whatever the main thread does: it
    may be in a long computation, during which Python handles no signals.
    """
    noticed, written = socket.socketpair()
    written.setblocking(False)
    ends = [number for number in ENDING if number != HANGUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in (*ends, signal.SIGALRM)}
    hook_before, sys.unraisablehook = sys.unraisablehook, partial(_raise_again, sys.unraisablehook)
    fd_before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(noticed, written), daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:  # keep watching: shutdown may take long, too
        raise
    except BaseException:
        _restore(before, fd_before, hook_before, written)
        raise
    _restore(before, fd_before, hook_before, written)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _interrupt_once(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


_mask = threading.local()


def _before_fork() -> None:
    """Keeps signals from a child until it has handlers of its own: with ours, it would report them to our watcher."""
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _after_in_child() -> None:
    """Lets signals end a forked child, which may be a custom training's, as they end any other process."""
    for number in (*ENDING, signal.SIGALRM):
        if signal.getsignal(number) in (_interrupt, _interrupt_once):
            signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
    _after_in_parent()


def _after_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_in_child, after_in_parent=_after_in_parent)


def _raise_again(otherwise: Callable[[Any], object], lost: Any) -> None:
    """Is Python's hook for exceptions that it can only print: those of finalizers (`__del__`) and of callbacks.

    A signal may arrive in one of them. Its KeyboardInterrupt is then raised again a moment later, where it has effect.
    """
    if lost.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
    else:
        otherwise(lost)


def _restore(handlers: Mapping[signal.Signals, object], fd: int, hook: Any, written: socket.socket) -> None:
    signal.set_wakeup_fd(fd)
    sys.unraisablehook = hook
    for number, handler in handlers.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
    written.close()


def _watch(noticed: socket.socket, _written: socket.socket) -> None:
    """Kills the program at a second signal, or once the time after the first is up.

    Signal numbers are written by the interpreter's C-level handler (`signal.set_wakeup_fd`). The unused argument keeps
    the writing end open, as signals may arrive for as long as the program runs.
    """
    with noticed:
        if not _signal_in(noticed):
            return  # the context was left: nothing to watch any more
        ready, _, _ = select.select([noticed], [], [], SECONDS_TO_END)
        if not ready or _signal_in(noticed):
            _end_now()


def _signal_in(noticed: socket.socket) -> bool:
    """Waits for a signal to end; returns False if the other end was closed."""
    while number := noticed.recv(1):
        if number[0] in ENDING:
            return True
    return False


def _end_now() -> None:
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    with suppress(OSError):
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2, (SHOW_CURSOR if os.isatty(2) else b"") + EXIT_MESSAGE
        )
    os._exit(INTERRUPTED_CODE)
