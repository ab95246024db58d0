"""One container floods the name server in every way we could think of; the other goes on asking, and is answered."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dnslib import DNSRecord

from netpy.dns import View
from netpy.kernel import netns
from netpy.model import Sandbox
from netpy.nameserver import Nameserver
from tests.integration.dns.lab import NET, World, ask, ask_by_tcp, asking, data, eventually, good, opened, silent

pytestmark = pytest.mark.root
UNKNOWN = bytes(DNSRecord.question("a.name.to.be.forwarded.example").pack())
KNOWN = bytes(DNSRecord.question("search").pack())
PUZZLE = b"\x12\x34\1\0\0\1\0\0\0\0\0\x40" + b"\0\0\1\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\0" * 40


@pytest.fixture
def neighbour(world: World) -> Iterator[str]:
    path = str(world.root / "neighbour")
    netns.create(path)
    yield path
    netns.delete(path)


def datagrams(packet: bytes) -> Callable[[str, int, threading.Event], None]:
    def flood(where: str, port: int, over: threading.Event) -> None:
        with asking(where, port) as made:
            made.setblocking(False)
            while not over.is_set():
                for n in range(64):
                    try:
                        made.send(n.to_bytes(2, "big") + packet[2:])
                        made.recv(65535)
                    except BlockingIOError:
                        continue

    return flood


def held_connections(where: str, port: int, over: threading.Event) -> None:
    """Connections that say nothing, or a part of a query, or many queries without reading an answer."""
    with ExitStack() as stack:
        for n in range(200):
            made = stack.enter_context(asking(where, port, socket.SOCK_STREAM))
            made.setblocking(False)
            try:
                made.send((b"", b"\0\x20half", (len(KNOWN).to_bytes(2, "big") + KNOWN) * 1000)[n % 3])
            except (BlockingIOError, ConnectionError):
                continue
        over.wait()


FLOODS = {
    "known": datagrams(KNOWN),
    "puzzles": datagrams(PUZZLE),
    "garbage": datagrams(b"\0" * 1400),
    "forwarded": datagrams(UNKNOWN),
    "connections": held_connections,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_its_own_senders_trouble(world: World, names: Nameserver, neighbour: str, kind: str) -> None:
    theirs = opened(names, world)
    ours = names.open(Sandbox(id="o", netns=neighbour))
    # The flooder's own server never answers, so that all that can be in flight is; ours does.
    world.upstream("127.0.0.53", silent, where=world.container)
    world.upstream("127.0.0.54", good())
    world.host_asks("127.0.0.54")
    names.update(
        views=[
            View(sandbox_id="s", networks=NET, upstreams=("127.0.0.53",)),
            View(sandbox_id="o", networks=NET),
        ]
    )
    before = descriptors(names.pid)
    over = threading.Event()
    flood = threading.Thread(target=FLOODS[kind], args=(world.container, theirs, over))
    flood.start()
    try:
        if kind in ("forwarded", "connections"):
            eventually(lambda: descriptors(names.pid) > before + 30)
        most = 0
        for n in range(50):
            assert data(ask(neighbour, ours, f"web{n % 3 + 1}")) == [f"10.0.0.{n % 3 + 1}"]
            most = max(most, descriptors(names.pid))
        assert data(ask_by_tcp(neighbour, ours, "web1")) == ["10.0.0.1"]
        assert data(ask(neighbour, ours, "example.org")) == ["192.0.2.1"]
        # A socket for each of 1024 queries, or 64 connections, and the epoll of each container's lane.
        assert most <= before + 1024 + 8
    finally:
        over.set()
        flood.join()
    names.close("s")
    eventually(lambda: descriptors(names.pid) <= before + 2)


def descriptors(pid: int) -> int:
    return len(os.listdir(Path(f"/proc/{pid}/fd")))
