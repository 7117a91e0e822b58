"""A PostgreSQL server for tests and benchmarks: on the loopback device, in a folder of its own, by an ordinary user."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; None if it is not installed."""
    found = shutil.which("initdb")
    return Path(found).parent if found else max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Server:
    """A server with a database that knows no password, which can be stopped and started again.

    Args:
        folder: an empty folder for its files, which an ordinary user can reach.
        address: where it listens.
        enter: what to put before its command, to run it on another host of the tests.

    Attributes:
        url: the database's URL.
        local_url: the same, from this machine, whatever host of the tests it runs on.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", enter: Sequence[str] = ()) -> None:
        self._port = 5432
        if not enter:
            with socket.socket() as probe:
                probe.bind((address, 0))
                self._port = probe.getsockname()[1]
        self._address, self._enter = address, list(enter)
        self.url = f"postgresql+psycopg://nas@{address}:{self._port}/postgres"
        self.local_url = f"postgresql+psycopg://nas@/postgres?host={folder}&port={self._port}"
        self._folder, self._data = folder, str(folder / "data")
        if os.getuid() == 0:  # for whom it would not start
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._enter = [*enter, "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._run("initdb", "--username=nas", "--auth=trust", "--no-sync", "--encoding=UTF8")
        with (folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as access:
            access.write("host all all samenet trust\n")

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = f"-p {self._port} -h {self._address} -k {self._folder} -N 300"
        self._run("pg_ctl", "--wait", "--timeout=60", f"--log={self._folder / 'log'}", f"--options={options}", "start")

    def stop(self, mode: str = "fast") -> None:
        """Ends it, and does not wait for clients: `fast`, in order; or `immediate`, as a crash would."""
        self._run("pg_ctl", "--wait", "--timeout=60", f"--mode={mode}", "stop")

    def is_running(self) -> bool:
        """Returns whether it has not ended by itself."""
        try:
            self._run("pg_ctl", "status")
        except subprocess.CalledProcessError:
            return False
        return True

    def cut(self) -> int:
        """Ends all connections, and returns how many they were."""
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        return self.ask(f"{ended} AND backend_type = 'client backend'")

    def ask(self, query: str) -> int:
        """Returns the number that is a query's answer."""
        import psycopg

        here = f"host={self._folder} port={self._port} user=nas dbname=postgres"  # whatever host it runs on
        with psycopg.connect(here, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _run(self, program: str, *arguments: str) -> None:
        programs = binaries()
        assert programs is not None
        command = [*self._enter, str(programs / program), f"--pgdata={self._data}", *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that runs; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="nas-pg-"))  # where an ordinary user can reach it
    try:
        made = Server(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def server() -> Iterator[str]:
    """The URL of a database of a server that runs; both are gone afterwards."""
    with running_server() as made:
        yield made.url
