"""Claims: what networks share is told without comparing them."""

from __future__ import annotations

from netpy.controller.claims import Claims
from netpy.objects import Bridge, Sysctl

FORWARDING = Sysctl(name="net/ipv4/ip_forward", value="1")


def bridge(name: str) -> Bridge:
    return Bridge(name=name, mac="02:00:00:00:00:01", mtu=1500, mark="netpy/network/x")


def test_what_two_networks_want_is_shared_until_one_of_them_is_gone():
    claims = Claims()
    claims.put("a", frozenset({bridge("br-a"), FORWARDING}))
    claims.put("b", frozenset({bridge("br-b"), FORWARDING}))
    assert claims.shared("a") == {FORWARDING.key}
    claims.drop("b")
    claims.drop("b")
    assert claims.shared("a") == frozenset()


def test_a_second_claim_replaces_the_first():
    claims = Claims()
    claims.put("a", frozenset({bridge("br-a"), FORWARDING}))
    claims.put("a", frozenset({bridge("br-c")}))
    claims.put("b", frozenset({FORWARDING}))
    assert claims.shared("b") == frozenset()
    assert claims.other("b", ["br-a", "br-c"]) == ("br-c", "a")


def test_a_network_is_no_namesake_of_itself():
    claims = Claims()
    claims.put("a", frozenset({bridge("br-a")}))
    assert claims.other("a", ["br-a"]) == ("", "")
    assert claims.other("b", ["br-a"]) == ("br-a", "a")
