"""A sandbox's way from one set of plugs to another, as a value: who comes, who goes, who changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from netpy.controller.records import Plug
from netpy.model import Endpoint, PortBinding, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A sandbox's way from one set of plugs to another."""

    sandbox: Sandbox
    before: tuple[Plug, ...]
    after: tuple[Plug, ...]

    @property
    def joining(self) -> tuple[Plug, ...]:
        ids = {plug.endpoint.id for plug in self.before}
        return tuple(plug for plug in self.after if plug.endpoint.id not in ids)

    @property
    def leaving(self) -> tuple[Plug, ...]:
        ids = {plug.endpoint.id for plug in self.after}
        return tuple(plug for plug in self.before if plug.endpoint.id not in ids)

    @property
    def staying(self) -> tuple[Plug, ...]:
        """The plugs that are the same before and after, gateways and ports included."""
        known = {plug.endpoint.id: plug.endpoint for plug in self.before}
        return tuple(plug for plug in self.after if known.get(plug.endpoint.id) == plug.endpoint)

    @property
    def stale(self) -> tuple[Plug, ...]:
        """The plugs of before that go or change, as they were."""
        ids = {plug.endpoint.id for plug in self.staying}
        return tuple(plug for plug in self.before if plug.endpoint.id not in ids)

    @property
    def fresh(self) -> tuple[Plug, ...]:
        """The plugs of after that come or change, as they are to be."""
        ids = {plug.endpoint.id for plug in self.staying}
        return tuple(plug for plug in self.after if plug.endpoint.id not in ids)

    @property
    def changed(self) -> list[Endpoint]:
        """The endpoints that are new or other than before."""
        known = {plug.endpoint.id: plug.endpoint for plug in self.before}
        return [plug.endpoint for plug in self.after if known.get(plug.endpoint.id) != plug.endpoint]

    @property
    def former(self) -> list[Endpoint]:
        """The endpoints that stay but change, as they were before."""
        ids = {endpoint.id for endpoint in self.changed}
        return [plug.endpoint for plug in self.before if plug.endpoint.id in ids]

    @property
    def shifted(self) -> tuple[tuple[Plug, Plug], ...]:
        """The plugs that stay but get other gateways or ports, as they were and as they are to be."""
        known = {plug.endpoint.id: plug for plug in self.before}
        pairs = [(known[plug.endpoint.id], plug) for plug in self.after if plug.endpoint.id in known]
        return tuple((old, new) for old, new in pairs if old.endpoint != new.endpoint)


def renamed(plug: Plug, old: str, new: str) -> Plug:
    """The plug after its owner took another name."""
    spec = plug.endpoint.spec
    names = tuple(new if name == old else name for name in spec.names)
    spec = replace(spec, name=new if spec.name == old else spec.name, names=names)
    return replace(plug, endpoint=replace(plug.endpoint, spec=spec))


def asking(plug: Plug, ports: Sequence[PortBinding]) -> Plug:
    """The plug as if these ports had been asked for there."""
    spec = replace(plug.endpoint.spec, ports=tuple(ports))
    return replace(plug, endpoint=replace(plug.endpoint, spec=spec))


def lock_of(sandbox_id: str) -> str:
    """The name of a sandbox's lock (`netpy.controller.locks`)."""
    return f"sandbox {sandbox_id}"
