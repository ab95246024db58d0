"""What a source of news tells: a value, to be added up until somebody looks. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """`links` of ours that something happened to, and those `inside` of whose sandbox something did.

    `rules`: rules or settings changed, or nobody knows what did; then the links say nothing of what to look at.
    """

    rules: bool = False
    links: frozenset[str] = _NOTHING
    inside: frozenset[str] = _NOTHING

    def __or__(self, other: News) -> News:
        return News(rules=self.rules or other.rules, links=self.links | other.links, inside=self.inside | other.inside)

    def __bool__(self) -> bool:
        return self.rules or bool(self.links) or bool(self.inside)
