"""The iptables backend: carries out what `netpy.firewall.iptables` compiles, and looks at what is there, through the
worker.

A look reads only the chains that are asked for and those that hold their hooks; rules are compared by their tags. A
change replaces whole chains; all tables of one batch are edited together and committed one after the other, and if
one is refused those before it are taken back. The kernel copies a whole table at each commit, so here, unlike with
nftables, the nth port costs more than the first.

What x_tables have no hook for, what passes from port to port of a bridge (`netpy.firewall.sources`), stands in a
table of nf_tables here as well, and where the host also runs iptables-nft with a FORWARD chain of its own, our
bridges get a passage there: both if libnftables is installed. Without it passages count as present.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

from netpy.diff import Change, Delete, Plan, State
from netpy.errors import NetpyError, NotFound
from netpy.firewall import iptables
from netpy.firewall.rules import Chain, Element, Opening, Passage, Ruleset, Skeleton, inner
from netpy.kernel import passages
from netpy.kernel.nft import library
from netpy.kernel.nft.tables import Tables
from netpy.kernel.xt import edits
from netpy.kernel.xt.client import ChainRules, Wanted, Worker
from netpy.kernel.xt.edits import TABLES
from netpy.model import Family
from netpy.objects import KernelObject

FAMILIES: tuple[Family, Family] = (4, 6)
_OPENINGS = "ABP"
_BRIDGED = (Passage, Ruleset, Element)
_EMPTY = ChainRules("", ())
Seen = dict[tuple[Family, str], dict[str, ChainRules]]
logger = logging.getLogger(__name__)


class Xtables:
    """`netpy.kernel.netfilter.Backend` on legacy x_tables."""

    name = "iptables"

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._prefix = iptables.prefix(instance)
        self._lock = threading.Lock()
        self._worker = Worker()
        self._framed = passages.Framed(instance, self._worker)
        self._tables = Tables(instance, inet=False) if library.installed() else None
        frames = [each for each in iptables.skeleton(instance, 4).frames if each.open and not each.user]
        self._rooms = {table: [each.name for each in frames if each.table == table] for table in TABLES}

    def lower(self, state: Iterable[object]) -> State:
        return iptables.lower(self._instance, state, bridged=self._tables is not None and self._tables.bridged)

    def handles(self, obj: KernelObject) -> bool:
        return isinstance(obj, Skeleton | Chain | Opening | Passage | Ruleset | Element)

    def observe(self, like: State, *, cursory: bool = False) -> State:
        groups: dict[str, list[KernelObject]] = defaultdict(list)
        found: set[KernelObject] = set()
        with self._lock:
            if cursory and self._frame_is_there():
                found |= self._standing(like)
            for obj in like - found:
                groups[obj.key.netns].append(obj)
            for path, group in groups.items():
                with contextlib.suppress(NotFound):  # what a namespace held is gone with it
                    found |= self._look(path, group)
        return frozenset(found)

    def owned(self) -> State:
        with self._lock:
            found: set[KernelObject] = self._tables.owned() if self._tables else set()
            found |= self._framed.owned()
            for family in FAMILIES:
                if self._worker.tables(family):
                    found |= self._everything(family)
        return frozenset(found)

    def apply(self, changes: Sequence[Change]) -> None:
        made: list[Change] = []
        with self._lock:
            for path, group in groupby(sorted(changes, key=_netns), key=_netns):
                part = list(group)
                try:
                    self._change(path, part)
                except NotFound:
                    if not all(isinstance(change, Delete) for change in part):
                        self._take_back(made)
                        raise
                except NetpyError:
                    self._take_back(made)
                    raise
                made += part

    def clean(self) -> None:
        self.clean_own()
        if self._tables:
            self._tables.clean()

    def clean_own(self) -> None:
        """Remove what only this backend makes: chains in the legacy tables."""
        with self._lock:
            for family in FAMILIES:
                if self._worker.tables(family):
                    chains = [each for each in self._everything(family) if not isinstance(each, Skeleton)]
                    passing = [each for each in self._framed.owned() if each.family == family]
                    self._change("", [Delete(each) for each in (*chains, *passing)])
                    self._retire("", iptables.skeleton(self._instance, family))

    def disturbed(self) -> bool:
        return self._worker.disturbed()

    def moor(self) -> None:
        """A legacy table that was there once goes on tracking and translating without a rule in it."""

    def close(self) -> None:
        self._worker.close()
        if self._tables:
            self._tables.close()

    def _standing(self, like: State) -> set[KernelObject]:
        """What was made with a network: chains that open nothing, and what of nf_tables is of that kind."""
        ours: set[KernelObject] = {
            obj for obj in like if (isinstance(obj, Skeleton | Chain) and not obj.key.netns) or _is_framed(obj)
        }
        return ours | (self._tables.standing(like - ours) if self._tables else set())

    def _frame_is_there(self) -> bool:
        """Whether the chain is there that networks hang their rules into; a look into one table instead of six."""
        name = f"{self._prefix}-FORWARD"
        return "filter" in self._worker.tables(4) and bool(self._worker.read("", [(4, "filter", [name])])[0])

    def _look(self, path: str, wanted: Sequence[KernelObject]) -> set[KernelObject]:
        framed = {obj for obj in wanted if _is_framed(obj)}
        bridged = frozenset(obj for obj in wanted if isinstance(obj, _BRIDGED)) - framed
        found: set[KernelObject] = set(self._tables.observe(bridged) if self._tables else bridged)
        found |= {obj for obj in framed if isinstance(obj, Passage) and self._framed.has(obj)}
        ours = [obj for obj in wanted if not isinstance(obj, _BRIDGED)]
        seen = self._read(path, ours)
        for obj in ours:
            match inner(obj):
                case Skeleton() as frame:
                    there = edits.skeleton_seen(frame, seen)
                    found |= {there} if there else set()
                case Chain() as chain:
                    real = edits.chain_seen(chain, seen[chain.family, chain.table])
                    if real:
                        found.add(Opening(of=real) if isinstance(obj, Opening) else real)
                case _:
                    raise TypeError(f"not an object of the iptables backend: {obj}")
        return found

    def _read(self, path: str, objects: Iterable[KernelObject]) -> Seen:
        names: dict[tuple[Family, str], set[str]] = defaultdict(set)
        for obj in objects:
            match inner(obj):
                case Skeleton() as frame:
                    for each in frame.frames:
                        names[frame.family, each.table].add(each.name)
                    for table, hook in frame.hooks:
                        names[frame.family, table].add(hook.parent)
                case Chain() as chain:
                    hooks = (hook.parent for hook in chain.hooks)
                    names[chain.family, chain.table] |= {chain.name, *hooks, *self._rooms[chain.table]}
                case _:
                    pass
        if not names:
            return {}
        wanted: list[Wanted] = [(family, table, sorted(chains)) for (family, table), chains in names.items()]
        return dict(zip(names, self._worker.read(path, wanted), strict=True))

    def _everything(self, family: Family) -> set[KernelObject]:
        wanted: list[Wanted] = [(family, table, None) for table in TABLES]
        tables = dict(zip(TABLES, self._worker.read("", wanted), strict=True))
        frame = iptables.skeleton(self._instance, family)
        there = edits.skeleton_seen(frame, {(family, table): chains for table, chains in tables.items()})
        found: set[KernelObject] = {there} if there else set()
        for table, chains in tables.items():
            for name, rules in chains.items():
                letter = re.fullmatch(rf"{re.escape(self._prefix)}-([A-Z])-[0-9a-f]{{10}}", name)
                if not letter:
                    continue
                hooks = [c for each in chains.values() for c in each.comments if c.endswith(f":{name}")]
                tags = (*rules.comments, *sorted(hooks))
                chain = Chain(family=family, table=table, name=name, tags=tags)
                found.add(Opening(of=chain) if letter[1] in _OPENINGS else chain)
        return found

    def _change(self, path: str, changes: Sequence[Change]) -> None:
        framed = [change for change in changes if _is_framed(_object(change))]
        bridged = [change for change in changes if isinstance(_object(change), _BRIDGED) and change not in framed]
        ours = [change for change in changes if not isinstance(_object(change), _BRIDGED)]
        wanted = edits.table_edits(ours, self._rooms)
        if wanted:
            self._worker.write(path, wanted)
        try:
            if framed:
                self._pass(path, framed)
            if bridged and self._tables:
                self._tables.change(path, bridged)
        except NetpyError:
            self._pass(path, list(Plan(tuple(framed)).undo()))
            undo = edits.table_edits(list(Plan(tuple(ours)).undo()), self._rooms)
            if undo:
                self._worker.write(path, undo)
            raise
        for change in ours:
            if isinstance(change, Delete) and isinstance(change.before, Skeleton):
                self._retire(path, change.before)

    def _pass(self, path: str, changes: Sequence[Change]) -> None:
        for each in self._framed.edits(changes):
            self._worker.write(path, [each])

    def _retire(self, path: str, frame: Skeleton) -> None:
        """Remove the static chains, if none of those that networks share holds a rule any more."""
        seen = self._read(path, [frame])
        shared = [each for each in frame.frames if each.open and not each.user]
        if any(seen[frame.family, each.table].get(each.name, _EMPTY).rules for each in shared):
            return
        users = [each for each in frame.frames if each.user]
        kept = {each.name for each in users if seen[frame.family, each.table].get(each.name, _EMPTY).rules}
        self._worker.write(path, edits.dismantling(frame, kept))

    def _take_back(self, made: Sequence[Change]) -> None:
        try:
            for path, group in groupby(Plan(tuple(made)).undo(), key=_netns):
                self._change(path, list(group))
        except NetpyError as error:
            logger.warning("cannot take back firewall changes after a failure: %s", error)


def in_use() -> bool:
    """Whether somebody else has rules in the legacy tables of this namespace; without tables no worker starts."""
    worker = Worker()
    try:
        wanted: list[Wanted] = [(family, table, None) for family in FAMILIES for table in worker.tables(family)]
        chains = [chain for table in worker.read("", wanted) for chain in table.values()] if wanted else []
        return any(not comment.startswith("netpy:") for chain in chains for comment in chain.comments)
    except NetpyError as error:
        logger.warning("cannot tell whether legacy iptables is in use: %s", error)
        return False
    finally:
        worker.close()


def _netns(change: Change) -> str:
    return change.key.netns


def _is_framed(obj: object) -> bool:
    return isinstance(obj, Passage) and obj.where == "frame"


def _object(change: Change) -> KernelObject:
    return change.before if isinstance(change, Delete) else change.after
