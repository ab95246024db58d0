"""ADD and DEL on a network that is up, by its recipe: no driver, no diff, none of netpy is loaded.

Serves only what goes without saying: netpy's own addresses, TCP ports at most, a network whose configuration is the
one that the recipe was made for, with its bridge and its rules there. Everything else, and whatever goes wrong here, is
left to `verbs`, after what was begun has been cleared: that way has the words for errors, and mends what is missing.
CHECK compares what was made here with what netpy wants, and finds no difference. I/O: the store, the kernel.
"""

# pyright: basic
from __future__ import annotations

import os

from netpy_cni_plugin import document, wants
from netpy_cni_plugin.ledger import text
from netpy_cni_plugin.protocol import result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netpy_cni_plugin.ledger import Ledger
    from netpy_cni_plugin.protocol import Request

    Json = dict[str, Any]
    Served = tuple[bool, Json | None]

_NOT = (False, None)
_DEFAULT = {"4": "0.0.0.0/0", "6": "::/0"}


def add(request: Request, ledger: Ledger) -> Served:
    """(True, the result), or (False, None) where the other way has to be taken; then nothing was done."""
    recipe = _recipe(request, ledger)
    if not recipe:
        return _NOT
    asked = wants.ports(request.conf, {4: "4" in recipe["addresses"], 6: "6" in recipe["addresses"]})
    places = {each: recipe["ports"].get(_kind(each)) for each in asked}
    if not all(places.values()) or any(each[0] == "udp" for each in asked):
        return _NOT
    from netpy_cni_plugin import wire

    try:
        bridge = wire.index_of(recipe["bridge"])
        if not wire.has_chain(recipe["table"], recipe["chain"]):
            return _NOT
        namespace = os.open(request.netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _NOT
    id, addresses = _leased(request, ledger, asked)
    elements = [_element(str(places[each]), each, addresses) for each in asked]
    try:
        if not all(wire.is_free(protocol, host, port) for protocol, port, host, _ in asked):
            raise OSError(98, "address already in use")
        _made(recipe, (id, addresses), (bridge, namespace, request.ifname))
        wire.change_elements(recipe["table"], elements)
    except OSError:
        _undone(request, ledger)
        return _NOT
    ledger.activate(id, document.dumps({"routes": [], "default": True, "table": recipe["table"], "elements": elements}))
    return True, _result(request, recipe, id, addresses)


def delete(request: Request, ledger: Ledger) -> Served:
    """(True, None), or (False, None) where the other way has to be taken."""
    row = ledger.attachment(request.network, request.container, request.ifname)
    ipam = request.conf.get("ipam") or {}
    if isinstance(ipam, dict) and ipam.get("type", "") not in ("", "netpy"):  # pyright: ignore[reportUnknownMemberType]
        return _NOT
    if not row:
        return True, None
    more = document.loads(row[9])
    if row[5] != "active" or "elements" not in more:
        return _NOT
    from netpy_cni_plugin import wire

    try:
        wire.change_elements(more["table"], more["elements"], removal=True)
        wire.delete_link(f"veth{row[3][:7]}")
    except OSError:
        return _NOT
    ledger.drop(row[3])
    return True, None


def _recipe(request: Request, ledger: Ledger) -> Json:
    """The recipe for the request, if it is one for a recipe."""
    if not wants.is_plain(request.conf) or "=" in os.environ.get("CNI_ARGS", "").replace("IgnoreUnknown=", ""):
        return {}
    known = ledger.network(request.network)
    if not known or known[0] != request.fixed():
        return {}
    body = ledger.recipe(request.network, request.ifname)
    if not body or ledger.attachment(request.network, request.container, request.ifname):
        return {}
    return document.loads(body)


def _kind(port: tuple[str, int, str, int]) -> str:
    return f"{6 if ':' in port[2] else 4}{'any' if port[2] in ('0.0.0.0', '::') else 'bound'}"


def _element(place: str, port: tuple[str, int, str, int], addresses: Json) -> list[Any]:
    """[the map, its key, its value]: the host's side of a port, and the container's."""
    protocol, outer, host, inner = port
    bound = [] if host in ("0.0.0.0", "::") else [host]
    return [place, [*bound, protocol, outer], [addresses["6" if ":" in host else "4"], inner]]


def _leased(request: Request, ledger: Ledger, asked: list[tuple[str, int, str, int]]) -> tuple[str, Json]:
    """An identifier and addresses, in a row that says pending; and the ports."""
    id = os.urandom(32).hex()
    addresses: Json = {}
    ledger.begin()
    try:
        for pool in document.loads(ledger.network(request.network)[2]):  # pyright: ignore[reportOptionalSubscript]
            addresses[str(pool[0])] = text(ledger.free_address(request.network, pool), pool[0])
        row = (request.network, request.container, request.ifname, id, request.netns, "pending")
        more = document.dumps({"routes": [], "default": True})
        ledger.keep((*row, addresses.get("4"), addresses.get("6"), _mac(addresses["4"]), more))
        ledger.give_ports(id, asked)
    except BaseException:
        ledger.end(commit=False)
        raise
    ledger.end()
    return id, addresses


def _mac(address: str) -> str:
    return ":".join(("02:42", *(f"{int(part):02x}" for part in address.split("."))))


def _made(recipe: Json, who: tuple[str, Json], where: tuple[int, int, str]) -> None:
    from netpy_cni_plugin import wire

    id, addresses = who
    bridge, namespace, ifname = where
    known = {family: wire.packed(address) for family, address in addresses.items()}
    steps = {
        name: wire.filled(bytes.fromhex(recipe[name]), recipe, id, known) for name in ("outside", "raise", "inside")
    }
    outside = steps["outside"].replace(wire.number(wire.NAMESPACE), wire.number(namespace))
    wire.Channel().send(outside.replace(wire.number(wire.MASTER), wire.number(bridge)))
    with wire.Inside(namespace):
        channel = wire.Channel()
        channel.send(steps["raise"])
        wire.write_settings(recipe["settings"])
        channel.send(steps["inside"].replace(wire.number(wire.LINK), wire.number(wire.index_of(ifname))))


def _undone(request: Request, ledger: Ledger) -> None:
    """Through the library, which knows how to look at what is there."""
    from netpy_cni_plugin.host import Host
    from netpy_cni_plugin.verbs import cleared

    row = ledger.attachment(request.network, request.container, request.ifname)
    if row:
        host = Host(ledger)
        cleared(ledger, host, row)
        host.close()


def _result(request: Request, recipe: Json, id: str, addresses: Json) -> Json:
    lengths = {family: stated.partition("/")[2] for family, stated in recipe["addresses"].items()}
    gateways = recipe["gateways"]
    made = {
        "bridge": recipe["bridge"],
        "host": f"veth{id[:7]}",
        "ifname": request.ifname,
        "mac": _mac(addresses["4"]),
        "mtu": recipe["mtu"],
        "netns": request.netns,
        "ips": [(f"{address}/{lengths[family]}", gateways[family]) for family, address in addresses.items()],
        "routes": [(_DEFAULT[family], gateways[family]) for family in addresses if gateways[family]],
        "dns": wants.dns(request.conf),
    }
    return result(request.version, made)
