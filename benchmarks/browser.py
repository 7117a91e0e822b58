"""The dashboard in a real browser, Debian's Chromium driven by Playwright: for benchmarks, screenshots and tests."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import DEVNULL
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--enable-unsafe-swiftshader"]
SECONDS_TO_ANSWER = 60


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, *, health: str, said: int | IO[str] = DEVNULL) -> Iterator[str]:
    """Runs a server for as long as it is needed; gives its address once `health` answers there. It speaks to `said`."""
    server = subprocess.Popen(command, stdout=said, stderr=said)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + SECONDS_TO_ANSWER
        while True:
            try:
                urllib.request.urlopen(address + health).close()
                break
            except OSError:
                if time.monotonic() > end or server.poll() is not None:
                    raise RuntimeError(f"{' '.join(command)}: does not answer") from None
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dashboard(runs: Path, *options: str, said: int | IO[str] = DEVNULL) -> contextlib.AbstractContextManager[str]:
    """`nas dashboard` on a free port."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "nas",
        "dashboard",
        "--runs",
        str(runs),
        "--port",
        str(port),
        "--no-browser",
    ]
    return serving([*command, *options], port, health="/_stcore/health", said=said)


@contextlib.contextmanager
def browsing() -> Iterator["Browser"]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
