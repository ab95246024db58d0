"""The embedded name server, seen from the controller: what it is told, and how.

Names live in records, one per endpoint. Who may see which names is a view, one per sandbox: the networks it
is plugged into, in search order. Both are values; the server process keeps them in snapshots that are
swapped whole, so that a query never sees half a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netpy.model import Sandbox

TTL = 5  # seconds: longer than a burst of connections, shorter than anybody waits for a moved container (moby#30029)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The names of one endpoint. The first of `names` answers PTR queries; `addresses` are bare."""

    endpoint_id: str
    network_id: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one sandbox may ask.

    `networks` are (id, name) pairs, in search order; the first that knows a name answers. `links` maps an alias
    of this sandbox alone to a name. `upstreams` are asked from inside the sandbox; where there are none the
    host's own servers are asked, from the host. `external` is False where only internal networks are attached:
    then nothing is forwarded through the host. `ndots` is that of the sandbox's resolv.conf where somebody asked for
    one, else 0: where it is more, an unknown name of a single label is not forwarded, as it is no name of the world's.
    """

    sandbox_id: str
    networks: tuple[tuple[str, str], ...]
    links: Mapping[str, str] = field(default_factory=dict[str, str])
    upstreams: tuple[str, ...] = ()
    external: bool = True
    ndots: int = 0


class NameService(Protocol):
    """The controller's handle on the name server. Thread-safe; every call raises only NetpyError."""

    def open(self, sandbox: Sandbox, port: int = 0) -> int:
        """Listen on 127.0.0.11, UDP and TCP, inside the sandbox. Returns the port (a free one for 0).

        Called again for a sandbox that is already served, it returns the port in use.
        """
        ...

    def close(self, sandbox_id: str) -> None:
        """Stop listening; forget the view. Succeeds where there is nothing to stop."""
        ...

    def update(self, *, put: Iterable[Record] = (), drop: Iterable[str] = (), views: Iterable[View] = ()) -> None:
        """Add or replace records (by endpoint id) and views (by sandbox id), drop records; as one step."""
        ...

    def replace(self, records: Iterable[Record], views: Iterable[View]) -> None:
        """Forget all records and views and take these: after a restart of either side."""
        ...
