"""Looks at, makes and removes passages: our accept rules in a FORWARD chain of somebody else (`rules.Passage`).

`Native` writes into `ip filter` and `ip6 filter`, the tables of iptables-nft, rules of a form that `iptables` still
lists (interface names, a counter, a comment). `Legacy` does the same in the legacy tables through the worker, which
it does not start as long as those tables are not there. A chain that is not there needs no passage, and one in the
legacy tables that is empty and accepts neither. `Framed` are those in our own frame of the legacy tables.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence

from netpy.diff import Change, Delete
from netpy.errors import NetpyError
from netpy.firewall.iptables import prefix
from netpy.firewall.rules import MARK, Passage
from netpy.kernel.nft.lookup import Reader
from netpy.kernel.xt.client import ChainRules, TableEdits, Worker
from netpy.model import Family

_TABLE: dict[Family, str] = {4: "ip", 6: "ip6"}
_FAMILIES: tuple[Family, Family] = (4, 6)
_CHAIN, _ISOLATION = "FORWARD", Passage.ISOLATION
_NEW = "-m conntrack --ctstate NEW -m conntrack ! --ctstate DNAT"
logger = logging.getLogger(__name__)


class Native:
    """Passages in the tables of iptables-nft, of the namespace that `reader` reads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def has(self, passage: Passage) -> bool:
        """Whether all of its rules are there, or none is needed."""
        chains = self._chains(passage.family)
        if _CHAIN not in chains:
            return True
        comments = {rule.comment for rule in self._reader.rules(_TABLE[passage.family], "filter", _CHAIN)}
        return comments.issuperset(passage.needed(judged=_ISOLATION in chains))

    def commands(self, passage: Passage, *, wanted: bool) -> list[str]:
        """nft commands that remove the passage's rules and, if it is wanted, append them anew."""
        chains = self._chains(passage.family)
        if _CHAIN not in chains:
            return []
        where = f"{_TABLE[passage.family]} filter {_CHAIN}"
        rules = self._reader.rules(_TABLE[passage.family], "filter", _CHAIN)
        lines = [f"delete rule {where} handle {rule.handle}" for rule in rules if rule.comment in passage.comments]
        if wanted:
            needed = passage.needed(judged=_ISOLATION in chains)
            ways = (("iifname", f"jump {_ISOLATION}"), ("iifname", "accept"), ("oifname", "accept"))
            for (selector, verdict), comment in zip(ways, passage.comments, strict=True):
                if comment in needed:
                    lines.append(
                        f'add rule {where} {selector} "{passage.bridge}" counter {verdict} comment "{comment}"'
                    )
        return lines

    def _chains(self, family: Family) -> Container[str]:
        return self._reader.chains(_TABLE[family], "filter", [_CHAIN, _ISOLATION])


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
        """Whether all of its rules are there, or none is needed; also where the legacy tables cannot be read at all."""
        chains = self._chains(passage.family)
        if chains is None:
            return True
        return _comments(chains).issuperset(passage.needed(judged=_ISOLATION in chains))

    def apply(self, changes: Sequence[Change]) -> None:
        edits: dict[Family, TableEdits] = {}
        for change in changes:
            wanted = not isinstance(change, Delete)
            passage = change.after if wanted else change.before
            if not isinstance(passage, Passage) or "filter" not in self._worker.tables(passage.family):
                continue
            into = edits.setdefault(passage.family, TableEdits(passage.family, "filter", [], []))
            judged = _ISOLATION in (self._chains(passage.family) or ())
            into.edits.extend(_edits(passage, wanted=wanted, judged=judged))
            into.undo.extend(_edits(passage, wanted=not wanted, judged=judged))
        if edits:
            self._worker.write("", list(edits.values()))

    def owned(self) -> set[Passage]:
        return {
            Passage(where="legacy", family=family, instance=self._instance, bridge=bridge)
            for family in _FAMILIES
            for comment in _comments(self._chains(family))
            if (bridge := _bridge(comment, self._instance))
        }

    def clean(self) -> None:
        self.apply([Delete(each) for each in sorted(self.owned(), key=lambda each: each.key)])

    def close(self) -> None:
        self._worker.close()

    def _chains(self, family: Family) -> dict[str, ChainRules] | None:
        """FORWARD, and the chain that isolates Docker's networks; None where nothing there could be in the way."""
        if "filter" not in self._worker.tables(family):
            return None
        try:
            chains = self._worker.read("", [(family, "filter", [_CHAIN, _ISOLATION])])[0]
        except NetpyError as error:
            logger.warning("cannot tell whether legacy iptables lets bridges through: %s", error)
            return None
        return chains if chains[_CHAIN].rules or chains[_CHAIN].policy != "ACCEPT" else None


class Framed:
    """Those in our own frame of the legacy tables, before it accepts what comes from our bridges."""

    def __init__(self, instance: str, worker: Worker) -> None:
        self._instance = instance
        self._worker = worker
        self._chain = f"{prefix(instance)}-FROM"

    def has(self, passage: Passage) -> bool:
        """Whether its rule is there, or none is needed."""
        chains = self._chains(passage.family)
        return self._comments(chains).issuperset(passage.needed(judged=_ISOLATION in chains))

    def edits(self, changes: Sequence[Change]) -> list[TableEdits]:
        """What makes the changes."""
        found: list[TableEdits] = []
        for change in changes:
            wanted = not isinstance(change, Delete)
            passage = change.after if wanted else change.before
            if not isinstance(passage, Passage) or "filter" not in self._worker.tables(passage.family):
                continue
            judged = wanted and _ISOLATION in self._chains(passage.family)
            edits, undo = self._edits(passage, judged=judged), self._edits(passage, judged=False)
            found.append(TableEdits(passage.family, "filter", edits, undo))
        return found

    def owned(self) -> set[Passage]:
        return {
            Passage(where="frame", family=family, instance=self._instance, bridge=bridge)
            for family in _FAMILIES
            for comment in self._comments(self._chains(family))
            if (bridge := _bridge(comment, self._instance))
        }

    def _edits(self, passage: Passage, *, judged: bool) -> list[list[object]]:
        comment = passage.comments[0]
        rule = f"-i {passage.bridge} {_NEW} -j {_ISOLATION}"
        return [["hook", self._chain, rule, comment, True] if judged else ["unhook", self._chain, comment]]

    def _chains(self, family: Family) -> dict[str, ChainRules]:
        if "filter" not in self._worker.tables(family):
            return {}
        return self._worker.read("", [(family, "filter", [self._chain, _ISOLATION])])[0]

    def _comments(self, chains: dict[str, ChainRules]) -> set[str]:
        return set(chains[self._chain].comments) if self._chain in chains else set()


def _comments(chains: dict[str, ChainRules] | None) -> set[str]:
    return set(chains[_CHAIN].comments) if chains else set()


def _edits(passage: Passage, *, wanted: bool, judged: bool) -> list[list[object]]:
    removed: list[list[object]] = [["unhook", _CHAIN, comment] for comment in passage.comments]
    if not wanted:
        return removed
    ways = (f"-i {passage.bridge} -j {_ISOLATION}", f"-i {passage.bridge} -j ACCEPT", f"-o {passage.bridge} -j ACCEPT")
    needed = passage.needed(judged=judged)
    return removed + [
        ["hook", _CHAIN, rule, comment, False]
        for rule, comment in zip(ways, passage.comments, strict=True)
        if comment in needed
    ]


def _bridge(comment: str, instance: str) -> str:
    """The bridge that a passage of `instance` with this comment is for, or an empty string."""
    match comment.split(":"):
        case [mark, owner, bridge, "judged" | "in" | "out"] if (mark, owner) == (MARK, instance):
            return bridge
        case _:
            return ""
