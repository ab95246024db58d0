"""Subnets and addresses: Docker's order, every refusal, and what must hold for any sequence of operations."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpy import ipam
from netpy.errors import Exhausted, Forbidden, InvalidArgument
from netpy.ipam import DOCKER_POOLS, Addresses, Pool
from netpy.model import NetworkSpec, Subnet, SubnetSpec
from netpy.prefixes import Prefixes


def allocate(*subnets: SubnetSpec, networks=(), host=(), pools=DOCKER_POOLS, **more) -> tuple[Subnet, ...]:
    spec = NetworkSpec(name="n", subnets=subnets, **more)
    return ipam.allocate(spec, pools=(*pools, ipam.ula_pool("host")), networks=Prefixes(networks), host=host)


# ---- pools -----------------------------------------------------------------------------------------------------------


def test_default_pools_give_31_networks_in_dockers_order():
    taken: list[str] = []
    for _ in range(31):
        taken.append(allocate(networks=taken)[0].subnet)
    assert taken[:3] == ["172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16"]
    assert taken[14] == "172.31.0.0/16"
    assert taken[15:17] == ["192.168.0.0/20", "192.168.16.0/20"]
    with pytest.raises(Exhausted, match=r"^all predefined address pools have been fully subnetted$"):
        allocate(networks=taken)


def test_a_freed_subnet_is_the_first_choice_again():
    assert allocate(networks=["172.17.0.0/16", "172.19.0.0/16"])[0].subnet == "172.18.0.0/16"


def test_custom_pools():
    pools = (Pool(base="10.20.0.0/22", size=24),)
    taken: list[str] = []
    for _ in range(4):
        taken.append(allocate(networks=taken, pools=pools)[0].subnet)
    assert taken == ["10.20.0.0/24", "10.20.1.0/24", "10.20.2.0/24", "10.20.3.0/24"]


@pytest.mark.parametrize(
    ("base", "size"), [("10.0.0.0/8", 7), ("10.0.0.0/8", 33), ("nonsense", 24), ("10.1.0.0/8", 16)]
)
def test_malformed_pools_are_refused(base: str, size: int):
    with pytest.raises(InvalidArgument, match="invalid default address pool"):
        ipam.checked_pools([Pool(base=base, size=size)])


def test_host_prefixes_are_avoided_on_link_and_routed():
    host = ["172.17.5.0/24", "172.18.0.1/32", "172.16.0.0/14"]
    assert allocate(host=host)[0].subnet == "172.20.0.0/16"


@pytest.mark.parametrize(
    "route", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "172.0.0.0/8", "128.0.0.0/2", "::/0", "2000::/3"]
)
def test_wide_routes_forbid_nothing(route: str):
    assert allocate(host=[route])[0].subnet == "172.17.0.0/16"


def test_a_wide_private_route_leaves_the_rest():
    assert allocate(host=["172.16.0.0/12"])[0].subnet == "192.168.0.0/20"


def test_a_stated_subnet_may_overlap_a_route_of_the_host():
    assert allocate(SubnetSpec(subnet="10.9.0.0/24"), host=["10.9.0.0/16"])[0].subnet == "10.9.0.0/24"


@pytest.mark.parametrize("other", ["10.9.0.0/24", "10.9.0.0/16", "10.9.0.128/25"])
def test_a_stated_subnet_must_not_overlap_a_network(other: str):
    with pytest.raises(Forbidden, match=r"^invalid pool request: Pool overlaps with other one on this address space$"):
        allocate(SubnetSpec(subnet="10.9.0.0/24", ip_range="10.9.0.0/28"), networks=[other])


def test_the_subnets_of_one_request_must_not_overlap():
    with pytest.raises(Forbidden, match="Pool overlaps"):
        allocate(SubnetSpec(subnet="10.9.0.0/24"), SubnetSpec(subnet="10.9.0.0/25"))


def test_any_subnet_of_a_size():
    assert allocate(SubnetSpec(subnet="0.0.0.0/24"))[0].subnet == "172.17.0.0/24"
    assert allocate(SubnetSpec(subnet="0.0.0.0/24"), networks=["172.17.0.0/24"])[0].subnet == "172.17.1.0/24"


def test_ipv6_comes_from_the_hosts_own_ula():
    four, six = allocate(ipv6=True)
    assert (four.family, six.family) == (4, 6)
    assert ip_network(six.subnet).prefixlen == 64
    assert ip_address(six.gateway) in ip_network("fd00::/8")
    assert six.gateway.endswith("::1")
    assert ipam.ula_pool("host") == ipam.ula_pool("host") != ipam.ula_pool("another")
    assert allocate(ipv6=True, networks=[six.subnet])[1].subnet != six.subnet


def test_only_ipv6():
    assert [subnet.family for subnet in allocate(ipv4=False, ipv6=True)] == [6]


def test_subnets_of_a_disabled_family_are_left_out():
    assert [s.subnet for s in allocate(SubnetSpec(subnet="fd00:9::/64"))] == ["172.17.0.0/16"]


# ---- gateways --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "gateway"),
    [
        (SubnetSpec(subnet="10.9.0.0/24"), "10.9.0.1"),
        (SubnetSpec(subnet="10.9.0.0/24", gateway="10.9.0.254"), "10.9.0.254"),
        (SubnetSpec(subnet="10.9.0.0/24", ip_range="10.9.0.128/25"), "10.9.0.128"),
        (SubnetSpec(subnet="10.9.0.0/24", ip_range="10.9.0.0/25"), "10.9.0.1"),
        (SubnetSpec(subnet="10.9.0.0/24", aux_addresses={"router": "10.9.0.1"}), "10.9.0.2"),
        (SubnetSpec(subnet="10.9.0.0/31"), "10.9.0.0"),
        (SubnetSpec(subnet="10.9.0.7/32"), "10.9.0.7"),
    ],
)
def test_gateway(request_: SubnetSpec, gateway: str):
    assert allocate(request_)[0].gateway == gateway


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (SubnetSpec(subnet="10.9.0.0/24", gateway="10.9.0.0"), r"gateway \(10.9.0.0\): Address already in use"),
        (SubnetSpec(subnet="10.9.0.0/24", gateway="10.9.0.255"), "Address already in use"),
        (
            SubnetSpec(subnet="10.9.0.0/24", gateway="10.9.0.1", aux_addresses={"r": "10.9.0.1"}),
            r"secondary ip address \(r:10.9.0.1\): Address already in use",
        ),
    ],
)
def test_gateways_that_are_taken(request_: SubnetSpec, text: str):
    with pytest.raises(Forbidden, match=text):
        allocate(request_)


def test_all_problems_are_named_at_once():
    with pytest.raises(InvalidArgument) as caught:
        allocate(
            SubnetSpec(
                subnet="10.9.0.5/24",
                ip_range="10.8.0.0/16",
                gateway="10.8.0.1",
                aux_addresses={"router": "10.10.0.1", "x": "what"},
            ),
            SubnetSpec(subnet="10.20.0.0/24", ip_range="10.21.0.0/25"),
            SubnetSpec(subnet="10.30.0.0/24", ip_range="10.30.0.7/25", gateway="fd00::1"),
            SubnetSpec(subnet="nonsense"),
            SubnetSpec(subnet="0.0.0.0/0"),
            SubnetSpec(subnet="10.40.0.0/255.255.0.0"),
            SubnetSpec(subnet="10.50.0.0/24", ip_range="10.50.0.3"),
            SubnetSpec(gateway="10.1.1.1"),
        )
    assert str(caught.value).splitlines() == [
        "invalid network config:",
        "invalid subnet 10.9.0.5/24: it should be 10.9.0.0/24",
        "invalid ip-range 10.8.0.0/16: CIDR block is bigger than its parent subnet 10.9.0.0/24",
        "invalid gateway 10.8.0.1: parent subnet 10.9.0.0/24 doesn't contain this address",
        "invalid auxiliary address 10.10.0.1: parent subnet 10.9.0.0/24 doesn't contain this address",
        "invalid auxiliary address what: invalid address",
        "invalid ip-range 10.21.0.0/25: parent subnet 10.20.0.0/24 doesn't contain ip-range",
        "invalid ip-range 10.30.0.7/25: it should be 10.30.0.0/25",
        "invalid gateway fd00::1: parent subnet 10.30.0.0/24 doesn't contain this address",
        "invalid subnet nonsense: invalid CIDR block notation",
        "invalid subnet 0.0.0.0/0: invalid CIDR block notation",
        "invalid subnet 10.40.0.0/255.255.0.0: invalid CIDR block notation",
        "invalid ip-range 10.50.0.3: invalid CIDR block notation",
        "every ip-range, gateway or auxiliary address must have a corresponding subnet",
    ]


def test_ipv6_text_may_be_written_in_full():
    made = allocate(SubnetSpec(subnet="FD00:0009:0:0::/64", gateway="fd00:9::00FE"), ipv6=True)
    assert (made[1].subnet, made[1].gateway) == ("fd00:9::/64", "fd00:9::fe")


# ---- addresses -------------------------------------------------------------------------------------------------------


def test_first_container_gets_the_second_address():
    addresses = Addresses(Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"))
    assert [addresses.take() for _ in range(3)] == ["172.18.0.2", "172.18.0.3", "172.18.0.4"]


def test_a_freed_address_rests_until_all_others_had_their_turn():
    addresses = Addresses(Subnet(subnet="10.9.0.0/29", gateway="10.9.0.1"))
    assert addresses.take() == "10.9.0.2"
    addresses.give_back("10.9.0.2")
    assert [addresses.take() for _ in range(5)] == ["10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6", "10.9.0.2"]
    with pytest.raises(Exhausted, match=r"^no available addresses on this pool"):
        addresses.take()


@pytest.mark.parametrize(
    ("subnet", "given"),
    [
        ("10.9.0.0/30", ["10.9.0.1", "10.9.0.2"]),
        ("10.9.0.0/31", ["10.9.0.0", "10.9.0.1"]),
        ("10.9.0.9/32", ["10.9.0.9"]),
        ("fd00::/126", ["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127", ["fd00::", "fd00::1"]),
        ("fd00::5/128", ["fd00::5"]),
    ],
)
def test_every_usable_address_is_given_and_no_other(subnet: str, given: list[str]):
    addresses = Addresses(Subnet(subnet=subnet))
    assert [addresses.take() for _ in given] == given
    with pytest.raises(Exhausted):
        addresses.take()


def test_dynamic_addresses_stay_in_the_range_static_ones_need_not():
    subnet = Subnet(subnet="10.9.0.0/24", ip_range="10.9.0.252/30", gateway="10.9.0.252")
    addresses = Addresses(subnet)
    assert addresses.take("10.9.0.7") == "10.9.0.7"
    assert [addresses.take(), addresses.take()] == ["10.9.0.253", "10.9.0.254"]
    with pytest.raises(Exhausted):
        addresses.take()


def test_static_refusals():
    addresses = Addresses(Subnet(subnet="10.9.0.0/24", gateway="10.9.0.1", aux_addresses={"router": "10.9.0.5"}))
    for taken in ("10.9.0.0", "10.9.0.1", "10.9.0.5", "10.9.0.255"):
        with pytest.raises(Forbidden, match=f"Address already in use: {taken}"):
            addresses.take(taken)
    for outside in ("10.9.1.1", "fd00::1"):
        with pytest.raises(InvalidArgument, match="requested address is out of range"):
            addresses.take(outside)


def test_the_far_end_of_a_huge_subnet_costs_nothing():
    addresses = Addresses(Subnet(subnet="fd00::/64"))
    assert addresses.take("fd00::ffff:ffff:ffff:ffff") == "fd00::ffff:ffff:ffff:ffff"
    addresses.mark("fd00::ffff", recent=True)
    assert addresses.take() == "fd00::1:0"


def test_macs():
    assert ipam.mac_of("172.17.0.2") == "02:42:ac:11:00:02"
    assert ipam.mac_of("fd00::2").startswith("02:42:")
    assert ipam.mac_of("fd00::2") != ipam.mac_of("fd00::3")


@given(
    st.integers(24, 32),
    st.lists(st.tuples(st.sampled_from(["take", "static", "free"]), st.integers(0, 255)), max_size=80),
)
def test_no_address_is_ever_given_twice(length: int, steps: list[tuple[str, int]]):
    subnet = ip_network(f"10.9.0.0/{length}")
    addresses = Addresses(Subnet(subnet=str(subnet)))
    edges = {str(subnet[0]), str(subnet[-1])} if length < 31 else set[str]()
    given_out: set[str] = set()
    for what, number in steps:
        address = str(subnet[number % subnet.num_addresses])
        if what == "free":
            if address in given_out:
                addresses.give_back(address)
                given_out.discard(address)
            continue
        try:
            got = addresses.take(address if what == "static" else "")
        except Forbidden:
            assert address in given_out | edges
            continue
        except Exhausted:
            assert len(given_out | edges) == subnet.num_addresses
            continue
        assert got not in given_out | edges
        assert ip_address(got) in subnet
        given_out.add(got)
        assert addresses.is_taken(got)


@given(st.lists(st.sampled_from([f"172.{n}.0.0/{p}" for n in range(16, 32) for p in (14, 15, 16, 20)]), max_size=12))
def test_a_chosen_subnet_overlaps_nothing(taken: list[str]):
    routes = [str(ip_network(each, strict=False)) for each in taken]
    subnet = ip_network(allocate(host=routes)[0].subnet)
    assert not any(subnet.overlaps(ip_network(route)) for route in routes)
