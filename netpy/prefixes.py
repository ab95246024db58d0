"""A set of CIDR prefixes that says at once what overlaps it, however many there are. Pure.

Kept as spans of neighbouring addresses, per family, in two sorted lists: a thousand subnets given out one after the
other are one span. Adding, removing and asking cost a binary search; so does stepping over what is taken.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

Prefix = IPv4Network | IPv6Network
Span = tuple[int, int]  # first and last address, as numbers


class _Spans:
    """Disjoint spans that do not touch, in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Cover these addresses; what they overlap or touch becomes one span with them."""
        low, high = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high], self._lasts[low:high] = [first], [last]

    def remove(self, first: int, last: int) -> None:
        """Uncover these addresses, which lie in one span."""
        place = bisect_left(self._lasts, first)
        whole = (self._firsts[place], self._lasts[place])
        left = [(whole[0], first - 1)] if whole[0] < first else []
        right = [(last + 1, whole[1])] if last < whole[1] else []
        rest = [*left, *right]
        self._firsts[place : place + 1] = [span[0] for span in rest]
        self._lasts[place : place + 1] = [span[1] for span in rest]

    def last_of(self, first: int, last: int) -> int | None:
        """The last address of the last span that overlaps these addresses; None when none does."""
        place = bisect_right(self._firsts, last) - 1
        return self._lasts[place] if place >= 0 and self._lasts[place] >= first else None


class Prefixes:
    """Prefixes, some of them perhaps more than once or inside of others. Not thread-safe."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._spans = {4: _Spans(), 6: _Spans()}
        self._nested = False
        for text in texts:
            self.add(text)

    def __contains__(self, text: object) -> bool:
        """Whether this very prefix is one of them, in its canonical form."""
        return text in self._counts

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def add(self, text: str) -> None:
        """One more. ValueError when it is no prefix."""
        prefix = ip_network(text)
        self._nested = self._nested or self.overlaps(prefix)
        self._counts[str(prefix)] += 1
        self._spans[prefix.version].add(*_span(prefix))

    def discard(self, text: str) -> None:
        """One less; succeeds when it is none of them."""
        prefix = ip_network(text)
        key = str(prefix)
        if key not in self._counts:
            return
        self._counts[key] -= 1
        if self._counts[key] > 0:
            return
        del self._counts[key]
        if self._nested:
            self._rebuild()
        else:
            self._spans[prefix.version].remove(*_span(prefix))

    def overlaps(self, prefix: Prefix) -> bool:
        """Whether it has an address in common with any of them."""
        return self._spans[prefix.version].last_of(*_span(prefix)) is not None

    def taken_until(self, version: int, first: int, last: int) -> int | None:
        """Of what overlaps the addresses from `first` to `last`, the very last address; None where nothing does."""
        return self._spans[version].last_of(first, last)

    def _rebuild(self) -> None:
        """The spans anew: with one prefix inside another, what was taken away may still be covered."""
        kept, self._counts, self._nested = self._counts, Counter(), False
        self._spans = {4: _Spans(), 6: _Spans()}
        for text, count in kept.items():
            for _ in range(count):
                self.add(text)


def _span(prefix: Prefix) -> Span:
    return int(prefix.network_address), int(prefix.broadcast_address)
