"""Looks at, makes and removes passages: our accept rules in a FORWARD chain of somebody else (`rules.Passage`).

`Native` writes into `ip filter` and `ip6 filter`, the tables of iptables-nft, rules of a form that `iptables` still
lists (interface names, a counter, a comment). `Legacy` does the same in the legacy tables through the worker, which
it does not start as long as those tables are not there. A chain that is not there needs no passage, and one in the
legacy tables that is empty and accepts neither.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netpy.diff import Change, Delete
from netpy.errors import NetpyError
from netpy.firewall.rules import MARK, Passage
from netpy.kernel.nft.lookup import Reader
from netpy.kernel.xt.client import TableEdits, Worker
from netpy.model import Family

_TABLE: dict[Family, str] = {4: "ip", 6: "ip6"}
_FAMILIES: tuple[Family, Family] = (4, 6)
_CHAIN = "FORWARD"
logger = logging.getLogger(__name__)


class Native:
    """Passages in the tables of iptables-nft, of the namespace that `reader` reads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def has(self, passage: Passage) -> bool:
        """Whether both rules are there, or none is needed."""
        if not self._chain_exists(passage.family):
            return True
        comments = {rule.comment for rule in self._reader.rules(_TABLE[passage.family], "filter", _CHAIN)}
        return comments.issuperset(passage.comments)

    def commands(self, passage: Passage, *, wanted: bool) -> list[str]:
        """nft commands that remove the passage's rules and, if it is wanted, append them anew."""
        if not self._chain_exists(passage.family):
            return []
        where = f"{_TABLE[passage.family]} filter {_CHAIN}"
        rules = self._reader.rules(_TABLE[passage.family], "filter", _CHAIN)
        lines = [f"delete rule {where} handle {rule.handle}" for rule in rules if rule.comment in passage.comments]
        if wanted:
            for selector, comment in zip(("iifname", "oifname"), passage.comments, strict=True):
                lines.append(f'add rule {where} {selector} "{passage.bridge}" counter accept comment "{comment}"')
        return lines

    def _chain_exists(self, family: Family) -> bool:
        return bool(self._reader.chains(_TABLE[family], "filter", [_CHAIN]))


def owned(reader: Reader, instance: str) -> set[Passage]:
    """Every passage of an instance in the tables of iptables-nft."""
    found: set[Passage] = set()
    for family in _FAMILIES:
        for rule in reader.rules(_TABLE[family], "filter", _CHAIN):
            bridge = _bridge(rule.comment, instance)
            if bridge:
                found.add(Passage(where="nft", family=family, instance=instance, bridge=bridge))
    return found


def cleaning(reader: Reader, instance: str) -> list[str]:
    """nft commands that remove every passage of an instance."""
    native = Native(reader)
    passages = sorted(owned(reader, instance), key=lambda each: each.key)
    return [line for passage in passages for line in native.commands(passage, wanted=False)]


class Legacy:
    """Passages in the legacy tables of the namespace in which this is made."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._worker = Worker()
        self.disturbed = self._worker.disturbed

    def has(self, passage: Passage) -> bool:
        """Whether both rules are there, or none is needed; also where the legacy tables cannot be read at all."""
        comments = self._comments(passage.family)
        return comments is None or comments.issuperset(passage.comments)

    def apply(self, changes: Sequence[Change]) -> None:
        edits: dict[Family, TableEdits] = {}
        for change in changes:
            wanted = not isinstance(change, Delete)
            passage = change.after if wanted else change.before
            if not isinstance(passage, Passage) or "filter" not in self._worker.tables(passage.family):
                continue
            into = edits.setdefault(passage.family, TableEdits(passage.family, "filter", [], []))
            into.edits.extend(_edits(passage, wanted=wanted))
            into.undo.extend(_edits(passage, wanted=not wanted))
        if edits:
            self._worker.write("", list(edits.values()))

    def owned(self) -> set[Passage]:
        return {
            Passage(where="legacy", family=family, instance=self._instance, bridge=bridge)
            for family in _FAMILIES
            for comment in self._comments(family) or ()
            if (bridge := _bridge(comment, self._instance))
        }

    def clean(self) -> None:
        self.apply([Delete(each) for each in sorted(self.owned(), key=lambda each: each.key)])

    def close(self) -> None:
        self._worker.close()

    def _comments(self, family: Family) -> set[str] | None:
        """The comments in FORWARD, or None where nothing there could be in the way."""
        if "filter" not in self._worker.tables(family):
            return None
        try:
            chain = self._worker.read("", [(family, "filter", [_CHAIN])])[0][_CHAIN]
        except NetpyError as error:
            logger.warning("cannot tell whether legacy iptables lets bridges through: %s", error)
            return None
        return set(chain.comments) if chain.rules or chain.policy != "ACCEPT" else None


def _edits(passage: Passage, *, wanted: bool) -> list[list[object]]:
    inward, outward = passage.comments
    if not wanted:
        return [["unhook", _CHAIN, inward], ["unhook", _CHAIN, outward]]
    return [
        ["hook", _CHAIN, f"-i {passage.bridge} -j ACCEPT", inward, False],
        ["hook", _CHAIN, f"-o {passage.bridge} -j ACCEPT", outward, False],
    ]


def _bridge(comment: str, instance: str) -> str:
    """The bridge that a passage of `instance` with this comment is for, or an empty string."""
    match comment.split(":"):
        case [mark, owner, bridge, "in" | "out"] if (mark, owner) == (MARK, instance):
            return bridge
        case _:
            return ""
