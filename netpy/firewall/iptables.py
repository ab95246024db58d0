"""Compiles firewall intents for x_tables: a static frame of chains per family, and whole chains per network and
container.

Pure: rules are texts in the words of `iptables -S`, no I/O. What the rules mean, and why, stands in
`netpy.firewall.nft`; the two compilers say the same thing and are held to one matrix of tests. With P for the
instance's prefix (`NETPY`):

* mangle PREROUTING → P-GUARD, per subnet: nothing for 127.0.0.0/8 from a bridge, nobody straight to containers;
* nat PREROUTING and OUTPUT (to a local address) → P-PUBLISHED → P-BOUND (one address), then P-PORTS (any address);
* nat POSTROUTING → P-POSTROUTING, per subnet: hairpin, masquerading;
* filter FORWARD → P-USER: the user's; never flushed, and never removed while it holds a rule;
* filter FORWARD → P-FORWARD → P-INSIDE, P-INTERNAL, P-ALLOW, P-INTO, P-FROM, in this order; where a Docker has its
  isolation in the same tables, P-FROM asks that first (`rules.Passage`).

Everything that goes *into* one of our bridges is decided (P-INTO) before anything that comes *out of* one is accepted
(P-FROM), so the order of networks does not matter. The user's chain carries the instance's name as well, since each
daemon hooks its own.

The published ports of a container are one chain, P-P-HASH; runs of ports that keep their number are one rule, so that
`-p 8000-8999:8000-8999` is one too. Chains are numbered by a hash, because names end at 28 characters.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from netpy.diff import State
from netpy.firewall import sources
from netpy.firewall.rules import Chain, Frame, Hook, Opening, Passage, Skeleton, chain, checked_interface, tag
from netpy.model import Family
from netpy.objects import AllowPort, Isolate, KernelObject, Masquerade, Publish, RedirectDns, Source

_LOOPBACK: dict[Family, str] = {4: "127.0.0.0/8", 6: "::1/128"}
_HOST_BITS: dict[Family, int] = {4: 32, 6: 128}
_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED"
_TRANSLATED = "-m conntrack --ctstate DNAT"
_TO_US = "-m addrtype --dst-type LOCAL"


def prefix(instance: str) -> str:
    """What the names of all chains of an instance begin with: `netpy-1a2b3c` has `NETPY-1A2B3C`."""
    name = instance.upper()
    return name if len(name) <= 14 else f"NETPY-{_digest(instance)[:6].upper()}"


def skeleton(instance: str, family: Family) -> Skeleton:
    """The static frame of one family."""
    p = prefix(instance)
    stages = ("INSIDE", "INTERNAL", "ALLOW", "INTO", "FROM")
    published = ("-s fe80::/10 -j RETURN",) if family == 6 else ()
    frames = (
        Frame(table="mangle", name=f"{p}-GUARD", open=True),
        Frame(table="nat", name=f"{p}-BOUND", open=True),
        Frame(table="nat", name=f"{p}-PORTS", open=True),
        Frame(table="nat", name=f"{p}-PUBLISHED", rules=(*published, f"-j {p}-BOUND", f"-j {p}-PORTS")),
        Frame(table="nat", name=f"{p}-POSTROUTING", open=True),
        Frame(table="filter", name=f"{p}-USER", open=True, user=True),
        *(Frame(table="filter", name=f"{p}-{stage}", open=True) for stage in stages),
        Frame(table="filter", name=f"{p}-FORWARD", rules=tuple(f"-j {p}-{stage}" for stage in stages)),
    )
    output = f"! -d {_LOOPBACK[6]} {_TO_US}" if family == 6 else _TO_US
    hooks = (
        ("mangle", _root("PREROUTING", "", f"{p}-GUARD")),
        ("nat", _root("PREROUTING", f"! -d {_LOOPBACK[family]} {_TO_US}", f"{p}-PUBLISHED")),
        ("nat", _root("OUTPUT", output, f"{p}-PUBLISHED")),
        ("nat", _root("POSTROUTING", "", f"{p}-POSTROUTING")),
        ("filter", _root("FORWARD", "", f"{p}-USER", first=True)),
        ("filter", _root("FORWARD", "", f"{p}-FORWARD", first=True)),
    )
    return Skeleton(family=family, prefix=p, frames=frames, hooks=hooks)


def lower(instance: str, state: Iterable[object], *, bridged: bool = True) -> State:
    """`state` with every intent replaced by chains (and the frame they hang in); everything else passes.

    `bridged`: nftables are there for what x_tables cannot, as `netpy.firewall.sources` has it.
    """
    out: set[KernelObject] = set()
    ports: dict[str, list[Publish]] = defaultdict(list)
    allowed: dict[tuple[str, str], list[AllowPort]] = defaultdict(list)
    families: set[Family] = set()
    for obj in state:
        match obj:
            case Isolate():
                out.update(_isolate(instance, obj))
                out.update((sources.on_bridge(instance, obj), sources.ruleset(instance)) if bridged else ())
                families.add(_family(obj.subnet))
            case Source():
                out.update((*sources.on_port(instance, obj), sources.ruleset(instance)) if bridged else ())
            case Masquerade():
                out.add(_masquerade(instance, obj))
                families.add(_family(obj.subnet))
            case Publish():
                ports[obj.address].append(obj)
                families.add(_family(obj.address))
            case AllowPort():
                allowed[checked_interface(obj.bridge), obj.address].append(obj)
                families.add(_family(obj.address))
            case RedirectDns():
                out.add(_dns(instance, obj))
            case _:
                out.add(obj)  # pyright: ignore[reportArgumentType]
    out.update(Opening(of=each) for address, group in ports.items() for each in _ports(instance, address, group))
    out.update(Opening(of=_allowed(instance, *where, group)) for where, group in allowed.items())
    out.update(skeleton(instance, family) for family in families)
    return frozenset(out)


def document(state: Iterable[object], family: Family) -> str:
    """The rules of one family as `iptables-restore` reads them; hooks in the order of their chains' names."""
    tables: dict[str, dict[str, list[str]]] = {name: {} for name in ("filter", "mangle", "nat")}
    frames = [each for each in state if isinstance(each, Skeleton) and each.family == family]
    unwrapped = [each.of if isinstance(each, Opening) else each for each in state]
    chains = [each for each in unwrapped if isinstance(each, Chain) and each.family == family]
    for each in frames:
        for frame in each.frames:
            tables[frame.table][frame.name] = [commented(rule, tag(frame.name, rule)) for rule in frame.rules]
        for table, hook in each.hooks:
            tables[table].setdefault(hook.parent, []).append(commented(hook.rule, hook.comment))
    for each in sorted(chains, key=lambda found: found.key):
        rules = tables[each.table].setdefault(each.name, [])
        rules += [commented(rule, tag(each.name, rule)) for rule in each.rules]
        for hook in each.hooks:
            tables[each.table].setdefault(hook.parent, []).append(commented(hook.rule, hook.comment))
    return "".join(_table_text(name, chains) for name, chains in tables.items() if chains)


def commented(rule: str, comment: str) -> str:
    """`rule` with its comment just before the target, where `iptables -S` shows it."""
    head, _, target = rule.rpartition("-j ")
    return f'{head}-m comment --comment "{comment}" -j {target}'


def _table_text(name: str, chains: dict[str, list[str]]) -> str:
    lines = [f"*{name}"]
    lines += [f":{each} {'ACCEPT' if each in _BUILT_IN else '-'} [0:0]" for each in chains]
    lines += [f"-A {each} {rule}" for each, rules in chains.items() for rule in rules]
    return "\n".join((*lines, "COMMIT", ""))


_BUILT_IN = {"PREROUTING", "OUTPUT", "POSTROUTING", "FORWARD", "INPUT"}


def _root(parent: str, condition: str, target: str, *, first: bool = False) -> Hook:
    return Hook(parent=parent, rule=f"{condition} -j {target}".strip(), owner=target, first=first)


def _isolate(instance: str, intent: Isolate) -> Iterator[KernelObject]:
    bridge, family, p = checked_interface(intent.bridge), _family(intent.subnet), prefix(instance)
    for where in ("nft", "frame"):
        yield Passage(where=where, family=family, instance=instance, bridge=bridge)
    yield _filter(p, family, intent)
    guard = f"{p}-G-{_digest(bridge, intent.subnet)}"
    hooks: list[Hook] = []
    rules: tuple[str, ...] = ()
    if family == 4:
        for side in ("-d", "-s"):
            rule = f"-i {bridge} {side} 127.0.0.0/8 -j DROP"
            hooks.append(Hook(parent=f"{p}-GUARD", rule=rule, owner=guard))
    if intent.guard == "nat" and not intent.internal:
        hooks.append(Hook(parent=f"{p}-GUARD", rule=f"-d {intent.subnet} -j {guard}", owner=guard))
        kin = (f"-s {intent.peers} -i {checked_interface(intent.kin)}+ -j RETURN",) if intent.peers else ()
        rules = (f"-i {bridge} -j RETURN", *kin, f"{_ANSWERS} -j RETURN", f"{_TO_US} -j RETURN", "-j DROP")
    if hooks:
        yield chain(family, "mangle", guard, rules, tuple(hooks))
    if not intent.internal:
        name = f"{p}-H-{_digest(bridge, intent.subnet)}"
        back = Hook(parent=f"{p}-POSTROUTING", rule=f"-o {bridge} {_TRANSLATED} -j {name}", owner=name)
        sources = (intent.subnet, "127.0.0.0/8") if family == 4 else (intent.subnet,)
        yield chain(family, "nat", name, tuple(f"-s {source} -j MASQUERADE" for source in sources), (back,))


def _filter(p: str, family: Family, intent: Isolate) -> Chain:
    bridge = intent.bridge
    name = f"{p}-N-{_digest(bridge)}"
    rooms = [("INSIDE", f"-i {bridge} -o {bridge} -j ACCEPT")] if intent.icc else []
    if intent.peers:
        rooms.append(("INSIDE", f"-s {intent.peers} -i {checked_interface(intent.kin)}+ -o {bridge} -j ACCEPT"))
    rules: list[str] = []
    if intent.internal:
        rooms += [("INTERNAL", f"-i {bridge} -j DROP"), ("INTERNAL", f"-o {bridge} -j DROP")]
    else:
        rooms += [("INTO", f"-o {bridge} -j {name}"), ("FROM", f"-i {bridge} -j ACCEPT")]
        rules += [f"{_ANSWERS} -j ACCEPT", f"{_TRANSLATED} -j ACCEPT"]
        if intent.guard == "routed":
            rules.append(f"-p {'icmp' if family == 4 else 'icmpv6'} -j ACCEPT")
        rules.append("-j ACCEPT" if intent.guard == "open" else "-j DROP")
    hooks = tuple(Hook(parent=f"{p}-{room}", rule=rule, owner=name) for room, rule in rooms)
    return chain(family, "filter", name, tuple(rules), hooks)


def _masquerade(instance: str, intent: Masquerade) -> Chain:
    bridge, p = checked_interface(intent.bridge), prefix(instance)
    name = f"{p}-M-{_digest(bridge, intent.subnet)}"
    rule = f"-j SNAT --to-source {intent.source}" if intent.source else "-j MASQUERADE"
    out = Hook(parent=f"{p}-POSTROUTING", rule=f"-s {intent.subnet} ! -o {bridge} -j {name}", owner=name)
    kin = (f"-d {intent.peers} -o {checked_interface(intent.kin)}+ -j RETURN",) if intent.peers else ()
    return chain(_family(intent.subnet), "nat", name, (*kin, rule), (out,))


def _ports(instance: str, address: str, group: Sequence[Publish]) -> Iterator[Chain]:
    p = prefix(instance)
    for anywhere, room, letter in ((False, "BOUND", "B"), (True, "PORTS", "P")):
        ports = [each for each in group if (each.host_ip in {"0.0.0.0", "::"}) == anywhere]
        if ports:
            name = f"{p}-{letter}-{_digest(address)}"
            hook = Hook(parent=f"{p}-{room}", rule=f"-j {name}", owner=name)
            yield chain(_family(address), "nat", name, tuple(_dnat(ports)), (hook,))


def _dnat(ports: Iterable[Publish]) -> Iterator[str]:
    for first, last in _runs(sorted(ports, key=lambda each: (each.protocol, each.host_ip, each.host_port))):
        family = _family(first.address)
        here = "" if first.host_ip in {"0.0.0.0", "::"} else f"-d {first.host_ip}/{_HOST_BITS[family]} "
        matched = f"{here}-p {first.protocol} -m {first.protocol} --dport {first.host_port}"
        if first is not last:
            yield f"{matched}:{last.host_port} -j DNAT --to-destination {first.address}"
            continue
        address = f"[{first.address}]" if family == 6 else first.address
        yield f"{matched} -j DNAT --to-destination {address}:{first.port}"


def _runs(ports: Iterable[Publish]) -> Iterator[tuple[Publish, Publish]]:
    """First and last of each run of neighbouring ports that keep their number; any other port is a run of its own."""
    first: Publish | None = None
    last: Publish | None = None
    for port in ports:
        if first and last and port.host_port == port.port and port == _following(last):
            last = port
            continue
        if first and last:
            yield first, last
        first = last = port
    if first and last:
        yield first, last


def _following(port: Publish) -> Publish | None:
    kept = port.host_port == port.port
    return replace(port, host_port=port.host_port + 1, port=port.port + 1) if kept else None


def _allowed(instance: str, bridge: str, address: str, group: Sequence[AllowPort]) -> Chain:
    p, family = prefix(instance), _family(address)
    name = f"{p}-A-{_digest(bridge, address)}"
    to = f"-d {address}/{_HOST_BITS[family]} -o {bridge} -j {name}"
    ports = sorted({(each.protocol, each.port) for each in group})
    rules = tuple(f"-p {protocol} -m {protocol} --dport {port} -j ACCEPT" for protocol, port in ports)
    return chain(family, "filter", name, rules, (Hook(parent=f"{p}-ALLOW", rule=to, owner=name),))


def _dns(instance: str, intent: RedirectDns) -> Chain:
    name = f"{prefix(instance)}-DNS"
    target = f"-j DNAT --to-destination 127.0.0.11:{intent.port}"
    rules = tuple(f"-p {protocol} -m {protocol} --dport 53 {target}" for protocol in ("udp", "tcp"))
    hook = Hook(parent="OUTPUT", rule=f"-d 127.0.0.11/32 -j {name}", owner=name)
    return replace(chain(4, "nat", name, rules, (hook,)), netns=intent.netns)


def _digest(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:10]


def _family(text: str) -> Family:
    return 6 if ":" in text else 4
