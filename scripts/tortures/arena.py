"""Where hostile containers are let loose: a daemon of its own, its networks and containers, and a machine outside.

    front   dual stack           mallory, alice, bob       mallory is the attacker
    back    dual stack           carol                     another network of the same host
    apart   icc=false            eve, adam                 who may not talk to each other
    inner   internal             ivan
    loose   netpy.antispoof=off  punch, judy, toby         where the same attacks must succeed, or they prove nothing

Attackers have what Docker gives by default: CAP_NET_RAW. Their frames are sent from within their network namespace by a
packet socket. Whether one has arrived needs no waiting: an honest one is sent after it, and they stay in order.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from netpy.kernel import netns
from tests.e2e.world import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Daemon, World, new_world

from . import frames

T = TypeVar("T")
NETWORKS = {
    "front": ("--ipv6",),
    "back": ("--ipv6",),
    "apart": ("-o", "com.docker.network.bridge.enable_icc=false"),
    "inner": ("--internal",),
    "loose": ("--ipv6", "-o", "netpy.antispoof=false"),
}
MEMBERS = {
    "mallory": "front", "alice": "front", "bob": "front", "carol": "back", "eve": "apart", "adam": "apart",
    "ivan": "inner", "punch": "loose", "judy": "loose", "toby": "loose",
}  # fmt: skip
PRIVATE, BOUND, SECRET = 8870, 8871, 9999
SECOND_ADDRESS = "198.51.100.77"
PATIENCE = 3.0
_ETH_P_ALL = 3


@dataclass(frozen=True)
class Party:
    """A container (or a namespace) with one interface, and how to act in it."""

    name: str
    path: str
    ifname: str
    mac: str
    four: str
    six: str
    link_local: str
    gateway: str
    gateway6: str
    router: str  # the MAC of its gateway
    port: str = ""  # its end on the host

    def within(self, work: Callable[[], T]) -> T:
        return netns.run_in(self.path, work)

    def run(self, *command: str) -> str:
        """The output of a command in its network namespace."""
        full = ["nsenter", f"--net={self.path}", *command]
        return subprocess.run(full, capture_output=True, text=True, check=False, timeout=30).stdout

    def address(self, family: int) -> str:
        return self.four if family == 4 else self.six

    def sending(self) -> socket.socket:
        def work() -> socket.socket:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind((self.ifname, 0))
            return raw

        return self.within(work)

    def listening(self) -> socket.socket:
        """Hears every frame of its interface that comes in."""

        def work() -> socket.socket:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            raw.bind((self.ifname, _ETH_P_ALL))
            raw.settimeout(PATIENCE)
            return raw

        return self.within(work)

    def call(self, receiver: Party) -> bytes:
        """Sends an honest datagram, by which a listener knows that all before it has come; what to know it by."""
        end = secrets.token_bytes(12)

        def work() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
                plain.sendto(end, (receiver.four, 4001))

        self.within(work)
        return end

    def tcp(self, to: str, port: int, timeout: float = 0.5) -> str:
        """What a server says at once; empty when there is no connection."""

        def work() -> str:
            try:
                with socket.create_connection((to, port), timeout=timeout) as client:
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    return client.recv(200).decode(errors="replace")
            except OSError:
                return ""

        return self.within(work)


def honest(sender: Party, receiver: Party, data: bytes) -> bytes:
    """A frame that nobody can object to."""
    packet = frames.udp(sender.four, receiver.four, (4000, 4001), data)
    return frames.ether(sender.mac, receiver.mac, frames.IP, packet)


def arrives(sender: Party, receiver: Party, *sent: bytes, guide: Party | None = None) -> bool:
    """Whether the receiver sees any of these frames. `guide` shows that the way is open, else the sender does."""
    with receiver.listening() as ear, sender.sending() as mouth:
        for frame in sent:
            mouth.send(frame)
        if guide is None:
            end = secrets.token_bytes(12)
            mouth.send(honest(sender, receiver, end))
        else:
            end = guide.call(receiver)
        return heard(ear, [frames.content(frame) for frame in sent], end)


def heard(ear: socket.socket, wanted: Sequence[bytes], end: bytes) -> bool:
    """Whether a frame with one of these in it comes in before the end does. AssertionError when that never comes."""
    seen = False
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            data = ear.recv(65536)
            if end in data:
                return seen
            seen = seen or any(each in data for each in wanted)
    raise AssertionError("not even an honest frame arrived, so that nothing is shown")


class Arena:
    """The daemon, the networks and who is in them. `close` removes everything."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.world: World = new_world()
        self.netpy = Daemon(self.world, name="arena", flags=("--firewall-backend", backend))
        self._opened = contextlib.ExitStack()
        self._opened.callback(shutil.rmtree, self.world.root, ignore_errors=True)
        self._opened.callback(self.world.close)
        self._opened.callback(self.netpy.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._opened.close()

    def party(self, name: str) -> Party:
        return self._parties[name]

    @cached_property
    def outside(self) -> Party:
        return self._end(self.world.outside, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, HOST_ADDRESS, HOST_ADDRESS6)

    @cached_property
    def host(self) -> Party:
        return self._end(self.world.host, HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6)

    def on_host(self, *command: str) -> str:
        return self.world.at(self.world.host, *command).stdout

    def bridge(self, network: str) -> str:
        return f"br-{self.netpy('network', 'inspect', '-f', '{{.Id}}', network)[:12]}"

    def start(self, name: str, *arguments: str) -> Party:
        """One more container; `arguments` are flags, IMAGE and command of `run -d`."""
        self.netpy("run", "-d", "--name", name, "--hostname", name, *arguments)
        return self._described(name)

    def remove(self, name: str) -> None:
        self.netpy("rm", "-f", name)

    def _build(self) -> None:
        self.world.at(self.world.host, "ip", "addr", "add", f"{SECOND_ADDRESS}/24", "dev", "uplink")
        self.netpy.start()
        self.netpy.import_busybox()
        for network, options in NETWORKS.items():
            self.netpy("network", "create", *options, network)
        published = ("-p", f"127.0.0.1:{PRIVATE}:80", "-p", f"{HOST_ADDRESS}:{BOUND}:80")
        server = f"mkdir /w; hostname > /w/index.html; httpd -p 80 -h /w; httpd -f -p {SECRET} -h /w"
        self._parties = {
            name: self.start(
                name, "--network", network, *(published if name == "alice" else ()), "busybox", "sh", "-c", server
            )
            for name, network in MEMBERS.items()
        }
        self.world.at(self.world.outside, "ip", "-6", "route", "add", "fd00::/8", "via", HOST_ADDRESS6)
        for name in ("alice", "bob", "carol"):
            self._wait_for(self.party(name))

    def _wait_for(self, party: Party) -> None:
        deadline = time.monotonic() + 10
        while not self.host.tcp(party.four, SECRET):
            assert time.monotonic() < deadline, f"{party.name} does not serve"
            time.sleep(0.05)

    def _described(self, name: str) -> Party:
        record = self.netpy.json("inspect", name)[0]
        (where,) = record["NetworkSettings"]["Networks"].values()
        path = f"/proc/{record['State']['Pid']}/ns/net"
        bridge = next(iter(record["NetworkSettings"]["Networks"]))
        return Party(
            name=name,
            path=path,
            ifname="eth0",
            mac=where["MacAddress"],
            four=where["IPAddress"],
            six=where["GlobalIPv6Address"],
            link_local=_link_local(path, "eth0"),
            gateway=where["Gateway"],
            gateway6=where["IPv6Gateway"],
            router=_mac_of(self.world.host, self.bridge(bridge)),
            port=f"veth{where['EndpointID'][:7]}",
        )

    def _end(self, path: str, four: str, six: str, gateway: str, gateway6: str) -> Party:
        other = self.world.host if path == self.world.outside else self.world.outside
        return Party(
            name=Path(path).name,
            path=path,
            ifname="uplink",
            mac=_mac_of(path, "uplink"),
            four=four,
            six=six,
            link_local=_link_local(path, "uplink"),
            gateway=gateway,
            gateway6=gateway6,
            router=_mac_of(other, "uplink"),
        )


def _mac_of(path: str, link: str) -> str:
    return _ip(path, link, "link/ether")


def _link_local(path: str, link: str) -> str:
    found = _ip(path, link, "inet6", "-6", "scope", "link")
    return found.partition("/")[0]


def _ip(path: str, link: str, before: str, *more: str) -> str:
    family, scope = (more[0:1], more[1:]) if more else ((), ())
    command = ["nsenter", f"--net={path}", "ip", *family, "addr", "show", "dev", link, *scope]
    words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return words[words.index(before) + 1] if before in words else ""


@contextlib.contextmanager
def arena(backend: str) -> Generator[Arena]:
    made = Arena(backend)
    try:
        yield made
    finally:
        made.close()
