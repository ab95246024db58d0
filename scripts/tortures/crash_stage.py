"""The stage for crashes: a host with a daemon that can be armed, and containers that must not notice when it dies.

Residents are a web server with published ports, one connection to it from outside that stays open, and a client that
asks for its name and its page, again and again, and writes down every failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.client import ApiError, Client, DaemonUnavailable
from netpy.faults import VARIABLE
from netpy.kernel import netns
from tests.e2e.world import HOST_ADDRESS, Daemon, new_world

PATIENCE = 20.0  # seconds
WEB_PORT, ECHO_PORT, LABEL = 8080, 7000, {"resident": "yes"}
_WEB = "mkdir -p /w; echo web > /w/index.html; nc -ll -p 7 -e cat & exec httpd -f -p 80 -h /w"
_ASK = (
    "while :; do if nslookup web >/dev/null 2>&1 && ping -c 1 -W 9 web >/dev/null 2>&1; then echo yes; else echo no; fi"
    "; sleep 0.3; done"
)


def settled(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer of `condition`, or its last one when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def published(*ports: str) -> dict[str, list[dict[str, str]]]:
    """Docker's PortBindings of `HOST:CONTAINER/PROTOCOL` texts."""
    found: dict[str, list[dict[str, str]]] = {}
    for text in ports:
        outer, _, inner = text.partition(":")
        found.setdefault(inner, []).append({"HostPort": outer})
    return found


class Stage:
    """A world, a daemon, residents. Everything is asked by HTTP; packets come from the machine outside."""

    def __init__(self, backend: str, name: str, *, prefix: tuple[str, ...] = ()) -> None:
        self.world = new_world()
        self.faults = self.world.root / "faults"
        within = ("env", f"{VARIABLE}={self.faults}", *prefix)
        self.daemon = Daemon(self.world, name=name, flags=("--firewall-backend", backend), within=within)
        self.client = Client()
        self.at_launch: Callable[[int], None] | None = None  # is told the process of a daemon that is being started
        self._read = 0
        self._line: socket.socket | None = None
        self._log = Path()

    # ---- the daemon ----------------------------------------------------------------------------------------------

    def up(self) -> bool:
        """Start the daemon; whether it came to answer before it died."""
        self.client.close()
        self.daemon.launch()
        if self.at_launch and self.daemon.process:
            self.at_launch(self.daemon.process.pid)
        self.client = Client(f"unix://{self.daemon.socket}")
        return bool(settled(lambda: self._answers() or self.dead(), 120)) and not self.dead()

    def _answers(self) -> bool:
        with suppress(OSError, DaemonUnavailable):
            return self.client.request("GET", "/_ping").read() == b"OK"
        return False

    def dead(self) -> bool:
        assert self.daemon.process
        return self.daemon.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, unless it is dead already."""
        self.daemon.kill()

    def arm(self, place: str) -> None:
        """Have it die at a point; `-` only notes which are reached, nothing disarms."""
        if place:
            Path(f"{self.faults}.seen").unlink(missing_ok=True)
        self.faults.write_text(place)

    def seen(self) -> list[str]:
        """The points reached since it was armed."""
        with suppress(FileNotFoundError):
            return Path(f"{self.faults}.seen").read_text().splitlines()
        return []

    def ask(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """A request's answer as a document. ApiError, DaemonUnavailable."""
        return self.client.request(method, path, query, body).json()

    def tolerant(self, method: str, path: str, body: object = None, **query: object) -> None:
        """A request of which it does not matter whether there is something left to do."""
        with suppress(ApiError):
            self.ask(method, path, body, **query)

    def drift(self) -> list[str]:
        """What `netpy network check` names."""
        return list(self.ask("GET", "/netpy/check")["Drift"])

    # ---- containers and networks ---------------------------------------------------------------------------------

    def network(self, name: str, subnet: str, six: str = "") -> None:
        config = [{"Subnet": subnet}, *([{"Subnet": six}] if six else [])]
        body = {"Name": name, "EnableIPv6": bool(six), "IPAM": {"Config": config}}
        self.ask("POST", "/networks/create", body)

    def create(self, name: str, command: str, *ports: str, network: str = "home", **more: object) -> str:
        """Make a container of busybox; its id."""
        bindings = published(*ports)
        body = {
            "Image": "busybox",
            "Cmd": ["sh", "-c", command],
            "ExposedPorts": {port: {} for port in bindings},
            "HostConfig": {"NetworkMode": network, "PortBindings": bindings},
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [f"alias-of-{name}"]}}},
            **more,
        }
        return str(self.ask("POST", "/containers/create", body, name=name)["Id"])

    def run(self, name: str, command: str, *ports: str, **more: object) -> str:
        identity = self.create(name, command, *ports, **more)
        self.ask("POST", f"/containers/{name}/start")
        return identity

    def container(self, name: str) -> Any:
        """Docker's document of a container, None where there is none."""
        return self._found(f"/containers/{name}/json")

    def found_network(self, name: str) -> Any:
        return self._found(f"/networks/{name}")

    def found_image(self, name: str) -> Any:
        return self._found(f"/images/{name}/json")

    def _found(self, path: str) -> Any:
        try:
            return self.ask("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def resolves(self, name: str) -> bool:
        """Whether the embedded name server knows a name, as asked by a resident."""
        asker = str(self.daemon.exec_root / "netns" / self._asker[:12])
        return netns.run_in(asker, lambda: _known(name))

    # ---- residents -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Start the daemon and the residents."""
        assert self.up(), self.daemon.tail()
        self.daemon.import_busybox()
        self.ask("POST", "/volumes/create", {"Name": "first"})  # the directory of volumes is made once and stays
        self.ask("DELETE", "/volumes/first")
        self.network("home", "10.88.0.0/24", "fd88::/64")
        self.run("web", _WEB, f"{WEB_PORT}:80/tcp", f"{ECHO_PORT}:7/tcp", Labels=LABEL)
        assert settled(lambda: self.serves(WEB_PORT)), "the resident serves its page"
        self._asker = self.run("asker", _ASK, Labels=LABEL)
        self._log = Path(self.container("asker")["LogPath"])
        self._line = netns.run_in(self.world.outside, lambda: socket.create_connection((HOST_ADDRESS, ECHO_PORT), 10))
        assert settled(lambda: "yes" in self._log.read_text()), "the resident finds its neighbour"
        self._read = self._log.stat().st_size

    def serves(self, port: int, seconds: float = 2.0) -> bool:
        """Whether a new connection from outside to a published port is taken up and answered."""

        def talk() -> bool:
            with socket.create_connection((HOST_ADDRESS, port), seconds) as line:
                line.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return bool(line.recv(100))

        try:
            return netns.run_in(self.world.outside, talk)
        except OSError:
            return False

    def complaints(self) -> list[str]:
        """What the residents have noticed since they were last asked: nothing, if all is well."""
        found: list[str] = []
        try:
            assert self._line
            self._line.sendall(b"still there?")
            if self._line.recv(100) != b"still there?":
                found.append("the open connection was cut")
        except OSError as error:
            found.append(f"the open connection: {error}")
        if not settled(lambda: self.serves(WEB_PORT, 5), 6):
            found.append("a published port does not answer")
        with open(self._log) as log:
            log.seek(self._read)
            text = log.read()
            self._read = log.tell()
        if any(line.endswith(" no") for line in text.splitlines()):
            found.append("a resident could not reach its neighbour by name")
        return found

    # ---- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take everything away, whatever state it is in."""
        if self._line:
            self._line.close()
        self.client.close()
        self.arm("")
        with suppress(AssertionError):
            if self.daemon.process and self.dead():
                self.daemon.start()
            self.daemon.close()
        if self.daemon.process and not self.dead():
            self.daemon.kill()
        self.daemon.end_name_server()
        shutil.rmtree(self.daemon.data_root, ignore_errors=True)
        self.world.close()
        shutil.rmtree(self.world.root, ignore_errors=True)


def _known(name: str) -> bool:
    query = os.urandom(2) + struct.pack(">5H", 0x0100, 1, 0, 0, 0)
    query += bytes([len(name)]) + name.encode() + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(1)
        line.sendto(query, ("127.0.0.11", 53))
        with suppress(TimeoutError):  # a name that is not ours is asked of somebody who is not there
            return struct.unpack(">H", line.recv(512)[6:8])[0] > 0
    return False
