"""Puts our bridges into a zone of firewalld's, where firewalld is the host's firewall.

A packet has to be accepted by every table it meets, and firewalld rejects what comes from an interface that it has not
been told of: containers would not get out, nor reach anything on the host. Docker makes a zone of its own, and has
firewalld reload everything for it; `trusted` is there already and says the same. It decides nothing between networks
and about ports: our own rules do. Who puts a bridge into another zone by hand is obeyed. The assignment is made for
the time being, not in firewalld's files: a reload or a restart of it loses it, which shows as a change of its table,
and the watch has it made again. `firewall-cmd --zone=trusted --add-interface=BRIDGE`.

Whether firewalld is in charge of this network namespace the kernel says: its table is there. Only then is it asked
anything, so that hosts without it never notice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from netpy.diff import Change, Delete, State
from netpy.errors import KernelError, NetpyError
from netpy.kernel.dbus import Bus, text, texts
from netpy.kernel.nft.lookup import Reader
from netpy.objects import Isolate, KernelObject, Key

if TYPE_CHECKING:
    from netpy.kernel.netfilter import Backend

ZONE = "trusted"
TABLE = "firewalld"
_NAME, _PATH = "org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoned:
    """firewalld knows in which zone the bridge is; where there is no firewalld, that is so."""

    RANK: ClassVar[int] = 11
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    bridge: str
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("zone", self.netns, self.bridge)

    def describe(self) -> str:
        return f"firewalld zone {ZONE} has {self.bridge}"


class Zoning:
    """A `netpy.kernel.netfilter.Backend` and the zones of the namespace in which this is made."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._backend = backend
        self._reader = Reader()
        self._lock = threading.Lock()
        self.owned = backend.owned
        self.disturbed = backend.disturbed
        self.moor = backend.moor
        self.clean = backend.clean

    def lower(self, state: Iterable[object]) -> State:
        objects = frozenset(state)
        bridges = {obj.bridge for obj in objects if isinstance(obj, Isolate)}
        return self._backend.lower(objects) | {Zoned(bridge=bridge) for bridge in bridges}

    def handles(self, obj: KernelObject) -> bool:
        return isinstance(obj, Zoned) or self._backend.handles(obj)

    def observe(self, like: State, *, cursory: bool = False) -> State:
        zoned = frozenset(obj for obj in like if isinstance(obj, Zoned))
        rest = like - zoned
        there = zoned if cursory else self._present(zoned)
        return (self._backend.observe(rest, cursory=cursory) if rest else frozenset[KernelObject]()) | there

    def apply(self, changes: Sequence[Change]) -> None:
        zoned = [change for change in changes if change.key.kind == "zone"]
        rest = [change for change in changes if change.key.kind != "zone"]
        if rest:
            self._backend.apply(rest)
        if zoned:
            self._assign(zoned)

    def close(self) -> None:
        self._reader.close()
        self._backend.close()

    def _present(self, wanted: State) -> State:
        """Those of the bridges that are in some zone; all where firewalld is not in charge, or cannot be asked."""
        if not wanted or not self._in_charge():
            return wanted
        try:
            with Bus() as bus:
                known = set(texts(_ask(bus, "zone.getInterfaces", ZONE)))
                return frozenset(each for each in wanted if each.key.name in known or _zone_of(bus, each.key.name))
        except NetpyError as error:
            logger.warning("cannot ask firewalld for the zones of bridges: %s", error)
            return wanted

    def _assign(self, changes: Sequence[Change]) -> None:
        """A bridge that is in no zone is no reason to take back what else was done: the watch tries again."""
        if not self._in_charge():
            return
        try:
            with Bus() as bus:
                for change in changes:
                    _assign(bus, change)
        except NetpyError as error:
            logger.warning("firewalld: %s", error)

    def _in_charge(self) -> bool:
        with self._lock:
            try:
                return bool(self._reader.chains("inet", TABLE, ["filter_FORWARD"]))
            except NetpyError:  # a kernel without nf_tables
                return False


def _assign(bus: Bus, change: Change) -> None:
    if not isinstance(change, Delete):
        if not _zone_of(bus, change.key.name):
            _ask(bus, "zone.addInterface", ZONE, change.key.name)
        return
    with suppress(KernelError):  # in no zone, or in another
        _ask(bus, "zone.removeInterface", ZONE, change.key.name)


def _ask(bus: Bus, method: str, *arguments: str) -> bytes:
    return bus.call(_NAME, _PATH, f"{_NAME}.{method}", *arguments)


def _zone_of(bus: Bus, bridge: str) -> str:
    return text(_ask(bus, "zone.getZoneOfInterface", bridge))
