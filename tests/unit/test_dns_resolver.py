"""Query bytes in, answer bytes out; read back with dnslib, which the fast path does not use."""

from __future__ import annotations

from collections import Counter

import pytest
from dnslib import DNSError, DNSRecord
from hypothesis import example, given
from hypothesis import strategies as st

from netpy.dns import Record, View, codec, wire
from netpy.dns.resolver import LONGEST_QUERY, Asker, Forward, Resolver
from netpy.dns.zones import snapshot

TYPES = {"A": 1, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "ANY": 255, "HTTPS": 65}


def name_bytes(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def ask(
    name: str,
    qtype: str = "A",
    *,
    edns: int = 0,
    id: int = 0x1234,
    flags: int = 0x0100,
    cls: int = 1,
    option: bytes = b"",
) -> bytes:
    question = name_bytes(name) + TYPES[qtype].to_bytes(2, "big") + cls.to_bytes(2, "big")
    counts = b"\0\1\0\0\0\0" + (b"\0\1" if edns else b"\0\0")
    opt = b"\0\0\x29" + edns.to_bytes(2, "big") + b"\0\0\0\0" + len(option).to_bytes(2, "big") + option if edns else b""
    return id.to_bytes(2, "big") + flags.to_bytes(2, "big") + counts + question + opt


def world(backends: int = 3, **settings: object) -> Resolver:
    records = [
        Record(
            endpoint_id=f"e{n}",
            network_id="n",
            names=(f"web{n}", "search"),
            addresses=(f"10.0.{n // 250}.{n % 250 + 1}", *((f"fd00::{n + 1:x}",) if n % 2 == 0 else ())),
        )
        for n in range(backends)
    ]
    views = [View(sandbox_id=s, networks=(("n", "net"),), **settings) for s in ("s1", "s2")]  # type: ignore[arg-type]
    return Resolver(ttl=7, snapshot=snapshot(records, views))


def asker(backends: int = 3, **settings: object) -> Asker:
    return world(backends, **settings).asker("s1")


def answered(asking: Asker, packet: bytes, *, stream: bool = False) -> DNSRecord:
    outcome = asking.answer(packet, stream=stream)
    assert isinstance(outcome, bytes)
    assert outcome[:2] == packet[:2]
    parsed = DNSRecord.parse(outcome)
    assert parsed.header.qr == 1
    assert parsed.header.ra == 1
    assert parsed.header.aa == 0
    return parsed


def data(reply: DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in reply.rr]


@pytest.mark.parametrize(
    ("name", "qtype", "expected"),
    [
        ("web0", "A", ["10.0.0.1"]),
        ("WEB0.Net", "A", ["10.0.0.1"]),
        ("web0", "AAAA", ["fd00::1"]),
        ("web1", "AAAA", []),  # known, in the other family only
        ("web0", "MX", []),
        ("web0", "TXT", []),
        ("web0", "SRV", []),
        ("web0", "HTTPS", []),
        ("web0", "ANY", ["10.0.0.1", "fd00::1"]),
        ("2.0.0.10.in-addr.arpa", "PTR", ["web1.net."]),
        ("2.0.0.10.in-addr.arpa", "TXT", []),
        ("3." + "0." * 27 + "0.d.f.ip6.arpa", "PTR", None),  # 31 digits: not an address
        ("3." + "0." * 27 + "0.0.d.f.ip6.arpa", "PTR", ["web2.net."]),
        ("9.9.0.10.in-addr.arpa", "PTR", None),
        ("nobody", "A", None),
        ("web0.other", "A", None),
        ("", "A", None),
    ],
)
@pytest.mark.parametrize("edns", [0, 1232])
def test_answers(name: str, qtype: str, expected: list[str] | None, edns: int) -> None:
    asking = asker()
    packet = ask(name, qtype, edns=edns)
    for _ in range(2):  # the second comes from the cache
        if expected is None:
            assert isinstance(asking.answer(packet), Forward)
            continue
        reply = answered(asking, packet)
        assert reply.header.rcode == 0
        assert sorted(data(reply)) == sorted(expected)
        assert {rr.ttl for rr in reply.rr} <= {7}
        assert str(reply.q.qname).rstrip(".") == name  # in the spelling of the asker
        assert len(reply.ar) == (1 if edns else 0)


def test_every_backend_is_first_equally_often() -> None:
    asking = asker(5)
    first = Counter(data(answered(asking, ask("search", id=n)))[0] for n in range(500))
    assert sorted(first.values()) == [100] * 5
    mixed = asker(3)
    spellings = ("search", "SEARCH", "Search")
    first = Counter(data(answered(mixed, ask(spellings[n % 3], edns=1232 * (n % 2), option=b"\0\x0a\0\1%c" % (n % 250))))[0]
                    for n in range(300))  # fmt: skip
    assert sorted(first.values()) == [100] * 3
    both = asker(4)
    for n in range(8):  # a stub resolver asks for both families each time: neither may stand in the other's turn
        assert data(answered(both, ask("search")))[0] == f"10.0.0.{n % 4 + 1}"
        assert data(answered(both, ask("search", "AAAA")))[0] == f"fd00::{(n % 2) * 2 + 1}"


def test_those_who_ask_once_are_spread_too() -> None:
    resolver = world(4)
    first = Counter(data(answered(resolver.asker("s1"), ask("search")))[0] for _ in range(40))
    assert sorted(first.values()) == [10] * 4


def test_every_rotation_is_complete() -> None:
    asking = asker(3)
    for _ in range(3):
        assert sorted(data(answered(asking, ask("search")))) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_backends_with_several_addresses_take_one_turn_each() -> None:
    records = [
        Record(endpoint_id="e1", network_id="n", names=("x",), addresses=("10.0.0.1", "10.0.0.2")),
        Record(endpoint_id="e2", network_id="n", names=("x",), addresses=("10.0.0.3",)),
    ]
    asking = Resolver(snapshot=snapshot(records, [View(sandbox_id="s", networks=(("n", "net"),))])).asker("s")
    assert [data(answered(asking, ask("x"))) for _ in range(3)] == [
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
        ["10.0.0.3", "10.0.0.1", "10.0.0.2"],
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    ]


def test_a_new_snapshot_counts_at_once() -> None:
    resolver = world(1)
    asking = resolver.asker("s1")
    assert data(answered(asking, ask("web0"))) == ["10.0.0.1"]
    moved = Record(endpoint_id="e0", network_id="n", names=("web0",), addresses=("10.9.9.9",))
    resolver.swap(resolver.snapshot.changed(put=[moved]))
    assert data(answered(asking, ask("web0"))) == ["10.9.9.9"]
    resolver.swap(resolver.snapshot.changed(drop=["e0"]))
    assert isinstance(asking.answer(ask("web0")), Forward)
    resolver.swap(resolver.snapshot.changed(forget=["s1"]))
    assert answered(asking, ask("web0")).header.rcode == wire.SERVFAIL


@pytest.mark.parametrize(
    ("settings", "servers", "host"),
    [({}, (), True), ({"upstreams": ("1.2.3.4",)}, ("1.2.3.4",), False),
     ({"upstreams": ("1.2.3.4",), "external": False}, ("1.2.3.4",), False)],
)  # fmt: skip
def test_the_unknown_is_forwarded(settings: dict[str, object], servers: tuple[str, ...], host: bool) -> None:
    packet = ask("example.com", "MX", edns=1400)
    outcome = asker(**settings).answer(packet)
    assert isinstance(outcome, Forward)
    assert (outcome.servers, outcome.host) == (servers, host)
    assert (outcome.packet, outcome.limit) == (packet, 1400)


def test_without_a_way_out_the_unknown_fails() -> None:
    assert answered(asker(external=False), ask("example.com")).header.rcode == wire.SERVFAIL
    assert answered(asker(external=False), ask("web1", "AAAA")).header.rcode == 0


def test_single_labels_stay_where_ndots_was_asked_for() -> None:
    reply = answered(asker(ndots=2), ask("nobody"))
    assert (reply.header.rcode, reply.rr) == (0, [])
    assert isinstance(asker(ndots=2).answer(ask("nobody.org")), Forward)
    assert isinstance(asker().answer(ask("nobody")), Forward)


def test_other_classes_are_not_ours() -> None:
    asking = asker()
    assert data(answered(asking, ask("web0"))) == ["10.0.0.1"]
    assert isinstance(asking.answer(ask("web0", cls=3)), Forward)


@pytest.mark.parametrize(("edns", "limit"), [(0, 512), (300, 512), (1232, 1232), (4096, 4096)])
def test_long_answers_are_cut_to_what_the_asker_takes(edns: int, limit: int) -> None:
    asking = asker(300)  # 4,800 octets of A records
    for _ in range(3):
        outcome = asking.answer(ask("search", edns=edns))
        assert isinstance(outcome, bytes)
        assert limit - 16 < len(outcome) <= limit
        reply = DNSRecord.parse(outcome)
        assert reply.header.tc == 1
        assert len(reply.rr) > 25
    whole = answered(asking, ask("search", edns=edns), stream=True)
    assert (whole.header.tc, len(whole.rr)) == (0, 300)


def test_cut_answers_leave_nobody_out() -> None:
    asking = asker(100)  # of which 28 fit
    assert len({rr for _ in range(100) for rr in data(answered(asking, ask("search")))}) == 100


def test_even_a_stream_has_a_limit() -> None:
    asking = asker(4200)  # of which 4,093 fit
    for _ in range(2):
        outcome = asking.answer(ask("search"), stream=True)
        assert isinstance(outcome, bytes)
        assert 65_500 < len(outcome) <= 65_535
        assert outcome[2] & 2


def test_mixed_answers_are_cut_whole() -> None:
    reply = answered(asker(100), ask("search", "ANY"))
    assert (reply.header.tc, reply.rr) == (1, [])


def test_flags_are_repeated() -> None:
    asking = asker()
    for flags in (0x0000, 0x0100, 0x0110, 0x0120, 0x0130):  # RD, CD, AD in all ways that stub resolvers send
        reply = answered(asking, ask("web0", flags=flags))
        assert (reply.header.rd, reply.header.cd, reply.header.tc) == (flags >> 8 & 1, flags >> 4 & 1, 0)
        assert data(reply) == ["10.0.0.1"]
    with_do = ask("web0", edns=4096)[:-4] + b"\x80\0" + b"\0\0"
    outcome = asking.answer(with_do)
    assert isinstance(outcome, bytes)
    assert outcome.endswith(b"\0\0\x29" + (1232).to_bytes(2, "big") + b"\0\0\x80\0\0\0")


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        (ask("web0", flags=0x2900), wire.NOTIMP),  # UPDATE
        (ask("web0", flags=0x1100), wire.NOTIMP),  # STATUS
        (ask("web0")[:-1], wire.FORMERR),
        (ask("web0")[:12], wire.FORMERR),
        (ask("web0") + b"x", 0),  # trailing octets behind a whole message are forgiven
        (b"\x12\x34\1\0\0\2\0\0\0\0\0\0" + ask("web0")[12:] * 2, wire.FORMERR),  # two questions
        (b"\x12\x34\1\0\0\0\0\0\0\0\0\0", wire.FORMERR),
        (b"\x12\x34\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", wire.FORMERR),  # a name that points at itself
        (b"\x12\x34\1\0\0\1\0\0\0\0\0\0\x3fshort\0\0\1\0\1", wire.FORMERR),
        (b"\x12\x34\1\0\xff\xff\xff\xff\xff\xff\xff\xff" + b"\0\0\1\0\1" * 90, wire.FORMERR),
        (b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + b"\1a" * 130 + b"\0\0\1\0\1", wire.FORMERR),  # 260 octets of name
        (ask("web0") + b"\0" * 600, wire.FORMERR),
        (ask("x" * 60 + "." + "y") + b"\0" * LONGEST_QUERY, wire.FORMERR),
    ],
)
def test_what_makes_no_sense_is_told_so(packet: bytes, rcode: int) -> None:
    assert answered(asker(), packet).header.rcode == rcode


@pytest.mark.parametrize("packet", [b"", b"\0", b"\x12\x34\1\0\0\1\0\0\0\0\0", ask("web0", flags=0x8100)])
def test_silence(packet: bytes) -> None:
    assert asker().answer(packet) is None


def test_later_versions_of_edns_are_refused() -> None:
    packet = bytearray(ask("web0", edns=1232))
    packet[-5] = 1
    outcome = asker().answer(bytes(packet))
    assert isinstance(outcome, bytes)
    option = DNSRecord.parse(outcome).ar[0]
    assert (outcome[3] & 0x0F, option.rtype, option.ttl >> 24) == (0, wire.OPT, 1)  # BADVERS is 16


def test_queries_of_odd_shape_are_answered() -> None:
    extra = name_bytes("key") + b"\0\xfa\0\xff\0\0\0\0\0\1x"  # a record behind the question, as TSIG sends
    packet = ask("web0")[:10] + b"\0\1" + ask("web0")[12:] + extra
    assert wire.read(packet) is None
    assert data(answered(asker(), packet)) == ["10.0.0.1"]


def test_a_label_with_a_dot_is_no_name_of_ours() -> None:
    packet = ask("web0")[:12] + b"\x08web0.net\0\0\1\0\1"
    assert isinstance(asker().answer(packet), Forward)


def test_names_that_cannot_be_said_have_no_pointer() -> None:
    record = Record(endpoint_id="e", network_id="n", names=("x" * 64,), addresses=("10.0.0.1",))
    view = View(sandbox_id="s", networks=(("n", "net"),))
    reply = answered(Resolver(snapshot=snapshot([record], [view])).asker("s"), ask("1.0.0.10.in-addr.arpa", "PTR"))
    assert (reply.header.rcode, reply.rr) == (0, [])


def test_the_caches_are_bounded() -> None:
    asking = asker(1)
    for n in range(500):
        asking.answer(ask(f"x{n}.example"))
    assert len(asking._cache) == 0  # pyright: ignore[reportPrivateUsage]
    records = [Record(endpoint_id="e", network_id="n", names=tuple(f"x{n}" for n in range(4200)), addresses=())]
    many = Resolver(snapshot=snapshot(records, [View(sandbox_id="s", networks=(("n", "net"),))])).asker("s")
    for n in range(4200):
        many.answer(ask(f"x{n}"))
    assert 0 < len(many._cache) <= 4096  # pyright: ignore[reportPrivateUsage]
    for payload in range(512, 3000):  # what an asker makes up makes no more replies to keep than there is room for
        many.answer(ask("x4199", edns=payload))
    assert 0 < len(many._ready) <= 1024  # pyright: ignore[reportPrivateUsage]


def test_what_lies_ready_is_what_was_worked_out() -> None:
    for packet in (ask("web0"), ask("web0", edns=1232), ask("web1", "AAAA"), ask("2.0.0.10.in-addr.arpa", "PTR")):
        asking = asker()
        assert asking.quick(packet) is None
        first = asking.answer(packet)
        assert first == asking.quick(packet) == asking.quick(packet)  # from records, then as it lies ready
        other = asking.quick(b"\xab\xcd" + packet[2:])
        assert isinstance(first, bytes)
        assert other == b"\xab\xcd" + first[2:]


def assert_readable(message: bytes) -> None:
    try:
        DNSRecord.parse(message)
    except DNSError as error:
        assert "Invalid label" in str(error)  # dnslib wants UTF-8, DNS does not


MUTATIONS = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=6)


@given(st.binary(max_size=700), st.booleans())
@example(b"\0" * 12, False)
def test_garbage_never_raises(packet: bytes, stream: bool) -> None:
    outcome = asker().answer(packet, stream=stream)
    assert outcome is None or isinstance(outcome, bytes | Forward)


@given(st.sampled_from(["search", "web0.net", "example.com", "2.0.0.10.in-addr.arpa"]),
       st.sampled_from(sorted(TYPES)), st.sampled_from([0, 512, 1232]), MUTATIONS, st.integers(0, 40), st.booleans())  # fmt: skip
def test_damaged_queries_never_raise_and_answers_parse(
    name: str, qtype: str, edns: int, damage: list[tuple[int, int]], cut: int, stream: bool
) -> None:
    packet = bytearray(ask(name, qtype, edns=edns))
    for at, value in damage:
        packet[at % len(packet)] = value
    whole = bytes(packet[: len(packet) - cut if cut < 12 else len(packet)])
    asking = asker()
    for _ in range(2):
        outcome = asking.answer(whole, stream=stream)
        if isinstance(outcome, bytes):
            assert outcome[:2] == whole[:2]
            assert outcome[2] & 0x80
            assert_readable(outcome)
        elif outcome is not None:
            assert outcome.query.question
            assert_readable(wire.reply(outcome.query, rcode=wire.SERVFAIL))


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=4), st.integers(0, 65535), st.integers(0, 65535))
def test_wire_and_codec_understand_the_same(labels: list[bytes], qtype: int, qclass: int) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    packet = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + name + qtype.to_bytes(2, "big") + qclass.to_bytes(2, "big")
    by_hand = wire.read(packet)
    by_library = codec.examine(packet)
    if isinstance(by_library, wire.Query):  # dnslib refuses labels that are not UTF-8, which are legal
        assert by_hand == by_library
