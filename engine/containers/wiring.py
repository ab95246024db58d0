"""A container's networks while it runs: what to attach, and what that means for its files. Reads records only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from engine.containers.files import Mode, Wiring
from engine.containers.networking import is_host, shared_with
from engine.containers.parts import Parts
from engine.containers.records import Entry
from engine.model import Container
from engine.oci import capabilities
from netpy.errors import Conflict, NotFound
from netpy.model import Endpoint, EndpointSpec, Network, Sandbox


def sandbox_of(parts: Parts, container: Container) -> Sandbox:
    """The namespace that the container's networks are plugged into."""
    netns = "" if is_host(container.host_config) else str(parts.paths.netns(container.id))
    servers = tuple(container.host_config.get("Dns") or parts.host.dns)
    ndots = parts.files.ndots(container) if netns else 0
    return Sandbox(id=container.id, netns=netns, dns=servers, ndots=ndots, sealed=_is_sealed(parts, container))


def _is_sealed(parts: Parts, container: Container) -> bool:
    """Whether no process of the container has the right to change its network."""
    host_config = container.host_config
    granted = capabilities.granted(
        add=host_config.get("CapAdd") or (),
        drop=host_config.get("CapDrop") or (),
        privileged=bool(host_config.get("Privileged")),
        available=parts.host.facts.capabilities,
    )
    return "CAP_NET_ADMIN" not in granted


def requests_of(container: Container) -> list[tuple[str, EndpointSpec]]:
    """What to ask of the controller when it starts."""
    return [(attachment.network, attachment.spec) for attachment in container.attachments]


def addresses_of(endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
    """Bare addresses, in the order of the endpoints."""
    return tuple(address.partition("/")[0] for endpoint in endpoints for address in endpoint.addresses)


def mode_of(networks: Iterable[Network], answers: Callable[[Network], bool]) -> Mode:
    """Who answers name queries in a sandbox on these networks: the embedded server, where it knows any of them."""
    found = list(networks)
    if any(network.spec.driver == "host" for network in found):
        return "host"
    return "embedded" if any(answers(network) for network in found) else "bridge"


def wiring_of(parts: Parts, container: Container, endpoints: list[Endpoint]) -> Wiring:
    """What these endpoints mean for the container's files."""
    networks = [parts.controller.network(endpoint.network_id) for endpoint in endpoints]
    answers = parts.controller.answers_names
    mode: Mode = "host" if is_host(container.host_config) else mode_of(networks, answers)
    return Wiring(
        addresses=addresses_of(endpoints),
        mode=mode,
        dns=next((endpoint.dns for endpoint in endpoints if endpoint.dns), ()),
        search=tuple(dict.fromkeys(domain for endpoint in endpoints for domain in endpoint.search)),
    )


def announce(parts: Parts, container: Container, network: Network, action: str) -> None:
    """Publish that a container has been plugged in ("connect") or out ("disconnect")."""
    attributes = {"container": container.id, "name": network.name, "type": network.spec.driver}
    parts.events.publish("network", action, network.id, attributes)


def announce_all(parts: Parts, container: Container, action: str) -> None:
    """The same for all networks of a container, as it starts or ends; for those that there still are."""
    for attachment in container.attachments:
        with contextlib.suppress(NotFound):
            announce(parts, container, parts.controller.network(attachment.network), action)


def target_of(parts: Parts, container: Container) -> Entry | None:
    """The container whose network namespace this one shares; it must be running."""
    reference = shared_with(container.host_config)
    if not reference:
        return None
    target = parts.records.find(reference)
    if target.id == container.id:
        raise Conflict("cannot join own network namespace")
    if not target.container.state.running:
        raise Conflict(f"cannot join network of a non running container: {target.id}")
    return target


def check_shared_modes(parts: Parts, container: Container) -> None:
    """NotFound, Conflict when `container:` modes name containers that cannot be joined."""
    for namespace in ("IpcMode", "PidMode"):
        joined(parts, container, namespace)


def joined(parts: Parts, container: Container, key: str) -> int:
    """The process whose namespace `IpcMode` or `PidMode` asks to join, or 0."""
    mode: str = container.host_config.get(key) or ""
    if not mode.startswith("container:"):
        return 0
    target = parts.records.find(mode.removeprefix("container:"))
    if not target.container.state.running:
        raise Conflict(f"cannot join {key[:3]} namespace of a non running container: {target.id}")
    return target.container.state.pid
