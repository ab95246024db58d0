"""Who is called what, and who may know: the snapshot of records and views, and the walk through it.

A `Snapshot` is a value. A change gives another one that shares all but the few entries concerned (see `table`),
so that plugging one container in costs the number of its names, however large the network is, and so that
"has anything changed?" is one identity test. The walk is Docker's: the links of the asking sandbox, then the names,
network after network in the sandbox's order; the first network that knows the name answers, nothing is merged.
`name.network` is tried by splitting at the rightmost dot first. Case is ignored, ASCII only, as DNS does.

Pure: decides what a name stands for; how that is said on the wire is `wire`'s and `resolver`'s. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from netpy.dns import Record, View
from netpy.dns.table import Table
from netpy.errors import InvalidArgument
from netpy.model import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One endpoint behind a name: its addresses in wire form, and the name that answers for them in reverse."""

    endpoint_id: str
    name: str
    v4: tuple[bytes, ...]
    v6: tuple[bytes, ...]

    def addresses(self, family: Family) -> tuple[bytes, ...]:
        return self.v4 if family == 4 else self.v6


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name stands for. `key` (network id and folded name) is the same for all who ask the same thing."""

    key: tuple[str, str]
    backends: tuple[Backend, ...]


_Names = Table[tuple[str, str], tuple[Backend, ...]]
_Pointers = Table[tuple[str, bytes], tuple[Backend, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All records and views at one moment. Change it with `changed`; build it afresh with `snapshot`."""

    records: Table[str, Record] = field(default_factory=Table[str, Record])
    views: Table[str, View] = field(default_factory=Table[str, View])
    names: _Names = field(default_factory=Table[tuple[str, str], tuple[Backend, ...]])
    pointers: _Pointers = field(default_factory=Table[tuple[str, bytes], tuple[Backend, ...]])

    def changed(
        self,
        *,
        put: Iterable[Record] = (),
        drop: Iterable[str] = (),
        views: Iterable[View] = (),
        forget: Iterable[str] = (),
    ) -> Snapshot:
        """The snapshot after dropping and putting records (by endpoint id) and views (by sandbox id).

        Raises InvalidArgument for an address that is none; nothing is changed then.
        """
        result = self
        for endpoint_id in drop:
            result = _without(result, endpoint_id)
        for record in put:
            result = _with(_without(result, record.endpoint_id), record)
        seen = result.views
        for sandbox_id in forget:
            seen = seen.without(sandbox_id)
        for view in views:
            seen = seen.with_(view.sandbox_id, folded_view(view))
        return replace(result, views=seen)

    def find(self, view: View, name: str) -> Found | None:
        """What `name` (folded, no trailing dot) means to the sandbox of `view`; None where it means nothing."""
        for candidate, networks in _readings(view, name):
            target = view.links.get(candidate)
            for alias in (candidate,) if target is None else (fold(target), candidate):
                for network_id, _ in networks:
                    backends = self.names.get((network_id, alias))
                    if backends:
                        return Found(key=(network_id, alias), backends=backends)
        return None

    def reverse(self, view: View, address: bytes) -> tuple[str, ...]:
        """`name.network` of every endpoint with that address in the first network of the view that has it."""
        for network_id, network_name in view.networks:
            backends = self.pointers.get((network_id, address))
            if backends:
                return tuple(f"{backend.name}.{network_name}" for backend in backends)
        return ()


def snapshot(records: Iterable[Record], views: Iterable[View]) -> Snapshot:
    """A snapshot of exactly these, in time linear in their number. Raises InvalidArgument as `changed` does."""
    kept = {record.endpoint_id: record for record in records}
    names: dict[tuple[str, str], list[Backend]] = {}
    pointers: dict[tuple[str, bytes], list[Backend]] = {}
    for record in kept.values():
        backend = _backend(record)
        for key in _name_keys(record):
            names.setdefault(key, []).append(backend)
        for pointer in _pointer_keys(record, backend):
            pointers.setdefault(pointer, []).append(backend)
    return Snapshot(
        records=Table(kept),
        views=Table({view.sandbox_id: view for view in map(folded_view, views)}),
        names=Table({key: tuple(group) for key, group in names.items()}),
        pointers=Table({key: tuple(group) for key, group in pointers.items()}),
    )


class Replacement:
    """All that there is to be, taken in by parts.

    A daemon that comes back tells us mostly what we know. So what is put in force in the end are the differences, which
    are found while the parts come, between two of which others have their turn: names go on being answered.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record | None] = {}  # None where we know it already
        self._views: dict[str, View | None] = {}

    def take(self, live: Snapshot, records: Iterable[Record], views: Iterable[View]) -> None:
        """One more part; `live` is the snapshot in force. Raises InvalidArgument for an address that is none."""
        for record in records:
            if live.records.get(record.endpoint_id) == record:
                self._records[record.endpoint_id] = None
            else:
                _backend(record)  # a bad address is to be told of now
                self._records[record.endpoint_id] = record
        for view in map(folded_view, views):
            self._views[view.sandbox_id] = None if live.views.get(view.sandbox_id) == view else view

    def onto(self, live: Snapshot) -> Snapshot:
        """The snapshot of all that was taken; `live` itself where nothing differs."""
        put = [record for record in self._records.values() if record]
        views = [view for view in self._views.values() if view]
        if not (len(live.records) or len(live.views)):
            return snapshot(put, views)
        drop = [id for id in live.records if id not in self._records]
        forget = [id for id in live.views if id not in self._views]
        if not (put or views or drop or forget):
            return live
        return live.changed(put=put, drop=drop, views=views, forget=forget)


def folded_view(view: View) -> View:
    """The view with the aliases of its links folded, as `find` looks them up."""
    return replace(view, links={fold(alias): name for alias, name in view.links.items()})


def fold(name: str) -> str:
    """The form in which names are compared: ASCII lower case, without the trailing dot."""
    return name.encode("utf-8", "surrogateescape").lower().decode("utf-8", "surrogateescape").removesuffix(".")


def _readings(view: View, name: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """The ways to read a name: whole, in every network; then `name.network`, split at the rightmost dot first."""
    yield name, view.networks
    head, dot, tail = name.rpartition(".")
    while dot:
        yield head, tuple(network for network in view.networks if fold(network[1]) == tail)
        head, dot, more = head.rpartition(".")
        tail = f"{more}.{tail}"


def _backend(record: Record) -> Backend:
    packed: list[bytes] = []
    for address in record.addresses:
        try:
            packed.append(ip_address(address).packed)
        except ValueError:
            raise InvalidArgument(f"record of endpoint {record.endpoint_id}: {address!r} is not an address") from None
    return Backend(
        endpoint_id=record.endpoint_id,
        name=record.names[0].removesuffix(".") if record.names else "",
        v4=tuple(dict.fromkeys(address for address in packed if len(address) == 4)),
        v6=tuple(dict.fromkeys(address for address in packed if len(address) == 16)),
    )


def _name_keys(record: Record) -> list[tuple[str, str]]:
    folded = dict.fromkeys(map(fold, record.names))
    return [(record.network_id, name) for name in folded if name]


def _pointer_keys(record: Record, backend: Backend) -> list[tuple[str, bytes]]:
    return [(record.network_id, address) for address in backend.v4 + backend.v6] if backend.name else []


def _with(base: Snapshot, record: Record) -> Snapshot:
    backend = _backend(record)
    names, pointers = base.names, base.pointers
    for key in _name_keys(record):
        names = names.with_(key, (*(names.get(key) or ()), backend))
    for pointer in _pointer_keys(record, backend):
        pointers = pointers.with_(pointer, (*(pointers.get(pointer) or ()), backend))
    records = base.records.with_(record.endpoint_id, record)
    return replace(base, records=records, names=names, pointers=pointers)


def _without(base: Snapshot, endpoint_id: str) -> Snapshot:
    record = base.records.get(endpoint_id)
    if record is None:
        return base
    names, pointers = base.names, base.pointers
    for key in _name_keys(record):
        left = tuple(backend for backend in names.get(key) or () if backend.endpoint_id != endpoint_id)
        names = names.with_(key, left) if left else names.without(key)
    for pointer in _pointer_keys(record, _backend(record)):
        left = tuple(backend for backend in pointers.get(pointer) or () if backend.endpoint_id != endpoint_id)
        pointers = pointers.with_(pointer, left) if left else pointers.without(pointer)
    return replace(base, records=base.records.without(endpoint_id), names=names, pointers=pointers)
