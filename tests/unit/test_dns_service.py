"""The control socket, spoken to by somebody who does not keep to the rules; and the end of a lonely process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netpy.dns import Record, View, control, service
from netpy.dns.control import Channel, Message
from netpy.dns.forwarder import Places
from netpy.dns.loop import Loop
from netpy.dns.resolver import Resolver
from netpy.dns.server import Server, World
from netpy.dns.service import Service
from netpy.errors import InvalidArgument

RECORD = Record(endpoint_id="e", network_id="n", names=("web",), addresses=("10.0.0.2",))
BODY = control.record_body(RECORD)
VIEW = View(sandbox_id="s", networks=(("n", "net"),), links={"a": "b"}, upstreams=("1.2.3.4",), external=False, ndots=2)


def no_dial(path: str, transport: str, address: str) -> socket.socket:
    raise OSError("nobody is reachable")


class Running:
    """A service in a thread, and connections to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = Loop()
        self.resolver = Resolver()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        server = Server(self.loop, self.resolver, World(dial=no_dial, host_servers=tuple, places=Places(8)))
        self._service = Service(self.loop, self.resolver, server, {"ttl": 5})
        self._service.listen(self._listening)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            with self.connect() as last:
                tell(last, {"op": "shutdown"})
        self.thread.join(20)
        assert not self.thread.is_alive()
        self._service.close()
        self._listening.close()
        self.loop.finish()

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(20)
        made.connect(str(self.path))
        return made


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Running]]:
    made: list[Running] = []

    def started() -> Running:
        made.append(Running(tmp_path / "s"))
        return made[0]

    yield started
    for each in made:
        each.close()


def tell(connected: socket.socket, message: Message) -> Message:
    connected.sendall(control.encoded(message))
    channel = Channel(connected)
    while channel.read():
        for reply in channel.messages():
            return reply
    raise EOFError


def test_bodies_come_back_as_they_went() -> None:
    assert control.records_of([control.record_body(RECORD)]) == [RECORD]
    assert control.views_of([control.view_body(VIEW)]) == [VIEW]
    for nonsense in ({}, {"endpoint": "e"}, {**control.record_body(RECORD), "names": None}):
        with pytest.raises(InvalidArgument, match="not a record"):
            control.records_of([nonsense])
    for nonsense in ({}, {**control.view_body(VIEW), "networks": [["n"]]}, {**control.view_body(VIEW), "ndots": "x"}):
        with pytest.raises(InvalidArgument, match="not a view"):
            control.views_of([nonsense])


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"op": "dance"},
        {"op": "open"},
        {"op": "open", "sandbox": "s", "netns": "", "inode": 1, "port": 1},  # without its sockets
        {"op": "close"},
        {"op": "update"},
        {"op": "update", "put": [{}], "drop": [], "views": []},
        {"op": "update", "put": [], "drop": 5, "views": []},
        {"op": "replace", "records": [], "views": [1], "first": True, "last": True},
        {"op": "replace", "records": [], "views": []},
        {"op": "replace", "records": [{**BODY, "addresses": ["ten"]}], "views": [], "first": True, "last": True},
    ],
)
def test_requests_that_make_no_sense_are_told_so(start: Callable[[], Running], message: Message) -> None:
    running = start()
    before = running.resolver.snapshot
    with running.connect() as connected:
        assert tell(connected, message)["kind"] == "InvalidArgument"
        assert tell(connected, {"op": "ping"}) == {"ok": True, "protocol": 2, "settings": {"ttl": 5}}
        assert tell(connected, {"op": "list"}) == {"ok": True, "places": {}}
    assert running.resolver.snapshot is before


def test_a_replacement_in_parts_counts_when_it_is_whole(start: Callable[[], Running]) -> None:
    running = start()
    records = [replace(RECORD, endpoint_id=f"e{n}", names=(f"web{n}",)) for n in range(1000)]
    with running.connect() as connected:
        parts = list(control.replacement(records, [VIEW]))
        assert len(parts) == 8
        for part in parts[:-1]:
            assert tell(connected, part)["ok"]
            assert len(running.resolver.snapshot.records) == 0
        assert tell(connected, parts[-1])["ok"]
        assert sorted(running.resolver.snapshot.records) == sorted(each.endpoint_id for each in records)
        before = running.resolver.snapshot
        for part in control.replacement(records, [VIEW]):  # as by a daemon that has come back
            assert tell(connected, part)["ok"]
        assert running.resolver.snapshot is before
        with running.connect() as other:  # who breaks off has changed nothing
            tell(other, parts[0])
        changed = [replace(records[0], addresses=("10.0.0.9",)), *records[2:]]
        for part in control.replacement(changed, []):
            assert tell(connected, part)["ok"]
        now = running.resolver.snapshot
        assert (len(now.records), len(now.views), now.records.get("e1")) == (999, 0, None)
        assert now.names.get(("n", "web0")) != before.names.get(("n", "web0"))
        assert now.names.get(("n", "web5")) is before.names.get(("n", "web5"))
        for views in ([VIEW], [VIEW], []):
            for part in control.replacement([], views):
                assert tell(connected, part)["ok"]
            assert len(running.resolver.snapshot.records) == 0
            assert len(running.resolver.snapshot.views) == len(views)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\0\0\0\2hi", b"\0\0\0\2[]"])
def test_garbage_ends_the_connection_and_no_other(start: Callable[[], Running], garbage: bytes) -> None:
    running = start()
    with running.connect() as good, running.connect() as bad:
        bad.sendall(garbage)
        assert bad.recv(1) == b""
        assert tell(good, {"op": "ping"})["ok"]


def test_a_message_in_crumbs(start: Callable[[], Running]) -> None:
    with start().connect() as connected:
        for octet in control.encoded({"op": "find", "sandbox": "s"})[:-1]:
            connected.sendall(bytes([octet]))
        connected.sendall(b"}")
        assert Channel(connected).read()


def test_sockets_that_nobody_takes_are_closed(start: Callable[[], Running]) -> None:
    with start().connect() as connected:
        kept, sent = socket.socketpair()
        with kept:
            message = control.encoded({"op": "ping"})
            socket.send_fds(connected, [message], [sent.fileno()])
            sent.close()
            assert kept.recv(1) == b""  # the last other end is gone


def test_a_lonely_process_ends(start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_LONELY", 0.05)
    running = start()
    with running.connect() as connected:
        tell(connected, {"op": "ping"})
    running.thread.join(20)
    assert not running.thread.is_alive()
