"""Host ports: order of service, ranges, conflicts, both families."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpy.errors import Conflict, Exhausted
from netpy.firewall.ports import Ports, host_ips, ordered, problems
from netpy.model import PortBinding


def binding(port: int = 80, host: int = 0, end: int = 0, ip: str = "", protocol="tcp") -> PortBinding:
    return PortBinding(protocol=protocol, container_port=port, host_ip=ip, host_port=host, host_port_end=end)


def serve(ports: Ports, request: PortBinding, *ips: str, tried=()) -> int:
    port = ports.choose(request, ips or ("0.0.0.0",), tried)
    for ip in ips or ("0.0.0.0",):
        ports.give(request.protocol, ip, port)
    return port


def test_exact_ports_before_ranges_then_by_port_and_protocol():
    requests = [
        binding(80, 8000, 8010),
        binding(90, 90, protocol="udp"),
        binding(90, 91),
        binding(70),
        binding(443, 443, protocol="sctp"),
        binding(443, 444),
        binding(90, 91),
    ]
    assert ordered(requests) == [requests[2], requests[1], requests[5], requests[4], requests[3], requests[0]]


def test_an_exact_port_is_given_once():
    ports = Ports((32768, 60999))
    assert serve(ports, binding(80, 8080)) == 8080
    with pytest.raises(Conflict, match=r"^Bind for 0\.0\.0\.0:8080 failed: port is already allocated$"):
        ports.choose(binding(81, 8080), ("0.0.0.0",))
    assert serve(ports, binding(80, 8080, protocol="udp")) == 8080
    ports.take_back("tcp", "0.0.0.0", 8080)
    ports.take_back("tcp", "0.0.0.0", 8080)
    assert serve(ports, binding(80, 8080)) == 8080


def test_an_unspecified_address_conflicts_with_every_specific_one():
    ports = Ports((1, 2))
    serve(ports, binding(80, 80), "127.0.0.1")
    assert serve(ports, binding(80, 80), "127.0.0.2") == 80
    assert serve(ports, binding(80, 80), "::") == 80
    with pytest.raises(Conflict):
        ports.choose(binding(80, 80), ("0.0.0.0",))
    with pytest.raises(Conflict, match=r"Bind for \[::1\]:80 failed"):
        ports.choose(binding(80, 80), ("::1",))


def test_a_range_gives_its_first_free_port():
    ports = Ports((32768, 60999))
    request = binding(80, 8000, 8002)
    serve(ports, binding(80, 8001))
    assert serve(ports, request) == 8000
    assert serve(ports, request) == 8002
    with pytest.raises(Exhausted, match=r"^Bind for 0\.0\.0\.0:8000-8002 failed: all ports are allocated$"):
        ports.choose(request, ("0.0.0.0",))


def test_any_port_goes_on_from_the_last_one_and_wraps():
    ports = Ports((50000, 50002))
    assert serve(ports, binding()) == 50000
    ports.take_back("tcp", "0.0.0.0", 50000)
    assert [serve(ports, binding()) for _ in range(3)] == [50001, 50002, 50000]
    with pytest.raises(Exhausted, match="all ports are allocated"):
        ports.choose(binding(), ("0.0.0.0",))


def test_what_was_tried_is_left_out():
    ports = Ports((50000, 50002))
    assert ports.choose(binding(), ("0.0.0.0",), {50000}) == 50001
    assert ports.choose(binding(80, 8000, 8001), ("0.0.0.0",), {8000}) == 8001


def test_both_families_get_one_port():
    ports = Ports((50000, 50009))
    serve(ports, binding(80, 50000), "::")
    assert serve(ports, binding(), "0.0.0.0", "::") == 50001


@pytest.mark.parametrize(
    ("ip", "families", "default", "expected"),
    [
        ("", {4}, "0.0.0.0", ("0.0.0.0",)),
        ("", {4, 6}, "0.0.0.0", ("0.0.0.0", "::")),
        ("", {4, 6}, "", ("0.0.0.0", "::")),
        ("", {4, 6}, "127.0.0.1", ("127.0.0.1",)),
        ("0.0.0.0", {4, 6}, "127.0.0.1", ("0.0.0.0",)),
        ("::", {4, 6}, "0.0.0.0", ("::",)),
        ("::", {4}, "0.0.0.0", ()),
        ("10.0.0.1", {6}, "0.0.0.0", ()),
        ("FD00:0::1", {6}, "0.0.0.0", ("fd00::1",)),
        ("", set(), "0.0.0.0", ()),
    ],
)
def test_host_addresses(ip: str, families: set, default: str, expected: tuple[str, ...]):
    assert host_ips(binding(ip=ip), families, default) == expected


def test_problems_are_all_named():
    bad = [
        binding(0),
        binding(65536),
        binding(80, 70000),
        binding(80, 90, 80),
        binding(80, 80, ip="nonsense"),
        binding(80, protocol="icmp"),
    ]
    assert list(problems(bad)) == [
        "invalid container port 0: must be between 1 and 65535",
        "invalid container port 65536: must be between 1 and 65535",
        "invalid host port 70000: must be between 0 and 65535",
        "invalid port range: 90-80",
        "invalid host address nonsense: invalid address",
        "invalid protocol icmp: must be tcp, udp or sctp",
    ]
    assert not list(problems([binding(80, 1, 65535, "::1"), binding()]))


@given(
    st.lists(
        st.tuples(st.sampled_from(["0.0.0.0", "127.0.0.1", "10.0.0.1"]), st.integers(0, 3), st.integers(0, 3)),
        max_size=30,
    )
)
def test_given_ports_never_clash(steps: list[tuple[str, int, int]]):
    ports = Ports((1, 4))
    taken: set[tuple[str, int]] = set()
    for ip, first, more in steps:
        request = binding(80, first, first + more if first and more else 0)
        try:
            port = serve(ports, request, ip)
        except (Conflict, Exhausted):
            candidates = range(first, first + more + 1) if first else range(1, 5)
            assert all(any(_clash(ip, other) for other, p in taken if p == port) for port in candidates)
            continue
        assert not any(_clash(ip, other) for other, p in taken if p == port)
        taken.add((ip, port))


def _clash(one: str, other: str) -> bool:
    return one == other or "0.0.0.0" in (one, other)
