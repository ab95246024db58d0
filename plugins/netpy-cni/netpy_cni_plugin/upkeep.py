"""GC and STATUS: what is left behind is removed, and whether an ADD would succeed is said as it is.

GC works alone. It goes over the attachments that the runtime does not name, whatever became of their processes and
namespaces, then over whatever bears our mark in the kernel and belongs to nobody; a network without attachments goes
from the kernel as well. It goes on after a failure. I/O: the store, the kernel, an IPAM plugin.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from netpy.errors import NetpyError
from netpy.kernel.nft import library
from netpy.model import Endpoint, Network
from netpy_cni_plugin import ipam, settings
from netpy_cni_plugin.host import Host, endpoint_of, network_of
from netpy_cni_plugin.ledger import Ledger
from netpy_cni_plugin.protocol import ENVIRONMENT, INVALID, LEFT, LIMITED, UNAVAILABLE, CniError, Request
from netpy_cni_plugin.verbs import cleared

_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")


def collect(request: Request, ledger: Ledger) -> None:
    """Remove every attachment of the network that is not named as valid, and everything that is nobody's."""
    named = next((request.conf[key] for key in _KEYS if key in request.conf), None)
    if named is not None and not isinstance(named, list):
        raise CniError(INVALID, f"{_KEYS[0]} is no list")
    ledger.hold(exclusive=True)
    host = Host(ledger)
    errors = _stale_removed(ledger, host, request.network, named) if named is not None else []  # pyright: ignore
    known = ledger.network(request.network)
    if known and not ledger.count(request.network):
        left = host.lower_network(network_of(known[1]))
        errors += map(str, left)
        if not left:
            ledger.drop_network(request.network)
    errors += map(str, host.sweep(_everything(ledger)))
    host.close()
    kind = settings.delegated(request.conf)
    if kind:
        errors += _forwarded(kind, request)
    if errors:
        raise CniError(LEFT, f"{len(errors)} things could not be removed: {errors[0]}", "\n".join(errors))


def _stale_removed(ledger: Ledger, host: Host, network: str, named: list[dict[str, str]]) -> list[str]:
    valid = {(each.get("containerID"), each.get("ifname")) for each in named}
    stale = [row for row in ledger.attachments(network) if (row[1], row[2]) not in valid]
    return [error for row in stale for error in cleared(ledger, host, row)]


def status(request: Request, ledger: Ledger) -> None:
    """CniError 50 when an ADD could not succeed, 51 when those that are attached may be cut off as well."""
    try:
        ledger.probe()
        host = Host(ledger)
        if host.kernel.firewall == "nftables":
            library.probe()
    except (CniError, NetpyError) as error:
        raise CniError(UNAVAILABLE, f"netpy-cni is not available: {error}", getattr(error, "details", "")) from error
    try:
        _network_status(request, ledger, host)
    finally:
        host.close()
    kind = settings.delegated(request.conf)
    if kind:
        for error in _told(kind, "STATUS", request):
            raise error


def _network_status(request: Request, ledger: Ledger, host: Host) -> None:
    known = ledger.network(request.network)
    if known is None:
        if not settings.delegated(request.conf):
            taken = [subnet.subnet for _, record in ledger.networks() for subnet in network_of(record).subnets]
            try:
                host.drafted(settings.spec(request.conf), secrets.token_hex(32), taken)
            except NetpyError as error:
                raise CniError(UNAVAILABLE, f"network {request.network} cannot be made: {error}") from error
        return
    users = ledger.count(request.network)
    if users and not host.has(network_of(known[1])):
        message = f"network {request.network} is damaged: its {users} attachments may be cut off"
        raise CniError(LIMITED, message, "the next ADD mends it")
    for family, first, last, *taken in json.loads(known[2]):
        free = last - first + 1 - len([each for each in taken if first <= each <= last]) - users
        if free <= 0 and not settings.delegated(request.conf):
            raise CniError(UNAVAILABLE, f"network {request.network} has no free IPv{family} address: {users} are given")


def _everything(ledger: Ledger) -> list[tuple[Network, Sequence[Endpoint]]]:
    found: list[tuple[Network, Sequence[Endpoint]]] = []
    for name, record in ledger.networks():
        network = network_of(record)
        found.append((network, [endpoint_of(ledger, network, row) for row in ledger.attachments(name)]))
    return found


def _forwarded(kind: str, request: Request) -> list[str]:
    return [f"{error}: {error.details}" if error.details else str(error) for error in _told(kind, "GC", request)]


def _told(kind: str, verb: str, request: Request) -> list[CniError]:
    """The IPAM plugin's error, if any. One that is older than the verb says that it does not know it: that is none."""
    try:
        ipam.ask(kind, verb, request.conf)
    except CniError as error:
        return [] if error.code == ENVIRONMENT else [error]
    return []
