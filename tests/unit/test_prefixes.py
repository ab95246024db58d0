"""Prefixes: what they say is what going through all of them would say."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPSet

from netpy.errors import Exhausted
from netpy.ipam import Pool, first_free
from netpy.prefixes import Prefixes

BASE = int(ip_network("10.0.0.0/24").network_address)
prefixes = st.integers(24, 32).flatmap(
    lambda length: st.integers(0, 255).map(lambda at: str(IPv4Network((BASE | at, length), strict=False)))
)
steps = st.lists(st.tuples(st.booleans(), prefixes), max_size=30)


def played(steps: list[tuple[bool, str]]) -> tuple[Prefixes, list[str]]:
    """The same additions and removals, done to a `Prefixes` and to a list."""
    found, plain = Prefixes(), list[str]()
    for add, text in steps:
        if add:
            found.add(text)
            plain.append(text)
        else:
            found.discard(text)
            if text in plain:
                plain.remove(text)
    return found, plain


@given(steps, prefixes)
def test_overlaps_and_members_are_those_of_a_list(steps: list[tuple[bool, str]], asked: str):
    found, plain = played(steps)
    assert found.overlaps(ip_network(asked)) == any(ip_network(asked).overlaps(ip_network(each)) for each in plain)
    assert (asked in found) == (asked in plain)
    assert set(found) == set(plain)


@given(steps, st.lists(prefixes, max_size=4), st.integers(24, 32))
def test_the_first_free_subnet_is_the_first_that_overlaps_nothing(
    steps: list[tuple[bool, str]], host: list[str], size: int
):
    found, plain = played(steps)
    taken = [ip_network(each) for each in (*plain, *host)]
    free = (each for each in ip_network("10.0.0.0/24").subnets(new_prefix=size) if not any(map(each.overlaps, taken)))
    first = next(free, None)
    pool = Pool(base="10.0.0.0/24", size=size)
    if first is None:
        with pytest.raises(Exhausted):
            first_free([pool], found, Prefixes(host))
    else:
        assert first_free([pool], found, Prefixes(host)) == first


@given(steps, prefixes)
def test_netaddr_sees_the_same_sets(steps: list[tuple[bool, str]], asked: str):
    found, plain = played(steps)
    assert found.overlaps(ip_network(asked)) == (not IPSet(plain).isdisjoint(IPSet([asked])))


def test_a_large_prefix_of_the_host_is_stepped_over_at_once():
    pool = Pool(base="fd00::/8", size=64)  # has 2^56 subnets
    assert str(first_free([pool], Prefixes(["fd00::/9"]))) == "fd80::/64"


def test_families_do_not_meet():
    found = Prefixes(["::a00:0/104", "10.0.0.0/8"])
    assert found.overlaps(ip_network("10.1.0.0/16"))
    assert not found.overlaps(ip_network("fd00::/8"))
