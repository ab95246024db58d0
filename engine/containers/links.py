"""Links on the default bridge (`--link NAME:ALIAS`), which has no name server: lines of /etc/hosts and an environment.

On networks of the user's own a link is an alias that the name server knows, and nothing here applies. `linked` reads
records; the rest is pure. Docker gives the variables of a linked container from what it exposes and from its own
environment, under the alias in capitals: `DB_PORT=tcp://172.17.0.2:5432`, `DB_PORT_5432_TCP_ADDR`, `DB_ENV_PASSWORD`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from engine.containers import ports
from engine.containers.documents import items
from engine.containers.parts import Parts
from engine.model import Container, Json
from netpy.errors import Conflict, NotFound

_NOT_TOLD = ("HOME", "PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A running container under another name, with the address that it has on its first network."""

    alias: str
    target: Container
    address: str


def linked(parts: Parts, container: Container) -> list[Link]:
    """The containers that this one is linked to. NotFound, Conflict when one is not there or does not run."""
    if container.host_config.get("NetworkMode") != "bridge":
        return []
    found: list[Link] = []
    for name, alias in asked(container.host_config):
        try:
            target = parts.records.find(name).container
        except NotFound:
            raise NotFound(f"could not get container for {name}") from None
        if not target.state.running:
            raise Conflict(f"Cannot link to a non running container: /{target.name} AS /{container.name}/{alias}")
        addresses = [a for e in parts.controller.endpoints(sandbox_id=target.id) for a in e.addresses]
        if addresses:
            found.append(Link(alias=alias, target=target, address=addresses[0].partition("/")[0]))
    return found


def asked(host_config: Json) -> list[tuple[str, str]]:
    """What `Links` of the host configuration says: a container's reference, and the alias it is known by here.

    Clients write `db`, `db:alias`, or what inspect shows: `/db:/web/alias`.
    """
    found: list[tuple[str, str]] = []
    for text in items(host_config, "Links"):
        name, _, alias = str(text).lstrip("/").partition(":")
        found.append((name, alias.rpartition("/")[2] or name))
    return found


def remove(parts: Parts, reference: str) -> None:
    """Forget the link `PARENT/ALIAS`; what a running parent already knows of it, it keeps until it starts again.

    NotFound("No such container: x/y"), Conflict for a container's own name.
    """
    parent, slash, alias = reference.strip("/").rpartition("/")
    if not slash:
        parts.records.find(reference)
        raise Conflict("Conflict, cannot remove the default link name of the container")
    try:
        entry = parts.records.find(parent)
    except NotFound:
        raise NotFound(f"No such container: {reference}") from None
    with entry.lock:
        known = asked(entry.container.host_config)
        left = [f"{name}:{other}" for name, other in known if other != alias]
        if len(left) == len(known):
            raise NotFound(f"No such container: {reference}")
        parts.records.change(entry, host_config=entry.container.host_config | {"Links": left or None})


def host_lines(links: Iterable[Link]) -> tuple[str, ...]:
    """Lines of /etc/hosts."""
    lines: list[str] = []
    for link in links:
        names = dict.fromkeys([link.alias, link.target.config["Hostname"], link.target.name])
        lines.append(f"{link.address}\t{' '.join(names)}")
    return tuple(lines)


def informed(container: Container, links: Iterable[Link]) -> Container:
    """The container with the variables of its links in its environment, where it has none of that name itself."""
    own = items(container.config, "Env")
    known = {str(entry).partition("=")[0] for entry in own}
    told = [entry for link in links for entry in _environment(container, link)]
    fresh = [entry for entry in told if entry.partition("=")[0] not in known]
    return replace(container, config=container.config | {"Env": [*own, *fresh]}) if fresh else container


def _environment(container: Container, link: Link) -> Iterator[str]:
    prefix = link.alias.upper().replace("-", "_")
    exposed = sorted(ports.exposed(link.target.config), key=lambda p: (p.protocol != "tcp", p.container_port))
    for number, port in enumerate(exposed):
        protocol = port.protocol
        url = f"{protocol}://{link.address}:{port.container_port}"
        name = f"{prefix}_PORT_{port.container_port}_{protocol.upper()}"
        if number == 0:
            yield f"{prefix}_PORT={url}"
        yield f"{name}={url}"
        yield f"{name}_ADDR={link.address}"
        yield f"{name}_PORT={port.container_port}"
        yield f"{name}_PROTO={protocol}"
    yield f"{prefix}_NAME=/{container.name}/{link.alias}"
    for entry in items(link.target.config, "Env"):
        key, equals, value = str(entry).partition("=")
        if equals and key not in _NOT_TOLD:
            yield f"{prefix}_ENV_{key}={value}"
