"""What the tests of the name server are played with: a host, a container, and upstream servers of all characters."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dnslib import RR, A, DNSRecord

from netpy.dns import Record, View
from netpy.kernel import netns
from netpy.model import Sandbox
from netpy.nameserver import Nameserver

DEADLINE = 20.0
NET = (("n", "net"),)


def record(id: str, names: str, *addresses: str) -> Record:
    return Record(endpoint_id=id, network_id="n", names=tuple(names.split()), addresses=addresses)


WEBS = [record(f"e{n}", f"web{n} search", f"10.0.0.{n}", f"fd00::{n}") for n in (1, 2, 3)]


@dataclass
class World:
    """A host with its name server, and one container."""

    root: Path
    host: str
    container: str
    resolv_conf: Path
    upstreams: list[Upstream] = field(default_factory=list)

    def nameserver(self, **settings: int) -> Nameserver:
        return Nameserver(self.root / "run", host_resolv_conf=self.resolv_conf, **settings)

    def upstream(self, address: str, behave: Behaviour, *, where: str = "", tcp: Behaviour | None = None) -> Upstream:
        made = Upstream(where or self.host, address, behave, tcp or behave)
        self.upstreams.append(made)
        return made

    def host_asks(self, *servers: str) -> None:
        """Another resolv.conf takes the place of the present one, as nearly every program writes it."""
        fresh = self.resolv_conf.with_suffix(".new")
        fresh.write_text("".join(f"nameserver {server}\n" for server in servers))
        fresh.rename(self.resolv_conf)


Behaviour = Callable[[bytes], list[bytes]]


def good(address: str = "192.0.2.1", count: int = 1) -> Behaviour:
    def behave(packet: bytes) -> list[bytes]:
        reply = DNSRecord.parse(packet).reply()
        for _ in range(count):
            reply.add_answer(RR(reply.q.qname, rdata=A(address)))
        return [bytes(reply.pack())]

    return behave


def rcode(value: int) -> Behaviour:
    return lambda packet: [packet[:2] + bytes([0x81, 0x80 | value]) + packet[4:]]


def silent(packet: bytes) -> list[bytes]:
    return []


def cut_short(packet: bytes) -> list[bytes]:
    return [packet[:2] + bytes([0x83, 0x80]) + packet[4:]]


def lying(packet: bytes) -> list[bytes]:
    """First what a forger would send, then the truth."""
    (truth,) = good("192.0.2.1")(packet)
    (lie,) = good("192.0.2.66")(packet)
    wrong_id = bytes([lie[0] ^ 1]) + lie[1:]
    wrong_question = lie[:13] + b"?" + lie[14:]
    return [wrong_id, wrong_question, b"", lie[:11], packet, truth]


class Upstream:
    """A name server with a behaviour, UDP and TCP, on port 53 of an address in a namespace."""

    def __init__(self, where: str, address: str, behave: Behaviour, tcp: Behaviour) -> None:
        self.asked = 0
        self.asked_by_tcp = 0
        self._behave, self._tcp = behave, tcp
        self._datagrams, self._stream = netns.run_in(where, lambda: self._bound(address))
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._end >= 0:
            os.close(self._end)
            self._end = -1
            self._thread.join()

    @staticmethod
    def _bound(address: str) -> tuple[socket.socket, socket.socket]:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        datagrams.bind((address, 53))
        stream.bind((address, 53))
        stream.listen()
        return datagrams, stream

    def _serve(self) -> None:
        with self._datagrams, self._stream:
            while True:
                ready, _, _ = select.select([self._datagrams, self._stream, self._wake], [], [])
                if self._wake in ready:
                    os.close(self._wake)
                    return
                if self._datagrams in ready:
                    packet, peer = self._datagrams.recvfrom(65535)
                    self.asked += 1
                    for answer in self._behave(packet):
                        self._datagrams.sendto(answer, peer)
                if self._stream in ready:
                    self._serve_stream(self._stream.accept()[0])

    def _serve_stream(self, accepted: socket.socket) -> None:
        with accepted:
            accepted.settimeout(DEADLINE)
            self.asked_by_tcp += 1
            for answer in self._tcp(received(accepted)):
                accepted.sendall(len(answer).to_bytes(2, "big") + answer)


def received(stream: socket.socket) -> bytes:
    """One message from a TCP connection."""
    with stream.makefile("rb", buffering=0) as reader:
        size = int.from_bytes(exactly(reader.read, 2), "big")
        return exactly(reader.read, size)


def exactly(read: Callable[[int], bytes | None], size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = read(size - len(data))
        if not chunk:
            raise EOFError("the connection was closed")
        data += chunk
    return data


def asking(where: str, port: int, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
    """A connected socket to the name server inside the namespace."""

    def connected() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(DEADLINE)
        made.connect(("127.0.0.11", port))
        return made

    return netns.run_in(where, connected)


def ask(where: str, port: int, name: str, qtype: str = "A") -> DNSRecord:
    query = DNSRecord.question(name, qtype)
    with asking(where, port) as made:
        made.send(bytes(query.pack()))
        reply = DNSRecord.parse(made.recv(65535))
    assert reply.header.id == query.header.id
    return reply


def ask_by_tcp(where: str, port: int, name: str, qtype: str = "A") -> DNSRecord:
    query = bytes(DNSRecord.question(name, qtype).pack())
    with asking(where, port, socket.SOCK_STREAM) as made:
        made.sendall(len(query).to_bytes(2, "big") + query)
        return DNSRecord.parse(received(made))


def data(reply: DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in reply.rr]


def dig(where: str, port: int, *arguments: str) -> list[str]:
    command = ["nsenter", f"--net={where}", "dig", "@127.0.0.11", "-p", str(port), "+tries=1", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout.splitlines()


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < deadline, "that never came true"
        threading.Event().wait(0.01)


def opened(names: Nameserver, world: World, **view: object) -> int:
    port = names.open(Sandbox(id="s", netns=world.container))
    names.update(views=[View(sandbox_id="s", networks=NET, **view)])  # type: ignore[arg-type]
    return port
