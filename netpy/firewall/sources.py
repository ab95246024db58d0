"""Compiles `Source` for nftables' bridge family: what may come in by a port of one of our bridges. Serves both
backends.

Pure: text in nft's language, no I/O. x_tables never see what passes from port to port of a bridge, and a container
has CAP_NET_RAW, so without this it can answer for its neighbours (ARP, neighbour discovery), for their name servers
(UDP with a forged source) and for the router (RA, DHCP). The table is `bridge INSTANCE`, one chain before the bridge
learns or forwards anything, and an element for each address of each port: two look-ups in hashes, whatever there are
of containers. The order of the rules is that of how often they are met:

* `ports`: a frame from a port with the MAC and the IP address that the port has passes, by way of `from4` and
  `from6`; ports that are not ours (a bridge of somebody else, a NIC put into ours) are not looked at. What remains
  comes from a port of ours and is no such frame: ARP, or the duplicate address detection of IPv6, or forged, or no IP
  at all (VLAN tags, STP, LLDP, PPPoE): dropped, and counted.
* `from4`, `from6`: no DHCP server, and not more than `STORM` frames a second to all or many, which cost the host a
  copy for each port.
* `resolution` (ARP): the sender in the payload is the port's, too; a probe (RFC 5227) has no sender yet.
* `discovery`: what neighbours believe of IPv6. A container is no router. An advertisement speaks of the port's own
  address and MAC: the option that holds the MAC has to be the first and only one, as every kernel sends it, for there
  is no way here to look for it further on. Not behind extension headers, and fragments are ignored by receivers (RFC
  6980).

`icmpv6 taddr` is unknown to nft before 1.0.8, so the set for IPv6 has raw keys (`Set.raw`), which look up any place
in a packet.

Frames to 01:80:c2:00:00:0X never come here, but are not forwarded either; that the bridge does not learn from them is
the business of `Veth.locked`, which is also all there is where the kernel has no bridge family.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from netpy.firewall.rules import BaseChain, Element, Ruleset, Set, checked_interface
from netpy.objects import Isolate, Source

STORM = 5000  # frames a second, and as many at once
_BEFORE_ALL = -300  # the bridge family's dstnat: before anybody has rewritten a frame
_SOURCE, _SENDER = "@ll,48,48", "@nh,64,128"  # MAC and IPv6 address that a frame is from
_OPTION, _TARGET = (
    "@th,208,48",
    "@th,64,128",
)  # of neighbour discovery: MAC in its first option, and the address it is about


@cache
def ruleset(instance: str) -> Ruleset:
    """The static part of the table `bridge INSTANCE`."""
    chains = (
        BaseChain(name="storm", rules=_STORM),
        BaseChain(name="from4", rules=("ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 jump storm", *_FROM4)),
        BaseChain(name="discovery", rules=_DISCOVERY),
        BaseChain(name="from6", rules=("ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 jump storm", *_FROM6)),
        BaseChain(name="resolution", rules=_ARP),
        BaseChain(name="ports", hook="prerouting", priority=_BEFORE_ALL, rules=_PORTS),
    )
    return Ruleset(family="bridge", table=instance, sets=_SETS, chains=chains, anchor="bridges")


def on_bridge(instance: str, intent: Isolate) -> Element:
    """What keeps the table there as long as there is a bridge."""
    return _element(instance, "bridges", checked_interface(intent.bridge))


def on_port(instance: str, intent: Source) -> Iterator[Element]:
    """The port is one of ours, and this is an address of it."""
    link = checked_interface(intent.link)
    yield _element(instance, "ports", link)
    yield _element(instance, "source6" if ":" in intent.address else "source4", link, intent.mac, intent.address)


def _element(instance: str, container: str, *fields: str) -> Element:
    return Element(family="bridge", table=instance, container=container, fields=fields)


_SETS = (
    Set(name="bridges", fields=("ifname",)),
    Set(name="ports", fields=("ifname",)),
    Set(name="source4", fields=("ifname", "ether_addr", "ipv4_addr")),
    Set(name="source6", fields=("ifname", "ether_addr", "ipv6_addr"), raw=("iifname", _SOURCE, _SENDER)),
    Set(name="storms", fields=("ifname",), dynamic=True),
)
_PORTS = (
    "ether type ip iifname . ether saddr . ip saddr @source4 goto from4",
    f"ether type ip6 iifname . {_SOURCE} . {_SENDER} @source6 goto from6",
    "iifname != @ports accept",
    "ether type arp goto resolution",
    "ether type ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit ip6 nexthdr ipv6-icmp "
    f"iifname . {_SOURCE} . {_TARGET} @source6 accept",
    "counter drop",
)
_STORM = (f"update @storms {{ iifname limit rate over {STORM}/second burst {STORM} packets }} counter drop",)
_FROM4 = ("udp sport 67 counter drop", "accept")
_FROM6 = ("meta l4proto ipv6-icmp goto discovery", "udp sport 547 counter drop", "accept")
_DISCOVERY = (
    "icmpv6 type { nd-router-advert, nd-redirect } counter drop",
    "icmpv6 type != { nd-neighbor-solicit, nd-neighbor-advert } accept",
    "ip6 nexthdr != ipv6-icmp counter drop",
    "icmpv6 type nd-neighbor-solicit ip6 length 24 accept",
    f"icmpv6 type nd-neighbor-solicit ip6 length 32 @th,192,16 0x0101 iifname . {_OPTION} . {_SENDER} @source6 accept",
    f"icmpv6 type nd-neighbor-advert ip6 length 24 iifname . {_SOURCE} . {_TARGET} @source6 accept",
    f"icmpv6 type nd-neighbor-advert ip6 length 32 @th,192,16 0x0201 iifname . {_OPTION} . {_TARGET} @source6 accept",
    "counter drop",
)
_ARP = (
    "jump storm",
    "arp htype != 1 counter drop",
    "arp ptype != ip counter drop",
    "arp hlen != 6 counter drop",
    "arp plen != 4 counter drop",
    "iifname . ether saddr . arp saddr ip @source4 iifname . arp saddr ether . arp saddr ip @source4 accept",
    "arp operation request arp saddr ip 0.0.0.0 accept",
    "counter drop",
)
