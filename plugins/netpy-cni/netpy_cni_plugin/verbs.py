"""ADD, DEL and CHECK in full, through the library. `upkeep` has GC and STATUS; `quick` a shorter way for ADD and DEL.

The order of ADD: network (made when it is missing, alone), addresses and ports (a row), kernel, row active. Each
failure takes back what came before. DEL: kernel, then the row, so that what could not be removed is found again. A row
that is not active was left by a process that died: whoever meets it clears it. I/O: the store, the kernel, an IPAM
plugin.
"""

# pyright: basic
from __future__ import annotations

import json
import os
import secrets
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from netpy.drivers.bridge import DEFAULT_ROUTE
from netpy.ipam import mac_of
from netpy.kernel import netns as namespaces
from netpy.model import Network, SubnetSpec
from netpy_cni_plugin import ipam, recipe, settings, wants
from netpy_cni_plugin.host import Host, endpoint_of, network_of, pools_of, quietly, record_of
from netpy_cni_plugin.ledger import Ledger, text
from netpy_cni_plugin.protocol import DRIFT, INVALID, LEFT, NETNS, UNKNOWN, CniError, Request, result

Json = dict[str, Any]


def add(request: Request, ledger: Ledger) -> Json:
    """Make the attachment, and the network if need be."""
    if not namespaces.exists(request.netns):
        raise CniError(NETNS, f"{request.netns} is no network namespace")
    kind = settings.delegated(request.conf)
    given = ipam.ask(kind, "ADD", request.conf) if kind else None
    host = Host(ledger)
    try:
        network = ensured(ledger, host, request, given)
        return _attached(ledger, host, request, (network, given))
    except BaseException:
        if kind:
            _quietly_returned(kind, request)
        raise
    finally:
        host.close()


def delete(request: Request, ledger: Ledger) -> None:
    """Take the attachment away, whatever is left of it."""
    row = ledger.attachment(request.network, request.container, request.ifname)
    errors: list[str] = []
    if row:
        host = Host(ledger)
        errors = cleared(ledger, host, row)
        host.close()
    kind = settings.delegated(request.conf)
    if kind:
        ipam.ask(kind, "DEL", request.conf)
    if errors:
        raise CniError(LEFT, f"container {request.container} is not wholly detached", "; ".join(errors))


def check(request: Request, ledger: Ledger) -> None:
    """Compare the kernel with what it should be, and the result that we gave with what we know."""
    known = ledger.network(request.network)
    row = ledger.attachment(request.network, request.container, request.ifname)
    if not known or not row or row[5] != "active":
        message = f"container {request.container} has no interface {request.ifname} in network {request.network}"
        raise CniError(UNKNOWN, message, "ADD was not called, or did not succeed")
    network = network_of(known[1])
    endpoint = endpoint_of(ledger, network, row)
    kind = settings.delegated(request.conf)
    if kind:
        ipam.ask(kind, "CHECK", request.conf)
    before = request.conf.get("prevResult") or {}
    told = {ip.get("address") for ip in before.get("ips") or []}
    if told and not told >= set(endpoint.addresses):
        stated = ", ".join(sorted(map(str, told)))
        raise CniError(INVALID, f"prevResult has the addresses {stated}, not {', '.join(endpoint.addresses)}")
    host = Host(ledger)
    try:
        lines = host.drift(network, endpoint)
    finally:
        host.close()
    if lines:
        raise CniError(DRIFT, f"{len(lines)} things are not as they should be: {lines[0]}", "\n".join(lines))


def cleared(ledger: Ledger, host: Host, row: tuple[Any, ...]) -> list[str]:
    """Remove an attachment from kernel and store. What failed; then the row stays."""
    known = ledger.network(row[0])
    errors: list[str] = []
    if known:
        network = network_of(known[1])
        errors = [str(error) for error in host.detach(network, endpoint_of(ledger, network, row))]
    if not errors:
        ledger.drop(row[3])
    return errors


# ---- networks ----------------------------------------------------------------------------------------------------


def ensured(ledger: Ledger, host: Host, request: Request, given: Json | None) -> Network:
    """The network of the configuration, up. Making it, or changing its record, is done alone."""
    fixed = request.fixed()
    known = ledger.network(request.network)
    if known and known[0] == fixed:
        network = network_of(known[1])
        _check_given(network, given)
        if host.has(network):
            return network
    ledger.hold(exclusive=True)  # and on to the end: nobody may remove it before we are in
    known = ledger.network(request.network)
    network = _drafted(ledger, host, request, given)
    if known:
        _replaced(ledger, host, network_of(known[1]), network)
    host.raise_network(network)
    ledger.keep_network(request.network, fixed, record_of(network), pools_of(network))
    return network


def _drafted(ledger: Ledger, host: Host, request: Request, given: Json | None) -> Network:
    known = ledger.network(request.network)
    others = [network_of(record) for name, record in ledger.networks() if name != request.network]
    taken = [subnet.subnet for other in others for subnet in other.subnets]
    old = network_of(known[1]) if known else None
    subnets = _given_subnets(given) if given is not None else None
    spec = settings.spec(request.conf, subnets)
    if old and old.spec == host.driver.normalise(spec):
        return old
    return host.drafted(spec, old.id if old else secrets.token_hex(32), taken)


def _replaced(ledger: Ledger, host: Host, old: Network, new: Network) -> None:
    """The configuration has changed: fine where it changes nothing in the kernel, or where nobody is attached."""
    if old == new:
        return
    users = ledger.count(new.name)
    if users:
        message = f"the configuration of network {new.name} is not that of its {users} attachments"
        raise CniError(INVALID, message, "DEL them first, or give the network another name")
    host.lower_network(old)


def _given_subnets(given: Json) -> tuple[SubnetSpec, ...]:
    """The subnets that an IPAM plugin's addresses are in, with the gateways that it names."""
    found: dict[int, SubnetSpec] = {}
    for ip in _ips(given):
        address = ip_interface(ip["address"])
        gateway = str(ip_address(ip["gateway"])) if ip.get("gateway") else ""
        found[address.version] = SubnetSpec(subnet=str(address.network), gateway=gateway)
    return tuple(found[version] for version in sorted(found))


def _check_given(network: Network, given: Json | None) -> None:
    for ip in _ips(given or {}):
        address = ip_interface(ip["address"])
        if not any(address.network == ip_network(subnet.subnet) for subnet in network.subnets):
            stated = ", ".join(subnet.subnet for subnet in network.subnets)
            raise CniError(INVALID, f"ipam gave {address}; network {network.name} is {stated}")


def _ips(given: Json) -> list[Json]:
    if "ips" in given:
        return list(given["ips"] or [])
    return [{"address": o["ip"], "gateway": o.get("gateway")} for o in (given.get("ip4"), given.get("ip6")) if o]


# ---- one attachment ----------------------------------------------------------------------------------------------


def _attached(ledger: Ledger, host: Host, request: Request, place: tuple[Network, Json | None]) -> Json:
    network, given = place
    stale = ledger.attachment(network.name, request.container, request.ifname)
    if stale and stale[5] != "active":
        cleared(ledger, host, stale)
    row = _leased(ledger, request, network, given)
    endpoint = endpoint_of(ledger, network, row)
    try:
        _check_ports(host, endpoint.ports)
        host.attach(network, endpoint)
        ledger.activate(row[3], row[9])
    except BaseException:
        quietly(lambda: host.detach(network, endpoint))
        ledger.drop(row[3])
        raise
    plain = given is None and request.conf.get("isGateway", True) and host.kernel.firewall == "nftables"
    if plain and not ledger.recipe(network.name, request.ifname):
        ledger.keep_recipe(network.name, request.ifname, json.dumps(recipe.made(host, network, request.ifname)))
    gateways = {subnet.family: subnet.gateway for subnet in network.subnets}
    if not request.conf.get("isGateway", True) and not request.conf.get("gateway") and not given:
        gateways = dict.fromkeys(gateways, "")
    ips = [(address, gateways[6 if ":" in address else 4]) for address in endpoint.addresses]
    defaults = [(DEFAULT_ROUTE[family], gateways[family]) for family in sorted(endpoint.gateways) if gateways[family]]
    more = [tuple(each) for each in json.loads(row[9])["routes"] if each[0] not in DEFAULT_ROUTE.values()]
    made = {
        "bridge": host.driver.bridge_name(network),
        "host": f"veth{endpoint.id[:7]}",
        "ifname": request.ifname,
        "mac": endpoint.mac,
        "mtu": int(network.spec.options.get("com.docker.network.driver.mtu") or 1500),
        "netns": request.netns,
        "ips": ips,
        "routes": [*defaults, *more],
        "dns": wants.dns(request.conf),
    }
    return result(request.version, made)


def _leased(ledger: Ledger, request: Request, network: Network, given: Json | None) -> tuple[Any, ...]:
    """Addresses, MAC and ports for the attachment, as a row that says pending."""
    asked, mac = wants.address_and_mac(request.conf, os.environ.get("CNI_ARGS", ""))
    stated = {6 if ":" in each else 4: each for each in asked}
    if given is not None:
        stated = {ip_interface(ip["address"]).version: str(ip_interface(ip["address"]).ip) for ip in _ips(given)}
    routes = [(each["dst"], each.get("gw") or "") for each in (given or {}).get("routes") or []]
    id = secrets.token_hex(32)
    ledger.begin()
    try:
        addresses: dict[int, str] = {}
        for pool in json.loads(ledger.network(network.name)[2]):  # pyright: ignore[reportOptionalSubscript]
            family = pool[0]
            if family in stated:
                addresses[family] = _stated(stated[family], pool, network)
            elif given is None:
                addresses[family] = text(ledger.free_address(network.name, pool), family)
        more = json.dumps({"routes": routes, "default": _is_default(request.conf, given)})
        mac = mac or mac_of(addresses.get(4) or addresses[6])
        here = (network.name, request.container, request.ifname, id, request.netns, "pending")
        row = (*here, addresses.get(4), addresses.get(6), mac, more)
        ledger.keep(row)
        ledger.give_ports(id, wants.ports(request.conf, {4: 4 in addresses, 6: 6 in addresses}))
    except BaseException:
        ledger.end(commit=False)
        raise
    ledger.end()
    return row


def _stated(address: str, pool: list[int], network: Network) -> str:
    """The address asked for, if it is one of the subnet and not the network's own."""
    try:
        parsed = ip_address(address)
    except ValueError as error:
        raise CniError(INVALID, f"invalid address {address}: {error}") from error
    subnet = network.subnet_of(6 if parsed.version == 6 else 4)
    if subnet is None or parsed not in ip_network(subnet.subnet):
        raise CniError(INVALID, f"address {address} is not in network {network.name}")
    if int(parsed) in pool[3:]:
        raise CniError(INVALID, f"address {address} is the network's own")
    return str(parsed)


def _is_default(conf: Json, given: Json | None) -> bool:
    """Whether the default route leads through the network: an IPAM plugin has to say so, as with other plugins."""
    if given is None or conf.get("isDefaultGateway"):
        return bool(conf.get("isGateway", True) or conf.get("gateway"))
    return any(each.get("dst") in DEFAULT_ROUTE.values() for each in given.get("routes") or [])


def _check_ports(host: Host, ports: Any) -> None:
    """Nobody holds a port after we have ended: at least nobody else has it now."""
    for port in ports:
        host.kernel.hold(port.protocol, port.host_ip, port.host_port)
        host.kernel.release(port.protocol, port.host_ip, port.host_port)


def _quietly_returned(kind: str, request: Request) -> None:
    try:
        ipam.ask(kind, "DEL", request.conf)
    except CniError:
        return  # why ADD failed is what counts
