"""The containers that exist: by id, by name, by prefix. The database holds them; this is their copy in memory.

Every change goes to the database first, so that a crash at any moment leaves a record of what was begun. A record is an
immutable value; an Entry is the place where the present one stands, with the lock under which it is replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from engine import lifecycle
from engine.containers import naming
from engine.model import Container, Json, State
from netpy.errors import InvalidArgument, NotFound
from netpy.store import Store, decode, encode, encode_fields

KIND = "container"


read: Callable[[Json], Container] = partial(decode, Container)
"""A container's record, read."""


@dataclass(slots=True, eq=False)
class Entry:
    """A container's place. `lock` is held while its state is changed, never while somebody is waited for.

    `released` is whether this daemon has given back all that its last run held, so that nobody need look again.
    """

    container: Container
    lock: threading.RLock = field(default_factory=threading.RLock)
    released: bool = False

    @property
    def id(self) -> str:
        return self.container.id


class Records:
    """All containers. Thread-safe; an entry's record is replaced only by the holder of its lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        for identity, container in store.load(KIND, read):
            self._entries[identity] = Entry(container)
            self._names[container.name] = identity

    def add(self, container: Container) -> Entry:
        """Record a new container. Conflict, in Docker's words, when its name is taken."""
        entry = Entry(container)
        with self._lock:
            self._claim(container.name, container.id)
            self._entries[container.id] = entry
        try:
            self._store.put(KIND, container.id, encode(container))
        except BaseException:
            self._forget(container)
            raise
        return entry

    def find(self, reference: str) -> Entry:
        """By id, name, or unique prefix of an id. NotFound("No such container: x")."""
        with self._lock:
            found = self._entries.get(reference) or self._entries.get(self._names.get(reference.lstrip("/"), ""))
            if found is not None:
                return found
            matches = [e for i, e in self._entries.items() if reference and i.startswith(reference)]
        if not matches:
            raise NotFound(f"No such container: {reference}")
        if len(matches) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {reference}")
        return matches[0]

    def entries(self) -> list[Entry]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._entries.values())

    def mounting(self, volume: str) -> list[str]:
        """The ids of containers, running or not, that mount a volume."""
        return [e.id for e in self.entries() if any(p.get("Name") == volume for p in e.container.mounts)]

    def exists(self, entry: Entry) -> bool:
        """Whether the container has not been removed meanwhile."""
        with self._lock:
            return self._entries.get(entry.id) is entry

    def is_free(self, name: str) -> bool:
        """Whether no container has that name."""
        with self._lock:
            return name not in self._names

    def owner(self, name: str) -> str:
        """The id of the container of that name, or an empty string."""
        with self._lock:
            return self._names.get(name, "")

    def change(self, entry: Entry, **changes: Any) -> Container:
        """Replace fields of the record. No others are written: its documents may be long, and it changes often."""
        container = replace(entry.container, **changes)
        if not self._store.set(KIND, container.id, encode_fields(changes)):
            self._store.put(KIND, container.id, encode(container))
        entry.container = container
        return container

    def change_state(self, entry: Entry, event: lifecycle.Event | None = None, **changes: Any) -> Container:
        """Replace fields of the state; with an event, move along the table of `lifecycle` as well."""
        state: State = entry.container.state
        if event is not None:
            changes["status"] = lifecycle.step(state.status, event, entry.id)
        return self.change(entry, state=replace(state, **changes))

    def rename(self, entry: Entry, new: str, **changes: Any) -> None:
        """Give a container another name. Conflict when it is taken."""
        old = entry.container.name
        with self._lock:
            self._claim(new, entry.id)
        try:
            self.change(entry, name=new, **changes)
        except BaseException:
            with self._lock:
                del self._names[new]
            raise
        with self._lock:
            del self._names[old]

    def drop(self, entry: Entry) -> None:
        """Forget a container that is no more."""
        self._store.delete(KIND, entry.id)
        self._forget(entry.container)

    def _claim(self, name: str, identity: str) -> None:
        owner = self._names.get(name)
        if owner is not None:
            raise naming.taken(name, owner)
        self._names[name] = identity

    def _forget(self, container: Container) -> None:
        with self._lock:
            self._entries.pop(container.id, None)
            if self._names.get(container.name) == container.id:
                del self._names[container.name]


def require(entry: Entry, event: lifecycle.Event) -> None:
    """Conflict, in Docker's words, when `event` is not allowed now."""
    lifecycle.step(entry.container.state.status, event, entry.id)
