"""Wanted minus found is the plan: the one idea that netpy is built on.

A `State` is a set of objects, at most one per key. `diff(found, wanted)` compares two states and returns
a `Plan`, the shortest list of changes that turns the first into the second. There are three kinds of change:

* `Create`: the key is missing.
* `Update`: the key is there, and only fields that the object declares `MUTABLE` differ.
* `Delete`: the key is there and is not wanted. An object that differs in any other field is deleted and
  created again.

Order is by rank. Removal comes first, from the highest rank down (a port is closed before its link goes),
then creation and update from the lowest rank up (isolation stands before the first packet can pass). Within a
rank, keys are sorted, so that the same input always gives the same plan, the same dry run and the same golden text.

A plan can be turned round: `plan.undo()` brings back what was there before. That is all that roll-back is.
Everything here is pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from netpy.objects import KernelObject, Key

State = frozenset[KernelObject]


@dataclass(frozen=True, slots=True)
class Create:
    """`after` is to come into being."""

    after: KernelObject

    @property
    def key(self) -> Key:
        return self.after.key


@dataclass(frozen=True, slots=True)
class Update:
    """`before` is to become `after`, in place: same key, mutable fields only."""

    before: KernelObject
    after: KernelObject

    @property
    def key(self) -> Key:
        return self.after.key


@dataclass(frozen=True, slots=True)
class Delete:
    """`before` is to go."""

    before: KernelObject

    @property
    def key(self) -> Key:
        return self.before.key


Change = Create | Update | Delete
Order = tuple[int, bool, Key]


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes, in the order in which they are to be made."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def undo(self) -> Plan:
        """The plan that takes these changes back, last one first."""
        return Plan(tuple(_reverse(change) for change in reversed(self.changes)))


def by_key(state: Iterable[KernelObject]) -> dict[Key, KernelObject]:
    """The objects by their key. Two different objects with one key are a programming error: ValueError."""
    found: dict[Key, KernelObject] = {}
    for obj in state:
        other = found.setdefault(obj.key, obj)
        if other is not obj and other != obj:
            raise ValueError(f"two objects with one key {obj.key}: {other} and {obj}")
    return found


def diff(found: Iterable[KernelObject], wanted: Iterable[KernelObject]) -> Plan:
    """The changes that turn the state `found` into the state `wanted`."""
    before, after = by_key(found), by_key(wanted)
    deletes: list[tuple[Order, Change]] = []
    makes: list[tuple[Order, Change]] = []
    for key, obj in before.items():
        if key not in after or _must_replace(obj, after[key]):
            deletes.append((_order(obj, key), Delete(obj)))
    for key, obj in after.items():
        old = before.get(key)
        if old is None or _must_replace(old, obj):
            makes.append((_order(obj, key), Create(obj)))
        elif old is not obj and old != obj:
            makes.append((_order(obj, key), Update(old, obj)))
    deletes.sort(key=_when, reverse=True)
    makes.sort(key=_when)
    return Plan(tuple(change for _, change in (*deletes, *makes)))


def _order(obj: KernelObject, key: Key) -> Order:
    """When to make it: by rank; among routes, those on-link before those through a next hop, which may need them."""
    return obj.RANK, bool(getattr(obj, "via", "")), key


def _when(entry: tuple[Order, Change]) -> Order:
    return entry[0]


def apply(plan: Plan, state: Iterable[KernelObject]) -> State:
    """The state after the plan, as a value. The meaning of a plan, which every kernel has to match."""
    objects = by_key(state)
    for change in plan:
        match change:
            case Create(after) | Update(_, after):
                objects[after.key] = after
            case Delete(before):
                objects.pop(before.key, None)
    return frozenset(objects.values())


def _reverse(change: Change) -> Change:
    match change:
        case Create(after):
            return Delete(after)
        case Update(before, after):
            return Update(after, before)
        case Delete(before):
            return Create(before)


def _must_replace(old: KernelObject, new: KernelObject) -> bool:
    if type(old) is not type(new):
        return True
    return old is not new and old != new and any(getattr(old, name) != getattr(new, name) for name in _fixed(type(old)))


@cache
def _fixed(kind: type[KernelObject]) -> tuple[str, ...]:
    """The fields that cannot be changed in place."""
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    return tuple(field.name for field in fields if field.name not in kind.MUTABLE)
