"""Compiles firewall intents for nftables: one static table, and an element for whatever there is one of per network
or port.

Pure: text in nft's language, no I/O. How a packet meets the table (`inet INSTANCE`):

* `guard`, before routing, after conntrack: what comes from a bridge for 127.0.0.0/8 is dropped (bridges have
  route_localnet set, for the host's own traffic to published ports). A new packet straight to an address of a guarded
  subnet that did not come from that subnet's own bridge is dropped: it went round the published ports. New, because
  the answers to a network that is not masqueraded come in just so; hence the place after conntrack and not in raw.
* `prerouting` and `output`: DNAT of published ports, only for packets to an address of this host. Without
  `fib daddr type local` whatever strangers forward through us to the same port number would be hijacked
  (GHSA-jv3w-x3r3-g6rm). 127.0.0.0/8 never legitimately arrives from outside, so `prerouting` leaves it alone, which
  keeps ports published on loopback private (routing drops such packets, but only after DNAT has rewritten them). ::1
  cannot be translated at all, the kernel has no route_localnet for IPv6: it is left alone, and a client that tries it
  first is refused at once.
* `forward`: the user's chain; own traffic of a bridge (seen only with br_netfilter; icc is a matter of port isolation);
  internal networks are cut off; answers; what DNAT let in (`ct status dnat` is set by nobody but a nat rule of this
  host, so it is exactly what was published); ports allowed without translation; then closed.
* `postrouting`: a container that reaches itself or a sibling by a published port must see the answer come back through
  us, so such a connection carries our address (hairpin; likewise the host's own from 127.0.0.0/8, which no bridge
  could answer). Then SNAT or masquerading of what leaves by another interface than its own bridge.

Looking up an address goes before looking up the port alone, so that a port can be published on one address for one
container and on all others for another. The `user` chain is the user's: made empty, never flushed nor recreated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import ip_address

from netpy.diff import State
from netpy.firewall import sources
from netpy.firewall.rules import (
    BaseChain,
    Element,
    Opening,
    Passage,
    Ruleset,
    Set,
    checked_interface,
    inner,
)
from netpy.model import Family
from netpy.objects import AllowPort, Isolate, KernelObject, Masquerade, Publish, RedirectDns, Source

FAMILIES: tuple[Family, Family] = (4, 6)
USER = "user"
_ADDRESS: dict[Family, str] = {4: "ipv4_addr", 6: "ipv6_addr"}
_IP: dict[Family, str] = {4: "ip", 6: "ip6"}
_DYNAMIC = " size 65535; flags dynamic,timeout; timeout 1m;"
_MANGLE, _FILTER, _DSTNAT, _SRCNAT = -150, 0, -100, 100


@cache
def ruleset(instance: str) -> Ruleset:
    """The static part of the table `inet INSTANCE`."""
    chains = (
        BaseChain(name=USER, open=True),
        BaseChain(name="guard", hook="prerouting", priority=_MANGLE, rules=tuple(_guard())),
        BaseChain(name="forward", hook="forward", priority=_FILTER, rules=tuple(_forward())),
        BaseChain(name="published", rules=tuple(_published())),
        BaseChain(name="prerouting", kind="nat", hook="prerouting", priority=_DSTNAT, rules=_PREROUTING),
        BaseChain(name="output", kind="nat", hook="output", priority=_DSTNAT, rules=_OUTPUT),
        BaseChain(name="postrouting", kind="nat", hook="postrouting", priority=_SRCNAT, rules=tuple(_postrouting())),
    )
    return Ruleset(family="inet", table=instance, sets=tuple(_sets()), chains=chains, anchor="bridges")


def dns_ruleset(instance: str, intent: RedirectDns) -> Ruleset:
    """The table `ip INSTANCE` of a container's namespace: 127.0.0.11:53 leads to the port of our name server."""
    rules = tuple(
        f"ip daddr 127.0.0.11 {protocol} dport 53 dnat to 127.0.0.11:{intent.port}" for protocol in ("udp", "tcp")
    )
    dns = BaseChain(name="dns", kind="nat", hook="output", priority=_DSTNAT, rules=rules)
    return Ruleset(family="ip", table=instance, chains=(dns,), netns=intent.netns)


def lower(instance: str, state: Iterable[object], *, bridged: bool = True) -> State:
    """`state` with every intent replaced by elements (and the table they stand in); everything else passes.

    Not `bridged`: the kernel has no tables for bridges, so that nothing there comes of `Source`.
    """
    out: set[KernelObject] = set()
    ours = False
    for obj in state:
        match obj:
            case Isolate():
                out.update(_isolate(instance, obj))
                out.update((sources.on_bridge(instance, obj), sources.ruleset(instance)) if bridged else ())
            case Source():
                out.update((*sources.on_port(instance, obj), sources.ruleset(instance)) if bridged else ())
                continue
            case Masquerade():
                out.add(_masquerade(instance, obj))
            case Publish() | AllowPort():
                out.add(Opening(of=_port(instance, obj)))
            case RedirectDns():
                out.add(dns_ruleset(instance, obj))
                continue
            case _:
                out.add(obj)  # pyright: ignore[reportArgumentType]
                continue
        ours = True
    if ours:
        out.add(ruleset(instance))
    return frozenset(out)


def script(base: Ruleset) -> list[str]:
    """The commands that make the table and its sets and fill its chains, one a line.

    What exists already of table, sets and chains may stay; rules would be added to those that are there. The user's
    chain is made if it is missing and otherwise left alone.
    """
    table = f"{base.family} {base.table}"
    lines = [f"add table {table}"]
    for each in base.sets:
        kind = "map" if each.value else "set"
        value = f" : {' . '.join(each.value)}" if each.value else ""
        keys = f"typeof {' . '.join(each.raw)}" if each.raw else f"type {' . '.join(each.fields)}{value}"
        flags = " flags interval;" if each.interval else ""
        flags = _DYNAMIC if each.dynamic else flags
        lines.append(f"add {kind} {table} {each.name} {{ {keys};{flags} }}")
    for each in base.chains:
        hook = f"type {each.kind} hook {each.hook} priority {each.priority}; policy accept;" if each.hook else ""
        lines.append(f"add chain {table} {each.name} {{ {hook} }}" if hook else f"add chain {table} {each.name}")
    closed = [each for each in base.chains if not each.open]
    for each in closed:
        for rule, tag in zip(each.rules, each.tags, strict=True):
            lines.append(f'add rule {table} {each.name} {rule} comment "{tag}"')
    return lines


def document(state: State) -> str:
    """The elements of a lowered state, and the tables of containers, as commands for `nft -f`, sorted.

    The static table itself is left out: it is the same for every state (`script(ruleset(INSTANCE))`).
    """
    lines: list[str] = []
    for obj in sorted(state, key=lambda found: (found.key.netns, found.key)):
        match inner(obj):
            case Element() as element:
                text = element_text(element, table_of(element).set_named(element.container))
                lines.append(f"add element {element.family} {element.table} {element.container} {{ {text} }}")
            case Ruleset(netns=netns) as table if netns:
                lines += [f"# in {netns}", *script(table)]
            case _:
                pass
    return "".join(f"{line}\n" for line in lines)


def element_text(element: Element, container: Set) -> str:
    """`KEY` or `KEY : VALUE` of an element, interface names quoted."""
    fields = zip(container.fields, element.fields, strict=True)
    key = " . ".join(_key_text(kind, text, bool(container.raw)) for kind, text in fields)
    return f"{key} : {' . '.join(element.value)}" if element.value else key


def table_of(element: Element) -> Ruleset:
    """The static table that an element stands in."""
    return sources.ruleset(element.table) if element.family == "bridge" else ruleset(element.table)


def _key_text(kind: str, text: str, raw: bool) -> str:
    if kind == "ifname":
        return f'"{text}"'
    if not raw:
        return text
    packed = bytes.fromhex(text.replace(":", "")) if kind == "ether_addr" else ip_address(text).packed
    return f"0x{packed.hex()}"


def _sets() -> Iterator[Set]:
    yield Set(name="bridges", fields=("ifname",))
    yield Set(name="inside", fields=("ifname", "ifname"))
    yield Set(name="internal", fields=("ifname",))
    for family in FAMILIES:
        address = _ADDRESS[family]
        target = (address, "inet_service")
        yield Set(name=f"closed{family}", fields=("ifname",))
        yield Set(name=f"ping{family}", fields=("ifname",))
        yield Set(name=f"home{family}", fields=(address, "ifname"), interval=True)
        yield Set(name=f"guard{family}", fields=(address,), interval=True)
        yield Set(name=f"masquerade{family}", fields=(address,), interval=True)
        yield Set(name=f"snat{family}", fields=(address,), value=(address,), interval=True)
        yield Set(name=f"allow{family}", fields=("ifname", address, "inet_proto", "inet_service"))
        yield Set(name=f"bind{family}", fields=(address, "inet_proto", "inet_service"), value=target)
        yield Set(name=f"port{family}", fields=("inet_proto", "inet_service"), value=target)


def _guard() -> Iterator[str]:
    # 127.0.0.0/8 as a source is refused by the kernel too, unless somebody sets accept_local: belt and braces.
    yield "ip daddr 127.0.0.0/8 iifname @bridges drop"
    yield "ip saddr 127.0.0.0/8 iifname @bridges drop"
    yield "ct state established,related accept"  # before all look-ups by range: each costs as much as a hop
    for family in FAMILIES:
        ip = _IP[family]
        yield f"{ip} daddr @guard{family} {ip} daddr . iifname != @home{family} fib daddr type != local drop"


def _forward() -> Iterator[str]:
    yield f"jump {USER}"
    yield "iifname . oifname @inside accept"
    yield "ct state established,related iifname != @internal oifname != @internal accept"
    for family in FAMILIES:  # from link to link of a network that has no bridge
        ip = _IP[family]
        yield f"{ip} daddr . iifname @home{family} {ip} saddr . oifname @home{family} accept"
    yield "iifname @internal drop"
    yield "oifname @internal drop"
    yield "oifname @bridges ct status dnat accept"
    for family in FAMILIES:
        ip = _IP[family]
        yield f"oifname . {ip} daddr . meta l4proto . th dport @allow{family} accept"
        echo = "icmp" if family == 4 else "ipv6-icmp"
        yield f"meta nfproto ipv{family} oifname @ping{family} meta l4proto {echo} accept"
        yield f"meta nfproto ipv{family} oifname @closed{family} drop"
    yield "iifname @bridges accept"


def _published() -> Iterator[str]:
    # An address of link scope cannot be forwarded: left to whatever listens on the host.
    yield "ip6 saddr fe80::/10 return"
    for family in FAMILIES:
        ip = _IP[family]
        yield f"dnat {ip} to {ip} daddr . meta l4proto . th dport map @bind{family}"
        yield f"meta nfproto ipv{family} dnat {ip} to meta l4proto . th dport map @port{family}"


_LOCAL = "fib daddr type local jump published"
_PREROUTING = ("ip daddr 127.0.0.0/8 return", "ip6 daddr ::1 return", _LOCAL)
_OUTPUT = ("ip6 daddr ::1 return", _LOCAL)


def _postrouting() -> Iterator[str]:
    yield "oifname @bridges ct status dnat ip saddr 127.0.0.0/8 masquerade"
    for family in FAMILIES:
        ip = _IP[family]
        yield f"ct status dnat {ip} saddr . oifname @home{family} masquerade"
        yield f"{ip} saddr . oifname @home{family} return"
        yield f"snat {ip} to {ip} saddr map @snat{family}"
        yield f"{ip} saddr @masquerade{family} masquerade"


def _isolate(instance: str, intent: Isolate) -> Iterator[KernelObject]:
    bridge, family = checked_interface(intent.bridge), _family(intent.subnet)

    def element(container: str, *fields: str) -> Element:
        return Element(table=instance, container=container, fields=fields)

    yield element("bridges", bridge)
    yield from (element("inside", bridge, bridge),) if intent.icc else ()
    for where in ("nft", "legacy"):
        yield Passage(where=where, family=family, instance=instance, bridge=bridge)
    if intent.peers or not intent.internal:
        yield element(f"home{family}", intent.peers or intent.subnet, bridge)
    if intent.internal:
        yield element("internal", bridge)
        return
    if intent.guard == "nat":
        yield element(f"guard{family}", intent.subnet)
    if intent.guard != "open":
        yield element(f"closed{family}", bridge)
    if intent.guard == "routed":
        yield element(f"ping{family}", bridge)


def _masquerade(instance: str, intent: Masquerade) -> Element:
    checked_interface(intent.bridge)
    family = _family(intent.subnet)
    if intent.source:
        return Element(table=instance, container=f"snat{family}", fields=(intent.subnet,), value=(intent.source,))
    return Element(table=instance, container=f"masquerade{family}", fields=(intent.subnet,))


def _port(instance: str, intent: Publish | AllowPort) -> Element:
    family = _family(intent.address)
    if isinstance(intent, AllowPort):
        fields = (checked_interface(intent.bridge), intent.address, intent.protocol, str(intent.port))
        return Element(table=instance, container=f"allow{family}", fields=fields)
    fields = (intent.protocol, str(intent.host_port))
    value = (intent.address, str(intent.port))
    if intent.host_ip in {"0.0.0.0", "::"}:
        return Element(table=instance, container=f"port{family}", fields=fields, value=value)
    return Element(table=instance, container=f"bind{family}", fields=(intent.host_ip, *fields), value=value)


def _family(text: str) -> Family:
    return 6 if ":" in text else 4
