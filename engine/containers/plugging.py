"""Plugging a container into networks and out of them, while it runs, before, and after.

What a container is to be plugged into stands in its record; the controller knows only of running ones. A network that
is added to a running container is attached first and recorded last, and one that is taken away the other way round:
what a crash leaves half done is what is attached and not recorded, and `settle` takes that away.
"""

from __future__ import annotations

from dataclasses import replace

from engine.containers import networking, wiring
from engine.containers.parts import Parts
from engine.containers.records import Entry
from engine.containers.release import each
from engine.model import Attachment, Container, Json
from netpy.errors import InvalidArgument, KernelError, NotFound
from netpy.model import Endpoint, EndpointSpec, Network, Sandbox


def connect(parts: Parts, entry: Entry, reference: str, settings: Json) -> None:
    """Plug it in. Equivalent: `docker network connect`. The caller holds the entry's lock."""
    network = parts.controller.network(reference)
    attachment = _checked(entry.container, network, settings)
    container = entry.container
    _reserve(parts, container, attachment)
    try:
        endpoints = _attach(parts, container, attachment)
    except BaseException:
        _unreserve(parts, container, network)
        raise
    if endpoints:
        all_endpoints = parts.controller.endpoints(sandbox_id=container.id)
        wired = wiring.wiring_of(parts, container, all_endpoints)
        parts.files.plugged(container, wired, wiring.addresses_of(endpoints))
    parts.records.change(entry, attachments=(*container.attachments, attachment))
    wiring.announce(parts, container, network, "connect")


def settle(parts: Parts, entry: Entry) -> None:
    """After a crash, of a running container: nothing is plugged in that its record does not say; its files follow."""
    container = entry.container
    wanted = {attachment.network for attachment in container.attachments}
    endpoints = parts.controller.endpoints(sandbox_id=container.id)
    live = [(endpoint, parts.controller.network(endpoint.network_id).name) for endpoint in endpoints]
    for endpoint, network in live:
        if network not in wanted:
            parts.controller.detach(container.id, endpoint.network_id)
        elif endpoint.spec.name != container.name:
            parts.controller.rename(container.id, endpoint.spec.name, container.name)
    settle_reservations(parts, container)
    rest = [endpoint for endpoint, network in live if network in wanted]
    if rest and not networking.is_host(container.host_config):
        parts.files.settle(container, wiring.wiring_of(parts, container, rest))


def settle_reservations(parts: Parts, container: Container) -> None:
    """No address is kept for it but in networks that its record names."""
    wanted = {attachment.network for attachment in container.attachments}
    for network in parts.controller.reservations(container.id):
        if network.name not in wanted:
            parts.controller.unreserve(container.id, network.id)


def plan_connect(
    parts: Parts, entry: Entry, reference: str, settings: Json
) -> tuple[Sandbox, list[tuple[str, EndpointSpec]]]:
    """What connecting would ask of the controller."""
    network = parts.controller.network(reference)
    attachment = _checked(entry.container, network, settings)
    return wiring.sandbox_of(parts, entry.container), [(network.id, attachment.spec)]


def disconnect(parts: Parts, entry: Entry, reference: str, *, force: bool) -> None:
    """Unplug it. By force, whatever is left of a connection is taken away. Equivalent: `docker network disconnect`."""
    network = parts.controller.network(reference)
    container = entry.container
    networking.check_disconnect(container, network)
    remaining = tuple(a for a in container.attachments if a.network != network.name)
    live = _live(parts, container, network)
    if len(remaining) == len(container.attachments) and not (force and live):
        article = "" if container.state.running else "the "
        raise InvalidArgument(f"container {container.id} is not connected to {article}network {network.name}")
    parts.records.change(entry, attachments=remaining)
    failures = each(
        f"container {container.id[:12]}",
        ("detaching it", lambda: parts.controller.detach(container.id, network.id) if live else None),
        ("giving back its address", lambda: _unreserve(parts, container, network)),
    )
    if live and container.state.running:
        rest = parts.controller.endpoints(sandbox_id=container.id)
        wired = wiring.wiring_of(parts, entry.container, rest)
        parts.files.unplugged(entry.container, wired, wiring.addresses_of(live))
    wiring.announce(parts, container, network, "disconnect")
    if failures and not force:
        raise KernelError(f"disconnecting container {container.id} from network {network.name}: {'; '.join(failures)}")


def disconnect_missing(parts: Parts, reference: str, container_ref: str) -> None:
    """`disconnect --force` of a container that is no more: take away the endpoint that bears its name or id."""
    network = parts.controller.network(reference)
    for endpoint in parts.controller.endpoints(network_id=network.id):
        if endpoint.spec.name == container_ref or endpoint.sandbox.id.startswith(container_ref):
            parts.controller.detach(endpoint.sandbox.id, network.id)
            return
    raise NotFound(f"No such container: {container_ref}")


def rename(parts: Parts, entry: Entry, new: str) -> None:
    """Another name for a container; its names in DNS follow. The caller holds the entry's lock."""
    container = entry.container
    owner = replace(networking.owner_of(container), name=new)
    attachments = tuple(networking.renamed(attachment, owner) for attachment in container.attachments)
    old = container.name
    parts.records.rename(entry, new, attachments=attachments)
    if not container.state.running:
        return
    try:
        parts.controller.rename(container.id, old, new)
    except BaseException:
        parts.records.rename(entry, old, attachments=container.attachments)
        raise


def _checked(container: Container, network: Network, settings: Json) -> Attachment:
    networking.check_connect(container, network)
    return networking.attachment(networking.owner_of(container), network, settings)


def _attach(parts: Parts, container: Container, attachment: Attachment) -> list[Endpoint]:
    if not container.state.running:
        return []
    sandbox = wiring.sandbox_of(parts, container)
    return parts.controller.attach(sandbox, [(attachment.network, attachment.spec)])


def _reserve(parts: Parts, container: Container, attachment: Attachment) -> None:
    if attachment.spec.addresses:
        parts.controller.reserve(attachment.network, container.id, attachment.spec.addresses)


def _unreserve(parts: Parts, container: Container, network: Network) -> None:
    parts.controller.unreserve(container.id, network.id)


def _live(parts: Parts, container: Container, network: Network) -> list[Endpoint]:
    return [e for e in parts.controller.endpoints(sandbox_id=container.id) if e.network_id == network.id]
