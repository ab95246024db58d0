"""The scene of the healing trials: a host with a daemon, a network of two containers, and connections that go on.

The containers do nothing: what speaks and listens are sockets of this program, opened inside of the containers'
namespaces and outside of the host, so that every byte that is lost or late is seen. All is in namespaces of its own.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

from netpy.kernel import netns
from tests.e2e.world import HOST_ADDRESS, OUTSIDE_ADDRESS, Daemon, World, eventually, new_world

NETWORK, BRIDGE = "lan", "br-lan"
INSIDE_PORT, HOST_PORT, OUTSIDE_PORT = 80, 8800, 7070
PATIENCE = 15.0
_MENDED = re.compile(r"^(\S+ \S+) WARNING .*somebody else changed the host's network; mended: (.*)$", re.MULTILINE)


class Echo:
    """A server that sends back what it gets, in one namespace, for any number of connections."""

    def __init__(self, where: str, port: int) -> None:
        self._listening = netns.run_in(where, lambda: socket.create_server(("0.0.0.0", port), backlog=64))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while self._listening.fileno() >= 0:
            with contextlib.suppress(OSError):  # also what befell a connection before it was accepted
                accepted, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    @staticmethod
    def _serve(accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            while data := accepted.recv(4096):
                accepted.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


class Stream:
    """A connection on which a byte goes there and back all the time. `where` it starts, `to` whom."""

    def __init__(self, name: str, where: str, to: tuple[str, int]) -> None:
        self.name = name
        self.rounds = 0
        self.longest = 0.0
        self.broken = ""
        self._socket = netns.run_in(where, lambda: socket.create_connection(to, timeout=PATIENCE))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                begun = time.monotonic()
                self._socket.sendall(b".")
                if not self._socket.recv(1):
                    raise ConnectionResetError("the other end closed it")
                self.longest = max(self.longest, time.monotonic() - begun)
                self.rounds += 1
                self._ended.wait(0.01)
        except OSError as error:
            self.broken = str(error)

    def lives(self) -> bool:
        """Whether a byte comes back that was sent after this was asked."""
        seen = self.rounds

        def answer() -> bool:
            return bool(self.broken) or self.rounds > seen + 1

        with contextlib.suppress(AssertionError):
            eventually(answer, self.name, PATIENCE)
        return not self.broken and self.rounds > seen + 1

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@dataclass
class Scene:
    """What a trial acts on. `inside` and `neighbour` are the containers' namespaces."""

    world: World
    daemon: Daemon
    backend: str
    inside: str = ""
    neighbour: str = ""
    address: str = ""
    veth: str = ""
    streams: list[Stream] = field(default_factory=list[Stream])
    took: float = 0.0  # seconds until the last deed was mended

    @property
    def instance(self) -> str:
        """What our table and our marks are called."""
        return self.run("ip", "link", "show", BRIDGE).partition("alias ")[2].partition("/")[0]

    def longest(self) -> float:
        """What one of the connections waited at most for an answer, in seconds."""
        return max((stream.longest for stream in self.streams), default=0.0)

    def run(self, *command: str, where: str = "") -> str:
        done = self.world.at(where or self.world.host, *command, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def mended(self) -> list[tuple[float, str]]:
        """When, as time.time(), and what the daemon says it has mended so far."""
        text = (self.daemon.exec_root / "log").read_text(errors="replace")
        stamp = "%Y-%m-%d %H:%M:%S,%f"
        return [(datetime.strptime(at, stamp).timestamp(), what) for at, what in _MENDED.findall(text)]

    def reaches(self, where: str, to: tuple[str, int]) -> bool:
        """Whether a new connection is made and carries a byte."""

        def ask() -> bool:
            with socket.create_connection(to, timeout=1) as made:
                made.sendall(b"?")
                return made.recv(1) == b"?"

        with contextlib.suppress(OSError):
            return netns.run_in(where, ask)
        return False

    def works(self) -> str:
        """What does not: new connections in every direction; empty when all do."""
        ways = {
            "outside to published port": (self.world.outside, (HOST_ADDRESS, HOST_PORT)),
            "host to published port on loopback": (self.world.host, ("127.0.0.1", HOST_PORT)),
            "container to container": (self.neighbour, (self.address, INSIDE_PORT)),
            "container to its own published port": (self.neighbour, (HOST_ADDRESS, HOST_PORT)),
            "container to outside": (self.neighbour, (OUTSIDE_ADDRESS, OUTSIDE_PORT)),
        }
        return ", ".join(way for way, (where, to) in ways.items() if not self.reaches(where, to))

    def drift(self) -> str:
        return self.daemon.run("network", "check", check=False).stdout.strip()

    def find_pair(self) -> None:
        """The near end of the container's pair, by the index that its far end tells."""

        shown = self.run("ip", "-o", "link", "show", "eth0", where=self.inside)
        index = shown.split("@if")[1].split(":")[0]
        lines = self.run("ip", "-o", "link").splitlines()
        self.veth = next(line.split()[1].partition("@")[0] for line in lines if line.startswith(f"{index}: "))

    def open_streams(self) -> None:
        """One connection in each direction that somebody may rely on."""
        self.close_streams()
        self.streams = [
            Stream("outside to published port", self.world.outside, (HOST_ADDRESS, HOST_PORT)),
            Stream("container to outside", self.inside, (OUTSIDE_ADDRESS, OUTSIDE_PORT)),
            Stream("container to container", self.neighbour, (self.address, INSIDE_PORT)),
        ]

    def close_streams(self) -> None:
        for stream in self.streams:
            stream.close()
        self.streams = []


@contextlib.contextmanager
def scene(backend: str, *, flags: tuple[str, ...] = ()) -> Generator[Scene]:
    """A world with everything in it; nothing of it is left afterwards."""
    with ExitStack() as cleanup:
        world = new_world()
        cleanup.callback(shutil.rmtree, world.root, ignore_errors=True)
        cleanup.callback(world.close)
        daemon = Daemon(world, f"heal-{backend[:3]}", flags=("--firewall-backend", backend, *flags))
        cleanup.callback(daemon.close)
        daemon.start()
        daemon.import_busybox()
        made = Scene(world, daemon, backend)
        daemon("network", "create", "-o", f"com.docker.network.bridge.name={BRIDGE}", NETWORK)
        published = f"{HOST_PORT}:{INSIDE_PORT}"
        daemon("run", "-d", "--name", "web", "--network", NETWORK, "-p", published, "busybox", "sleep", "9999")
        daemon("run", "-d", "--name", "neighbour", "--network", NETWORK, "busybox", "sleep", "9999")
        made.inside, made.neighbour = (
            daemon("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", name) for name in ("web", "neighbour")
        )
        made.address = daemon("inspect", "-f", f"{{{{.NetworkSettings.Networks.{NETWORK}.IPAddress}}}}", "web")
        made.find_pair()
        for where, port in ((made.inside, INSIDE_PORT), (world.outside, OUTSIDE_PORT)):
            cleanup.callback(Echo(where, port).close)
        cleanup.callback(made.close_streams)
        yield made
