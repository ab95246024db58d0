"""Which networks want which objects and which link names: so that one network is never compared with all others.

A claim is made when a network's state is worked out, and ends when the network is forgotten. What several claim stays
when one of them goes. No I/O. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable

from netpy.diff import State
from netpy.objects import Bridge, Device, Key


class Claims:
    """Claims of networks, known by their ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, frozenset[Key]] = {}
        self._names: dict[str, dict[str, str]] = {}
        self._count: Counter[Key] = Counter()
        self._claimants: dict[str, set[str]] = defaultdict(set)

    def put(self, id: str, lowered: State) -> None:
        """This is what the network wants, whatever it wanted before."""
        keys, names = frozenset(obj.key for obj in lowered), link_kinds(lowered)
        with self._lock:
            self._drop(id)
            self._keys[id], self._names[id] = keys, names
            self._count.update(keys)
            for name in names:
                self._claimants[name].add(id)

    def drop(self, id: str) -> None:
        """The network is gone; nothing happens when it was not known."""
        with self._lock:
            self._drop(id)

    def shared(self, id: str) -> frozenset[Key]:
        """Those of its objects that another network wants as well."""
        with self._lock:
            return frozenset(key for key in self._keys.get(id, ()) if self._count[key] > 1)

    def other(self, id: str, names: Iterable[str]) -> tuple[str, str]:
        """The first of these link names that another network has, and the id of that network; both empty if none."""
        with self._lock:
            for name in sorted(names):
                if others := self._claimants.get(name, set()) - {id}:
                    return name, min(others)
        return "", ""

    def _drop(self, id: str) -> None:
        for key in self._keys.pop(id, ()):
            self._count[key] -= 1
            if not self._count[key]:
                del self._count[key]
        for name in self._names.pop(id, ()):
            self._claimants[name].discard(id)
            if not self._claimants[name]:
                del self._claimants[name]


def link_kinds(state: State) -> dict[str, str]:
    """The kinds of a network's own links, by name."""
    return {obj.name: obj.key.kind for obj in state if isinstance(obj, Bridge | Device)}
