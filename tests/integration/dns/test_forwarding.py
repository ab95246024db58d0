"""Other people's names: whom we ask, from where, and what we make of the answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dnslib import DNSRecord

from netpy.nameserver import Nameserver
from tests.integration.dns.lab import (
    Behaviour,
    World,
    ask,
    ask_by_tcp,
    asking,
    cut_short,
    data,
    dig,
    eventually,
    good,
    lying,
    opened,
    rcode,
    silent,
)

pytestmark = pytest.mark.root


def test_the_host_s_servers_are_asked_from_the_host(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    upstream = world.upstream("127.0.0.53", good())  # a loopback server, as systemd-resolved is
    world.host_asks("127.0.0.53")
    assert data(ask(world.container, port, "example.org")) == ["192.0.2.1"]
    assert data(ask_by_tcp(world.container, port, "example.org")) == ["192.0.2.1"]
    assert (upstream.asked, upstream.asked_by_tcp) == (2, 0)


def test_the_sandbox_s_own_servers_are_asked_from_inside(world: World, names: Nameserver) -> None:
    port = opened(names, world, upstreams=("127.0.0.53",))
    world.upstream("127.0.0.53", good("192.0.2.9"))
    inside = world.upstream("127.0.0.53", good("192.0.2.7"), where=world.container)
    world.host_asks("127.0.0.53")
    assert data(ask(world.container, port, "example.org")) == ["192.0.2.7"]
    assert inside.asked == 1


def test_an_internal_sandbox_does_not_reach_the_host_s_servers(world: World, names: Nameserver) -> None:
    port = opened(names, world, external=False)
    upstream = world.upstream("127.0.0.53", good())
    world.host_asks("127.0.0.53")
    assert ask(world.container, port, "example.org").header.rcode == 2
    assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]
    assert upstream.asked == 0


def test_ourselves_are_not_asked(world: World, names: Nameserver) -> None:
    port = opened(names, world, upstreams=("127.0.0.11",))
    assert ask(world.container, port, "example.org").header.rcode == 2


def test_a_changed_resolv_conf_counts_at_once(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    world.upstream("127.0.0.53", good("192.0.2.1"))
    world.upstream("127.0.0.54", good("192.0.2.2"))
    assert ask(world.container, port, "example.org").header.rcode == 2  # there are none yet
    for _ in range(2):
        world.host_asks("127.0.0.53")
        assert data(ask(world.container, port, "example.org")) == ["192.0.2.1"]
        world.host_asks("127.0.0.54")
        assert data(ask(world.container, port, "example.org")) == ["192.0.2.2"]
    world.resolv_conf.write_text("nameserver 127.0.0.53\n# written in place\n")
    assert data(ask(world.container, port, "example.org")) == ["192.0.2.1"]
    world.resolv_conf.unlink()
    assert ask(world.container, port, "example.org").header.rcode == 2


@pytest.mark.parametrize("first", [silent, rcode(2), rcode(5), None], ids=["silent", "servfail", "refused", "dead"])
def test_the_second_server_helps(world: World, names: Nameserver, first: Behaviour | None) -> None:
    port = opened(names, world)
    if first is not None:
        world.upstream("127.0.0.53", first)
    world.upstream("127.0.0.54", good())
    world.host_asks("127.0.0.53", "127.0.0.54")
    assert data(ask(world.container, port, "example.org")) == ["192.0.2.1"]


def test_nxdomain_is_passed_on(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    world.upstream("127.0.0.53", rcode(3))
    second = world.upstream("127.0.0.54", good())
    world.host_asks("127.0.0.53", "127.0.0.54")
    assert ask(world.container, port, "example.org").header.rcode == 3
    assert second.asked == 0


@pytest.mark.parametrize(("behave", "expected"), [(None, 2), (rcode(5), 5), (silent, 2)])
def test_when_nobody_helps(world: World, names: Nameserver, behave: Behaviour | None, expected: int) -> None:
    port = opened(names, world)
    if behave is not None:
        world.upstream("127.0.0.53", behave)
    world.host_asks("127.0.0.53")
    reply = ask(world.container, port, "example.org")
    assert (reply.header.rcode, str(reply.q.qname)) == (expected, "example.org.")


def test_lies_are_not_believed(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    world.upstream("127.0.0.53", lying)
    world.host_asks("127.0.0.53")
    for _ in range(20):
        assert data(ask(world.container, port, "example.org")) == ["192.0.2.1"]


def test_answers_cut_short_are_fetched_by_tcp(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    upstream = world.upstream("127.0.0.53", cut_short, tcp=good(count=60))
    world.host_asks("127.0.0.53")
    assert len(data(ask_by_tcp(world.container, port, "example.org"))) == 60
    assert upstream.asked_by_tcp == 1
    assert len(dig(world.container, port, "+short", "+notcp", "+bufsize=4096", "example.org")) == 60
    assert upstream.asked_by_tcp == 2
    assert ask(world.container, port, "example.org").header.tc == 1  # it could not take more anyway
    assert upstream.asked_by_tcp == 2


def test_many_at_once_while_one_server_is_silent(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    world.upstream("127.0.0.53", silent)
    world.upstream("127.0.0.54", good())
    world.host_asks("127.0.0.53", "127.0.0.54")
    queries = {n: bytes(DNSRecord.question(f"h{n}.example.org").pack()) for n in range(200)}
    with asking(world.container, port) as made:
        for n, query in queries.items():
            made.send(n.to_bytes(2, "big") + query[2:])
        replies = {int.from_bytes(reply[:2], "big"): reply for reply in (made.recv(65535) for _ in queries)}
        assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]
    for n, reply in replies.items():
        parsed = DNSRecord.parse(reply)
        assert (str(parsed.q.qname), data(parsed)) == (f"h{n}.example.org.", ["192.0.2.1"])


def test_closing_a_sandbox_lets_go_of_it(world: World, names: Nameserver) -> None:
    port = opened(names, world, upstreams=("127.0.0.53",))
    world.upstream("127.0.0.53", silent, where=world.container)
    with asking(world.container, port) as made:
        made.send(bytes(DNSRecord.question("example.org").pack()))
        eventually(lambda: world.upstreams[0].asked > 0)
        names.close("s")
        names.close("s")
        with pytest.raises(ConnectionError):
            made.send(b"x")
            made.recv(1)
    assert names.served() == {}
    assert open_sockets(names.pid) == 2  # the control socket and this connection: none of the container's


def open_sockets(pid: int) -> int:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return sum(os.readlink(link).startswith("socket:") for link in links)
