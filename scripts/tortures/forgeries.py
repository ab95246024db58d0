"""What a container sends that is not its own: a name, and the frame. Pure.

Each is made by the attacker `m` for the victim `v`, and pretends to be the neighbour `n` or their router. None of them
may reach the victim; where the check is switched off (`netpy.antispoof=false`) those in `CREDIBLE` must, since
otherwise nothing is shown.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from . import frames as f
from .arena import Party

Forgery = Callable[[Party, Party, Party], bytes]
_ELSEWHERE, _ELSEWHERE6 = "203.0.113.5", "2001:db8:5::5"
_NOBODY = "02:42:de:ad:be:ef"
_DATA = b"a hostile payload of some length"


def _from4(m: Party, v: Party, source: str, mac: str = "", ports: tuple[int, int] = (4000, 4001)) -> bytes:
    return f.ether(mac or m.mac, v.mac, f.IP, f.udp(source, v.four, ports, _DATA))


def _from6(m: Party, v: Party, source: str, mac: str = "", ports: tuple[int, int] = (4000, 4001)) -> bytes:
    return f.ether(mac or m.mac, v.mac, f.IP6, f.udp(source, v.six, ports, _DATA))


def _discovery(m: Party, v: Party, packet: bytes) -> bytes:
    return f.ether(m.mac, v.mac, f.IP6, packet)


def _claim(m: Party, v: Party, target: str, option: bytes, *extensions: int) -> bytes:
    """An advertisement to the victim, from the attacker's own address."""
    return _discovery(m, v, f.advertisement(m.six, v.six, target, option, *extensions))


def _arp(m: Party, v: Party, operation: int, sender: tuple[str, str], to: str = "") -> bytes:
    return f.ether(m.mac, to or v.mac, f.ARP, f.arp(operation, sender, (v.mac, v.four)))


def _split(m: Party, v: Party, source: str, offset: int) -> bytes:
    """A fragment: the first of two, or the second, which has no ports for anybody to look at."""
    whole = f.udp(source, v.four, (4000, 4001), _DATA * 2)[20:]
    part, flags = (whole[:24], 0x2000) if not offset else (whole[24:], 3)
    return f.ether(m.mac, v.mac, f.IP, f.ipv4(source, v.four, f.UDP, part, fragment=flags))


ADDRESSES: Mapping[str, Forgery] = {
    "a neighbour's MAC": lambda m, v, n: _from4(m, v, m.four, n.mac),
    "nobody's MAC": lambda m, v, n: _from4(m, v, m.four, _NOBODY),
    "the victim's own MAC": lambda m, v, n: _from4(m, v, m.four, v.mac),
    "a multicast address as MAC": lambda m, v, n: _from4(m, v, m.four, "01:00:5e:00:00:01"),
    "a neighbour's IPv4 address": lambda m, v, n: _from4(m, v, n.four),
    "the router's IPv4 address": lambda m, v, n: _from4(m, v, m.gateway),
    "the victim's own IPv4 address": lambda m, v, n: _from4(m, v, v.four),
    "a neighbour's MAC and IPv4 address": lambda m, v, n: _from4(m, v, n.four, n.mac),
    "an answer of an outside name server": lambda m, v, n: _from4(m, v, _ELSEWHERE, ports=(53, 40000)),
    "IPv4 from 0.0.0.0": lambda m, v, n: _from4(m, v, "0.0.0.0"),
    "IPv4 from 127.0.0.1": lambda m, v, n: _from4(m, v, "127.0.0.1"),
    "IPv4 from 127.0.0.11, port 53": lambda m, v, n: _from4(m, v, "127.0.0.11", ports=(53, 40000)),
    "a first fragment from a neighbour": lambda m, v, n: _split(m, v, n.four, 0),
    "a later fragment from a neighbour": lambda m, v, n: _split(m, v, n.four, 3),
    "a neighbour's IPv6 address": lambda m, v, n: _from6(m, v, n.six),
    "the router's IPv6 address": lambda m, v, n: _from6(m, v, m.gateway6),
    "a neighbour's link-local address": lambda m, v, n: _from6(m, v, n.link_local),
    "a neighbour's MAC and IPv6 address": lambda m, v, n: _from6(m, v, n.six, n.mac),
    "IPv6 of an outside name server": lambda m, v, n: _from6(m, v, _ELSEWHERE6, ports=(53, 40000)),
    "IPv6 from ::1": lambda m, v, n: _from6(m, v, "::1"),
    "IPv6 from ::": lambda m, v, n: _from6(m, v, "::"),
}

NEIGHBOURS: Mapping[str, Forgery] = {
    "ARP reply: the neighbour is here": lambda m, v, n: _arp(m, v, f.REPLY, (m.mac, n.four)),
    "ARP reply: the router is here": lambda m, v, n: _arp(m, v, f.REPLY, (m.mac, m.gateway)),
    "ARP reply with the neighbour's MAC in it": lambda m, v, n: _arp(m, v, f.REPLY, (n.mac, m.four)),
    "gratuitous ARP for the router": lambda m, v, n: f.ether(
        m.mac, f.ALL, f.ARP, f.arp(f.REQUEST, (m.mac, m.gateway), ("00:00:00:00:00:00", m.gateway))
    ),
    "gratuitous ARP reply for the neighbour": lambda m, v, n: f.ether(
        m.mac, f.ALL, f.ARP, f.arp(f.REPLY, (m.mac, n.four), (f.ALL, n.four))
    ),
    "ARP request from the neighbour": lambda m, v, n: _arp(m, v, f.REQUEST, (m.mac, n.four), f.ALL),
    "ARP from another MAC than it says": lambda m, v, n: f.ether(
        n.mac, v.mac, f.ARP, f.arp(f.REPLY, (m.mac, m.four), (v.mac, v.four))
    ),
    "ARP of another hardware": lambda m, v, n: f.ether(
        m.mac, v.mac, f.ARP, struct.pack(">H", 6) + f.arp(f.REPLY, (m.mac, n.four), (v.mac, v.four))[2:]
    ),
    "reverse ARP": lambda m, v, n: f.ether(m.mac, f.ALL, f.RARP, f.arp(3, (m.mac, n.four), (v.mac, v.four))),
    "advertisement: the neighbour is here": lambda m, v, n: _claim(m, v, n.six, f.lladdr(2, m.mac)),
    "advertisement: the router is here": lambda m, v, n: _claim(m, v, m.gateway6, f.lladdr(2, m.mac)),
    "advertisement of the neighbour's link-local": lambda m, v, n: _claim(m, v, n.link_local, f.lladdr(2, m.mac)),
    "advertisement of the neighbour, without a MAC": lambda m, v, n: _claim(m, v, n.six, b""),
    "advertisement with the neighbour's MAC": lambda m, v, n: _claim(m, v, m.six, f.lladdr(2, n.mac)),
    "advertisement, the MAC behind a nonce": lambda m, v, n: _claim(
        m, v, n.six, b"\x0e\x01nonce!" + f.lladdr(2, m.mac)
    ),
    "own advertisement, another MAC behind its own": lambda m, v, n: _claim(
        m, v, m.six, f.lladdr(2, m.mac) + f.lladdr(2, n.mac)
    ),
    "advertisement behind an extension header": lambda m, v, n: _claim(m, v, n.six, f.lladdr(2, m.mac), f.HOP_BY_HOP),
    "advertisement in a fragment": lambda m, v, n: _claim(m, v, n.six, f.lladdr(2, m.mac), f.FRAGMENT),
    "advertisement to all": lambda m, v, n: f.ether(
        m.mac, f.group_mac("ff02::1"), f.IP6, f.advertisement(m.six, "ff02::1", n.six, f.lladdr(2, m.mac))
    ),
    "solicitation from the neighbour": lambda m, v, n: _discovery(
        m, v, f.solicitation(n.six, v.six, f.lladdr(1, m.mac))
    ),
    "solicitation with the neighbour's MAC": lambda m, v, n: _discovery(
        m, v, f.solicitation(m.six, v.six, f.lladdr(1, n.mac))
    ),
    "the victim's address is taken (DAD)": lambda m, v, n: _discovery(m, v, f.solicitation("::", v.six)),
}

ROLES: Mapping[str, Forgery] = {
    "router advertisement": lambda m, v, n: _discovery(m, v, f.router(m.link_local, m.mac, "2001:db8:bad::")),
    "router advertisement as the router": lambda m, v, n: _discovery(
        m, v, f.router("fe80::1", m.mac, "2001:db8:bad::")
    ),
    "router advertisement behind an extension header": lambda m, v, n: _discovery(
        m, v, f.router(m.link_local, m.mac, "2001:db8:bad::", f.HOP_BY_HOP)
    ),
    "router advertisement in a fragment": lambda m, v, n: _discovery(
        m, v, f.router(m.link_local, m.mac, "2001:db8:bad::", f.FRAGMENT)
    ),
    "ICMPv6 redirect": lambda m, v, n: _discovery(m, v, f.redirect(m.link_local, v.six, m.link_local, _ELSEWHERE6)),
    "ICMP redirect as the router": lambda m, v, n: f.ether(
        m.mac, v.mac, f.IP, f.packet(m.gateway, v.four, 1, b"\x05\x01\0\0" + bytes(4) + _from4(m, v, v.four)[14:42])
    ),
    "DHCP offer": lambda m, v, n: f.ether(m.mac, f.ALL, f.IP, f.udp(m.four, "255.255.255.255", (67, 68), _DATA)),
    "DHCP offer to the victim alone": lambda m, v, n: _from4(m, v, m.four, ports=(67, 68)),
    "DHCPv6 reply": lambda m, v, n: _from6(m, v, m.link_local, ports=(547, 546)),
}

ODDITIES: Mapping[str, Forgery] = {
    "a VLAN tag": lambda m, v, n: f.tagged(_from4(m, v, m.four), 7),
    "a VLAN tag around a neighbour's address": lambda m, v, n: f.tagged(_from4(m, v, n.four), 0),
    "a tag of a provider": lambda m, v, n: f.tagged(_from4(m, v, m.four), 7, f.QINQ),
    "two VLAN tags": lambda m, v, n: f.tagged(f.tagged(_from4(m, v, n.four), 7), 8),
    "a BPDU of STP": lambda m, v, n: f.ether(m.mac, "01:80:c2:00:00:00", 38, b"\x42\x42\x03" + bytes(35)),
    "LLDP": lambda m, v, n: f.ether(m.mac, "01:80:c2:00:00:0e", f.LLDP, bytes(46)),
    "EAPOL": lambda m, v, n: f.ether(m.mac, v.mac, f.EAPOL, bytes(46)),
    "PPPoE discovery": lambda m, v, n: f.ether(m.mac, f.ALL, f.PPPOE, bytes(46)),
    "IP in a frame of 802.2": lambda m, v, n: f.ether(
        m.mac, v.mac, 60, b"\xaa\xaa\x03\0\0\0\x08\0" + _from4(m, v, n.four)[14:]
    ),
}

ALL: Mapping[str, Forgery] = {**ADDRESSES, **NEIGHBOURS, **ROLES, **ODDITIES}
CREDIBLE = (
    "a neighbour's IPv4 address", "a neighbour's IPv6 address", "nobody's MAC", "an answer of an outside name server",
    "ARP reply: the router is here", "gratuitous ARP for the router", "advertisement: the neighbour is here",
    "router advertisement", "DHCP offer", "a VLAN tag", "a BPDU of STP",
)  # fmt: skip
