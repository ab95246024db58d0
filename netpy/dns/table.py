"""A mapping that never changes: to change it is to make another, which shares nearly all with the first.

A hash trie. Leaves are dicts of at most `_LEAF` entries, inner nodes are tuples of `_FANOUT` children chosen by
successive bits of the key's hash. A change copies one leaf and the inner nodes above it: about 50 pointers for
a hundred entries and 100 for a hundred thousand, where copying a dict would cost all of them. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")

_LEAF = 32
_FANOUT = 32
_BITS = 5
_HASH_BITS = 60  # below this many bits are consumed, entries are still told apart; beyond, a leaf just grows

_Node = tuple["_Node[K, V]", ...] | dict[K, V]


class Table(Generic[K, V]):
    """An immutable mapping. `with_` and `without` return the changed one; this one stays as it is."""

    __slots__ = ("_root", "_size")

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._size = len(items) if items else 0
        self._root: _Node[K, V] = _grown(dict(items) if items else {}, 0)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        stack = [self._root]
        while stack:
            node = stack.pop()
            if isinstance(node, tuple):
                stack.extend(node)
            else:
                yield from node

    def get(self, key: K) -> V | None:
        """The value, or None where there is none."""
        bits = hash(key)
        node = self._root
        while isinstance(node, tuple):
            node = node[bits % _FANOUT]
            bits >>= _BITS
        return node.get(key)

    def with_(self, key: K, value: V) -> Table[K, V]:
        return self._made(_put(self._root, 0, key, value), self._size + (self.get(key) is None))

    def without(self, key: K) -> Table[K, V]:
        """Drops the key; where it is not there, the same table."""
        if self.get(key) is None:
            return self
        return self._made(_dropped(self._root, 0, key), self._size - 1)

    @staticmethod
    def _made(root: _Node[K, V], size: int) -> Table[K, V]:
        made = cast("Table[K, V]", object.__new__(Table))
        made._root = root
        made._size = size
        return made


def _slot(key: object, depth: int) -> int:
    return (hash(key) >> depth) % _FANOUT


def _grown(leaf: dict[K, V], depth: int) -> _Node[K, V]:
    """`leaf` as it is, or split into an inner node where it has become too large."""
    if len(leaf) <= _LEAF or depth >= _HASH_BITS:
        return leaf
    parts: list[dict[K, V]] = [{} for _ in range(_FANOUT)]
    for key, value in leaf.items():
        parts[_slot(key, depth)][key] = value
    return tuple(_grown(part, depth + _BITS) for part in parts)


def _put(node: _Node[K, V], depth: int, key: K, value: V) -> _Node[K, V]:
    if isinstance(node, dict):
        return _grown({**node, key: value}, depth)
    slot = _slot(key, depth)
    return (*node[:slot], _put(node[slot], depth + _BITS, key, value), *node[slot + 1 :])


def _dropped(node: _Node[K, V], depth: int, key: K) -> _Node[K, V]:
    if isinstance(node, dict):
        return {k: v for k, v in node.items() if k != key}
    slot = _slot(key, depth)
    return (*node[:slot], _dropped(node[slot], depth + _BITS, key), *node[slot + 1 :])
