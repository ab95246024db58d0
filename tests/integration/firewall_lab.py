"""A small world for the firewall's tests, in namespaces of its own: a host, its containers, a neighbour, a server beyond.

    out (192.0.2.2) ──lan── host (192.0.2.1) ──dmz── far (198.51.100.2)
                              ├─ br-a 10.9.0.1/24   a1 .2, a2 .3
                              ├─ br-b 10.10.0.1/24  b1 .2
                              ├─ br-i 10.11.0.1/24  i1 .2, i2 .3   internal
                              └─ br-r 10.12.0.1/24  r1 .2          routed

and the same in IPv6: fd00:2::/64, fd00:51::/64 for the wires, fd00:9::/64 and so on for the bridges. `out` routes everything to the host, so
that it can try to reach containers directly. In every namespace servers answer with their own name and the client's address.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netpy.kernel import netns

NETWORKS = {"a": 9, "b": 10, "i": 11, "r": 12}
MEMBERS = {"a1": ("a", 2), "a2": ("a", 3), "b1": ("b", 2), "i1": ("i", 2), "i2": ("i", 3), "r1": ("r", 2)}
HOST = {4: "192.0.2.1", 6: "fd00:2::1"}
OUT = {4: "192.0.2.2", 6: "fd00:2::2"}
FAR = {4: "198.51.100.2", 6: "fd00:51::2"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
PATIENCE = 0.4


def subnet(network: str, family: int) -> str:
    number = NETWORKS[network]
    return f"10.{number}.0.0/24" if family == 4 else f"fd00:{number}::/64"


def address(member: str, family: int) -> str:
    network, last = MEMBERS[member]
    number = NETWORKS[network]
    return f"10.{number}.0.{last}" if family == 4 else f"fd00:{number}::{last}"


class Lab:
    """The namespaces, and what can be tried in them. `close()` removes everything."""

    def __init__(self, directory: Path, *, bridge_netfilter: bool = False) -> None:
        self._directory = directory
        self._cleanup = contextlib.ExitStack()
        try:
            self._build(bridge_netfilter)
        except BaseException:
            self.close()
            raise

    def _build(self, bridge_netfilter: bool) -> None:
        for name in ("host", "out", "far", *MEMBERS):
            netns.create(self.path(name))
            self._cleanup.callback(netns.delete, self.path(name))
        self._sysctls(bridge_netfilter)
        self._wires()
        for network in NETWORKS:
            self._bridge(network)
        self.servers = Servers(self)
        self._cleanup.callback(self.servers.close)

    def path(self, name: str) -> str:
        return str(self._directory / name)

    def close(self) -> None:
        self._cleanup.close()

    def run(self, name: str, *command: str, text: str | None = None, check: bool = True) -> str:
        """Run a command in a namespace; its standard output."""
        full = ["nsenter", f"--net={self.path(name)}", *command]
        done = subprocess.run(full, input=text, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def connect(self, name: str, to: str, port: int) -> str:
        """What a TCP server answers to a client in `name`; empty if there is no connection."""

        def work() -> str:
            try:
                with socket.create_connection((to, port), timeout=PATIENCE) as client:
                    return client.recv(200).decode()
            except OSError:
                return ""

        return netns.run_in(self.path(name), work)

    def ask(self, name: str, to: str, port: int, source: str = "") -> str:
        """What a UDP server answers to a client in `name`; empty if nothing comes back."""

        def work() -> str:
            family = socket.AF_INET6 if ":" in to else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                if source:
                    client.bind((source, 0))
                try:
                    client.connect((to, port))
                    client.send(b"?")
                    return client.recv(200).decode()
                except OSError:
                    return ""

        return netns.run_in(self.path(name), work)

    def reach(self, name: str, to: str, port: int) -> str:
        """As `connect`, where an answer is expected: tried again, since a busy machine may be late."""
        return next(filter(None, (self.connect(name, to, port) for _ in range(10))), "")

    def hear(self, name: str, to: str, port: int) -> str:
        """As `ask`, where an answer is expected: tried again, since a busy machine may be late."""
        return next(filter(None, (self.ask(name, to, port) for _ in range(10))), "")

    def answers(self, clients: Iterable[str], to: str, tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> list[str]:
        """What any of the clients hears from any of the ports, all asked at once: empty if nothing gets through."""
        probes = [(self.connect, port) for port in tcp] + [(self.ask, port) for port in udp]
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(probe, client, to, port) for client in clients for probe, port in probes]
            return [answer for each in asked if (answer := each.result())]

    def settle(self) -> None:
        """Wait until the links have learned to forward: until the host reaches port 80 everywhere."""
        for family in (4, 6):
            for to in (OUT[family], FAR[family], *(address(member, family) for member in MEMBERS)):
                if not any(self.connect("host", to, 80) for _ in range(20)):
                    raise AssertionError(f"{to} cannot be reached")

    def _sysctls(self, bridge_netfilter: bool) -> None:
        settings = {
            "net/ipv4/ip_forward": "1",
            "net/ipv6/conf/all/forwarding": "1",
            "net/bridge/bridge-nf-call-iptables": str(int(bridge_netfilter)),
            "net/bridge/bridge-nf-call-ip6tables": str(int(bridge_netfilter)),
        }
        for name, value in settings.items():
            netns.run_in(self.path("host"), lambda n=name, v=value: Path("/proc/sys", n).write_text(v))

    def _wires(self) -> None:
        for other, link, net4, net6 in (("out", "lan", "192.0.2", "fd00:2:"), ("far", "dmz", "198.51.100", "fd00:51:")):
            self._ip(
                "host",
                f"link add {link} address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
                f"link set eth0 netns {self.path(other)}",
                f"link set {link} up",
                f"addr add {net4}.1/24 dev {link}",
                f"addr add {net6}:1/64 dev {link} nodad",
            )
            self._ip(
                other,
                "link set eth0 up",
                f"addr add {net4}.2/24 dev eth0",
                f"addr add {net6}:2/64 dev eth0 nodad",
                f"route add default via {net4}.1",
                f"route add default via {net6}:1",
            )

    def _bridge(self, network: str) -> None:
        number, bridge = NETWORKS[network], f"br-{network}"
        self._ip(
            "host",
            f"link add {bridge} type bridge",
            f"link set {bridge} up",
            f"addr add 10.{number}.0.1/24 dev {bridge}",
            f"addr add fd00:{number}::1/64 dev {bridge} nodad",
        )
        knob = Path("/proc/sys/net/ipv4/conf", bridge, "route_localnet")
        netns.run_in(self.path("host"), lambda: knob.write_text("1"))
        for member, (home, last) in MEMBERS.items():
            if home != network:
                continue
            self._ip(
                "host",
                f"link add v-{member} type veth peer name eth0 netns {self.path(member)}",
                f"link set v-{member} master {bridge} up",
                f"link set v-{member} type bridge_slave hairpin on",
            )
            self._ip(
                member,
                "link set eth0 up",
                f"addr add 10.{number}.0.{last}/24 dev eth0",
                f"addr add fd00:{number}::{last}/64 dev eth0 nodad",
                f"route add default via 10.{number}.0.1",
                f"route add default via fd00:{number}::1",
            )

    def _ip(self, name: str, *commands: str) -> None:
        self.run(name, "ip", "-batch", "-", text="\n".join(commands))


class Servers:
    """TCP and UDP servers in any namespace, all served by one thread."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._selector = selectors.DefaultSelector()
        self._wake, waker = socket.socketpair()
        self._waker = waker
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._heard: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def start(self, name: str, port: int, *, protocol: str = "tcp", at: str = "::") -> None:
        """Listen in namespace `name`; `::` takes both families."""

        def work() -> socket.socket:
            family = socket.AF_INET6 if ":" in at else socket.AF_INET
            kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
            server = socket.socket(family, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((at, port))
            if protocol == "tcp":
                server.listen()
            server.setblocking(False)
            return server

        server = netns.run_in(self._lab.path(name), work)
        with self._lock:
            self._selector.register(server, selectors.EVENT_READ, (name, protocol))
        self._waker.send(b"!")

    def heard(self) -> list[str]:
        """`NAME MESSAGE` of every datagram that arrived."""
        with self._lock:
            return list(self._heard)

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # pyright: ignore
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    if not self._wake.recv(64):
                        return
                    continue
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj, *key.data)  # pyright: ignore

    def _answer(self, server: socket.socket, name: str, protocol: str) -> None:
        if protocol == "tcp":
            client, peer = server.accept()
            with client:
                client.sendall(_greeting(name, peer))
            return
        data, peer = server.recvfrom(200)
        with self._lock:
            self._heard.append(f"{name} {data.decode(errors='replace')}")
        server.sendto(_greeting(name, peer), peer)


def _greeting(name: str, peer: tuple[str, int]) -> bytes:
    return f"{name} {peer[0].removeprefix('::ffff:')}".encode()


@contextlib.contextmanager
def lab(directory: Path, *, bridge_netfilter: bool) -> Iterator[Lab]:
    world = Lab(directory, bridge_netfilter=bridge_netfilter)
    try:
        yield world
    finally:
        world.close()
