"""Objects, plans and drift as stable text, in the words of iproute2 where it has one.

A plan is one line per change: `+` for what is made, `~` for what changes in place, `-` for what goes. A dry run shows
the plan over firewall *intents* (`publish 0.0.0.0:8800/tcp -> 172.18.0.2:80`), so that it reads the same with either
firewall; drift is shown over what the firewall backend made of them, since that is what somebody has tampered with.
Objects that this module does not know (a backend's, a plugin's) tell their own text by `describe()`, whose first line
is used, or are shown by their key. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from netpy.diff import Create, Delete, Plan, Update, by_key
from netpy.objects import (
    Address,
    Adopt,
    AllowPort,
    Bridge,
    Child,
    Device,
    Given,
    Isolate,
    KernelObject,
    Masquerade,
    Publish,
    RedirectDns,
    Route,
    Source,
    Sysctl,
    Veth,
)

_DEFAULT_ROUTES = {"0.0.0.0/0": "default", "::/0": "default"}


@runtime_checkable
class Describing(Protocol):
    """An object that knows its own text."""

    def describe(self) -> str: ...


def plan(changes: Plan) -> str:
    """One line per change, in the order in which they are made; empty for nothing to do."""
    return "\n".join(_change_line(change) for change in changes)


def state(objects: Iterable[KernelObject]) -> str:
    """One line per object, by rank and key."""
    return "\n".join(text(obj) for obj in sorted(objects, key=lambda each: (each.RANK, each.key)))


def drift(changes: Plan) -> list[str]:
    """What is wrong, given the plan that would put it right.

    `veth x: missing`, `route default: unexpected`, `bridge y: mtu is 1400, should be 1500`.
    """
    gone = by_key(change.before for change in changes if isinstance(change, Delete))
    made = {change.key for change in changes if isinstance(change, Create)}
    lines: list[str] = []
    for change in changes:
        match change:
            case Delete(before) if before.key not in made:
                lines.append(f"{name(before)}: unexpected")
            case Delete():
                pass
            case Create(after) if after.key in gone:
                lines.append(_difference(gone[after.key], after))
            case Create(after):
                lines.append(f"{name(after)}: missing")
            case Update(before, after):
                lines.append(_difference(before, after))
    return lines


def name(obj: KernelObject) -> str:
    """What identifies the object, in a few words."""
    match obj:
        case Bridge():
            words = f"bridge {obj.name}"
        case Veth():
            words = f"veth {obj.name}"
        case Device() | Child() | Adopt() | Given():
            words = _link_name(obj)
        case Sysctl():
            words = f"sysctl {obj.name}"
        case Address():
            words = f"address {obj.address} dev {obj.link}"
        case Route():
            words = f"route {_DEFAULT_ROUTES.get(obj.destination, obj.destination)}{_family(obj.destination)}"
        case Isolate() | Source() | Masquerade() | AllowPort() | Publish() | RedirectDns():
            words = _intent_name(obj)
        case _:
            words = _first_line(obj)
    return f"{words}{_where(obj.key.netns)}"


def text(obj: KernelObject) -> str:
    """The whole object on one line."""
    head, tail = name(obj), _where(obj.key.netns)
    rest = _details(obj)
    return f"{head.removesuffix(tail)} {rest}{tail}" if rest else head


def _details(obj: KernelObject) -> str:
    match obj:
        case Bridge():
            return f"address {obj.mac} mtu {obj.mtu}"
        case Veth():
            return _veth_details(obj)
        case Device() | Child() | Adopt() | Given():
            return _link_details(obj)
        case Sysctl():
            return f"= {obj.value}"
        case Route():
            return f"via {obj.via} dev {obj.link}" if obj.via else f"dev {obj.link}"
        case Isolate() | Source() | Masquerade() | AllowPort() | Publish() | RedirectDns():
            return _intent_details(obj)
        case _:
            return ""


def _link_name(obj: Device | Child | Adopt | Given) -> str:
    match obj:
        case Device():
            return f"{obj.kind} {obj.name}"
        case Child():
            return f"{obj.kind} {obj.ifname}"
        case Adopt() | Given():
            return f"link {obj.ifname}"


def _link_details(obj: Device | Child | Adopt | Given) -> str:
    match obj:
        case Device():
            parts = [f"link {obj.parent} id {obj.vlan}" if obj.kind == "vlan" else ""]
        case Child():
            parts = [f"link {obj.parent} mode {obj.mode}"]
        case Adopt():
            parts = [f"from {obj.source}"]
        case Given():
            return f"made by {obj.maker}"
    parts += [f"address {obj.mac}" if obj.mac else "", f"mtu {obj.mtu}" if obj.mtu else ""]
    return " ".join(filter(None, parts))


def _intent_details(obj: Isolate | Source | Masquerade | AllowPort | Publish | RedirectDns) -> str:
    match obj:
        case Isolate():
            kept_apart = "" if obj.icc else ", no traffic inside"
            return f"behind {obj.bridge}, {'internal' if obj.internal else f'guard {obj.guard}'}{kept_apart}"
        case Source():
            return f"address {obj.mac} dev {obj.link}"
        case Masquerade():
            return f"leaving {obj.bridge}{f' as {obj.source}' if obj.source else ''}"
        case Publish():
            return f"-> {_socket(obj.address, obj.port)}"
        case RedirectDns():
            return f"-> 127.0.0.11:{obj.port or '(any)'}"
        case AllowPort():
            return f"behind {obj.bridge}"


def _change_line(change: Create | Update | Delete) -> str:
    match change:
        case Create(after):
            return f"+ {text(after)}"
        case Delete(before):
            return f"- {text(before)}"
        case Update(before, after):
            if isinstance(after, Describing):
                return f"~ {name(after)}"
            parts = [f"{field} {_value(old)} -> {_value(new)}" for field, old, new in _differing(before, after)]
            return f"~ {name(after)}: {', '.join(parts)}"


def _difference(before: KernelObject, after: KernelObject) -> str:
    if isinstance(after, Describing):
        return f"{_first_line(before)}{_where(before.key.netns)}: not as it should be"
    parts = [f"{field} is {_value(old)}, should be {_value(new)}" for field, old, new in _differing(before, after)]
    return f"{name(after)}: {'; '.join(parts)}"


def _differing(before: KernelObject, after: KernelObject) -> list[tuple[str, Any, Any]]:
    """(field, old, new) of the fields that differ; objects of two kinds differ in their kind."""
    if type(before) is not type(after):
        return [("kind", type(before).__name__, type(after).__name__)]
    names = [field.name for field in dataclasses.fields(before)]  # pyright: ignore[reportArgumentType]
    return [(n, getattr(before, n), getattr(after, n)) for n in names if getattr(before, n) != getattr(after, n)]


def _value(value: object) -> str:
    match value:
        case True:
            return "on"
        case False:
            return "off"
        case "":
            return "none"
        case _:
            return str(value)


def _veth_details(veth: Veth) -> str:
    parts = [f"peer {veth.ifname} address {veth.mac}{_where(veth.peer_netns)} mtu {veth.mtu}"]
    if veth.bridge:
        parts.append(f" master {veth.bridge}")
    parts += [f" {flag}" for flag in ("hairpin", "isolated", "locked") if getattr(veth, flag)]
    return "".join(parts)


def _intent_name(obj: Isolate | Source | Masquerade | AllowPort | Publish | RedirectDns) -> str:
    match obj:
        case Isolate():
            return f"isolate {obj.subnet}"
        case Source():
            return f"source {obj.address}"
        case Masquerade():
            return f"masquerade {obj.subnet}"
        case AllowPort():
            return f"allow {_socket(obj.address, obj.port)}/{obj.protocol}"
        case Publish():
            return f"publish {_socket(obj.host_ip, obj.host_port)}/{obj.protocol}"
        case RedirectDns():
            return "redirect 127.0.0.11:53"


def _first_line(obj: KernelObject) -> str:
    if isinstance(obj, Describing):
        return obj.describe().partition("\n")[0]
    return f"{obj.key.kind} {obj.key.name}"


def _socket(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _family(destination: str) -> str:
    return " (IPv6)" if destination == "::/0" else ""


def _where(netns: str) -> str:
    """` netns NAME`, the last part of the path; nothing for the host's own."""
    return f" netns {netns.rpartition('/')[2]}" if netns else ""
