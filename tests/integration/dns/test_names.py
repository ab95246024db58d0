"""Our own names, over UDP and TCP, by programs that know nothing of us."""

from __future__ import annotations

import os
import socket
import subprocess
from collections import Counter

import pytest
from dnslib import DNSRecord

from netpy.errors import InvalidArgument
from netpy.model import Sandbox
from netpy.nameserver import Nameserver
from tests.integration.dns.lab import (
    DEADLINE,
    World,
    ask,
    ask_by_tcp,
    asking,
    data,
    dig,
    eventually,
    exactly,
    opened,
    received,
    record,
)

pytestmark = pytest.mark.root


@pytest.mark.parametrize("transport", [[], ["+tcp"], ["+noedns"], ["+bufsize=512"]])
def test_dig_understands_us(world: World, names: Nameserver, transport: list[str]) -> None:
    port = opened(names, world, links={"db": "web3"})
    assert dig(world.container, port, *transport, "+short", "web1") == ["10.0.0.1"]
    assert dig(world.container, port, *transport, "+short", "WEB2.net", "AAAA") == ["fd00::2"]
    assert dig(world.container, port, *transport, "+short", "db") == ["10.0.0.3"]
    assert dig(world.container, port, *transport, "+short", "-x", "10.0.0.2") == ["web2.net."]
    assert dig(world.container, port, *transport, "+short", "-x", "fd00::2") == ["web2.net."]
    text = "\n".join(dig(world.container, port, *transport, "web1", "MX"))
    assert "status: NOERROR" in text
    assert "ANSWER: 0" in text
    assert "WARNING" not in text


def test_backends_take_turns(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    assert Counter(data(ask(world.container, port, "search"))[0] for _ in range(90)) == {
        "10.0.0.1": 30,
        "10.0.0.2": 30,
        "10.0.0.3": 30,
    }


def test_the_c_library_resolves(world: World, names: Nameserver) -> None:
    """With port 53 itself, where no container is in the way, and a resolv.conf: what programs do."""
    assert names.open(Sandbox(id="s", netns=world.container), 53) == 53
    conf = world.root / "container-resolv.conf"
    conf.write_text("nameserver 127.0.0.11\noptions ndots:0\n")
    script = f"mount --bind {conf} /etc/resolv.conf && getent ahosts web1"
    command = ["nsenter", f"--net={world.container}", "unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE)
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"10.0.0.1", "fd00::1"}


def test_long_answers_are_cut_and_come_whole_by_tcp(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    names.update(put=[record(f"m{n}", "many", f"10.1.{n // 200}.{n % 200}") for n in range(200)])
    short = ask(world.container, port, "many")
    assert (short.header.tc, len(short.pack())) == (1, 12 + 10 + 30 * 16)
    whole = ask_by_tcp(world.container, port, "many")
    assert (whole.header.tc, len(set(data(whole)))) == (0, 200)
    assert len(dig(world.container, port, "+short", "many")) == 200  # by its own retry over TCP
    assert len(dig(world.container, port, "+short", "+notcp", "+ignore", "+bufsize=4096", "many")) == 200


def test_a_change_is_seen_by_the_next_query(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    names.update(put=[record("e1", "web1", "10.9.9.9")], drop=["e2"])
    assert data(ask(world.container, port, "web1")) == ["10.9.9.9"]
    assert data(ask(world.container, port, "search")) == ["10.0.0.3"]
    with pytest.raises(InvalidArgument, match="is not an address"):
        names.update(put=[record("e9", "web9", "ten")], drop=["e1"])
    assert data(ask(world.container, port, "web1")) == ["10.9.9.9"]


def test_garbage_does_not_hurt(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    with asking(world.container, port) as made:
        for packet in (b"", b"\0", b"\xff" * 5000, os.urandom(600), b"\0" * 65000):
            made.send(packet)
        query = bytes(DNSRecord.question("web1").pack())
        made.send(query)
        while (reply := made.recv(65535))[:2] != query[:2]:
            assert reply[3] & 0x0F in (1, 4)  # FORMERR, NOTIMP
    assert data(DNSRecord.parse(reply)) == ["10.0.0.1"]


def test_several_queries_on_one_connection(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    queries = [bytes(DNSRecord.question(f"web{n % 3 + 1}").pack()) for n in range(300)]
    with asking(world.container, port, socket.SOCK_STREAM) as made:
        made.sendall(b"".join(len(query).to_bytes(2, "big") + query for query in queries))
        made.shutdown(socket.SHUT_WR)  # it has said all and still listens
        with made.makefile("rb") as reader:
            replies = [exactly(reader.read, int.from_bytes(exactly(reader.read, 2), "big")) for _ in queries]
            assert reader.read() == b""
    assert [reply[:2] for reply in replies] == [query[:2] for query in queries]


def test_a_query_in_crumbs(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    query = bytes(DNSRecord.question("web1").pack())
    with asking(world.container, port, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in len(query).to_bytes(2, "big") + query:
            made.sendall(bytes([octet]))
        assert data(DNSRecord.parse(received(made))) == ["10.0.0.1"]


def test_an_asker_that_does_not_read_holds_nobody_up(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    names.update(put=[record(f"m{n}", "many", f"10.1.{n // 200}.{n % 200}") for n in range(1000)])
    query = bytes(DNSRecord.question("many").pack())
    framed = len(query).to_bytes(2, "big") + query
    with asking(world.container, port, socket.SOCK_STREAM) as greedy:
        greedy.setblocking(False)
        unread = 0
        while unread < 2000:  # at 16 KB an answer, far more than buffers hold
            try:
                greedy.send(framed)
                unread += 1
            except BlockingIOError:
                break
        assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]
        assert data(ask_by_tcp(world.container, port, "web1")) == ["10.0.0.1"]


def test_too_many_connections_are_turned_away(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    held = [asking(world.container, port, socket.SOCK_STREAM) for _ in range(64)]
    query = bytes(DNSRecord.question("web1").pack())
    framed = len(query).to_bytes(2, "big") + query
    try:
        for each in held:
            each.sendall(framed)
            received(each)
        with asking(world.container, port, socket.SOCK_STREAM) as late, pytest.raises((EOFError, ConnectionError)):
            late.sendall(framed)
            received(late)
    finally:
        for each in held:
            each.close()
    eventually(lambda: answers_by_tcp(world.container, port))


def answers_by_tcp(where: str, port: int) -> bool:
    try:
        return data(ask_by_tcp(where, port, "web1")) == ["10.0.0.1"]
    except (EOFError, ConnectionError):
        return False
