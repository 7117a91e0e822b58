"""Hosts on this machine: namespaces joined by a bridge, each with an address, a hostname and processes of its own."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

__all__ = ["Cluster", "Host", "cluster", "why_not"]

NETWORK = "10.77.0"
PROGRAMS = ("ip", "nsenter", "unshare")
_numbers = itertools.count()


def why_not() -> str | None:
    """Returns why there can be no hosts on this machine; None if there can."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"hosts need {', '.join(missing)} (Debian's iproute2 and util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc", "ip", "link", "add", "br0", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces can be made here: {tried.stderr.strip()}" if tried.returncode else None


class Host:
    """A host of a cluster; `Cluster.host` makes it.

    Attributes:
        name: its hostname.
        address: its IPv4 address.
    """

    def __init__(self, cluster: "Cluster", number: int, name: str) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        self._cluster, self._port = cluster, f"port{number}"
        self._namespace = f"{cluster.name}-{name}"
        self._processes: list[subprocess.Popen[bytes]] = []
        _ip("netns", "add", self._namespace)
        _ip("link", "add", "eth0", "netns", self._namespace, "type", "veth", "peer", self._port, "netns", cluster.name)
        self._line: subprocess.Popen[bytes] | None = None
        self._set_up()
        self.start()

    def _set_up(self) -> None:
        """Gives the devices at both ends of its cable what they need."""
        _ip("-n", self._cluster.name, "link", "set", self._port, "master", "br0", "up")
        _ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", self._namespace, "link", "set", device, "up")

    def slow_down(self, seconds: float, loss: float) -> None:
        """Replaces its cable by one on which frames take `seconds` each way, and a share `loss` of them is lost."""
        inside = ["ip", "netns", "exec", self._cluster.name]
        _ip("-n", self._namespace, "link", "delete", "eth0")
        far = f"far-{self._port}"
        command = [*inside, sys.executable, "-m", "tests.faults.slow_line", self._port, far, str(seconds), str(loss)]
        self._line = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._line.stdout is not None
        assert self._line.stdout.readline() == b"ready\n"
        _ip("-n", self._cluster.name, "link", "set", far, "netns", self._namespace, "name", "eth0")
        self._set_up()

    def start(self) -> None:
        """Boots it: with its first process, whose end takes all others with it."""
        first = f"hostname {self.name}; echo; exec sleep infinity"
        apart = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", first]
        self._boot = subprocess.Popen(["ip", "netns", "exec", self._namespace, *apart], stdout=subprocess.PIPE)
        assert self._boot.stdout is not None
        self._boot.stdout.readline()
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text(encoding="ascii")
        self._first = int(children)

    def enter(self, *options: str) -> list[str]:
        """Returns what to put before a command so that it runs on this host."""
        return ["nsenter", "--target", str(self._first), "--net", "--uts", "--pid", "--mount", *options]

    def run(
        self, program: str, *arguments: str, said: Path, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Starts a Python program on this host, which writes to the end of the file `said`."""
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        command = [*self.enter(), "env", *variables, sys.executable, "-m", program, *arguments]
        with said.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        self._processes.append(process)
        return process

    def vanish(self) -> None:
        """Kills all processes at once; peers hear nothing of it."""
        self.cut()  # first, or its connections would be closed in order
        with suppress(ProcessLookupError):
            os.kill(self._first, signal.SIGKILL)
        for process in self._processes:
            process.kill()  # a stopped one would never reap what it has started
        self._boot.wait()
        assert self._boot.stdout is not None
        self._boot.stdout.close()

    def cut(self) -> None:
        """Takes its cable out."""
        _ip("-n", self._cluster.name, "link", "set", self._port, "down")

    def join(self) -> None:
        """Puts its cable in again."""
        _ip("-n", self._cluster.name, "link", "set", self._port, "up")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all its processes but the first, such as SIGSTOP and SIGCONT."""
        subprocess.run([*self.enter(), "kill", f"-{number.value}", "-1"], check=False)
        while number == signal.SIGCONT and (stopped := [each for each in self._processes if _is_stopped(each)]):
            for process in stopped:  # nsenter stops with what it has started, but does not go on with it
                process.send_signal(number)
            time.sleep(0.1)

    def remove(self) -> None:
        """Removes it, whatever state it is in."""
        if self._boot.poll() is None:
            self.vanish()
        if self._line is not None:
            self._line.kill()
            self._line.communicate()
        _ip("netns", "delete", self._namespace)


class Cluster:
    """A bridge, and the hosts that are joined by it."""

    def __init__(self) -> None:
        self.name = f"nas{os.getpid()}-{next(_numbers)}"
        self._hosts: list[Host] = []
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.name, "link", "set", "br0", "up")

    def host(self, name: str) -> Host:
        """Adds a host."""
        made = Host(self, len(self._hosts) + 1, name)
        self._hosts.append(made)
        return made

    def remove(self) -> None:
        """Removes all hosts, with their processes, and the bridge."""
        for host in self._hosts:
            host.remove()
        _ip("netns", "delete", self.name)


@contextmanager
def cluster(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Yields hosts by name; they are gone afterwards."""
    made = Cluster()
    try:
        yield {name: made.host(name) for name in names}
    finally:
        made.remove()


def _is_stopped(process: "subprocess.Popen[bytes]") -> bool:
    with suppress(psutil.Error):
        return process.poll() is None and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
    return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
