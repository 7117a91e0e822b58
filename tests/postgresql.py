"""A PostgreSQL server for tests and benchmarks: on the loopback device, in a folder of its own, by an ordinary user."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; None if it is not installed."""
    found = shutil.which("initdb")
    return Path(found).parent if found else max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a database that knows no password; it is gone afterwards."""
    import psycopg

    programs = binaries()
    assert programs is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="nas-pg-"))  # where an ordinary user can reach it
    who: dict[str, Any] = {"cwd": folder}
    if os.getuid() == 0:  # for whom it would not start
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        who |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = folder / "data"
    make: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "--username=nas",
        "--auth=trust",
        "--no-sync",
        "--encoding=UTF8",
    ]
    subprocess.run(make, check=True, capture_output=True, **who)
    start: list[str | Path] = [
        programs / "postgres",
        "-D",
        data,
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "-k",
        folder,
        "-N",
        "300",
    ]
    running = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(f"postgresql://nas@127.0.0.1:{port}/postgres").close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < until
                time.sleep(0.1)
        yield f"postgresql+psycopg://nas@127.0.0.1:{port}/postgres"
    finally:
        running.send_signal(signal.SIGINT)  # does not wait for those who are connected
        running.wait(timeout=30)
        shutil.rmtree(folder)
