"""Our tables of nf_tables in the host's namespace and in sandboxes': looks at them, and changes them in transactions.

Writing goes in one transaction per namespace and batch, packed by hand (`netpy.kernel.nft.batch`) or through
libnftables; looking goes by key through a socket of our own (`netpy.kernel.nft.lookup`), so that neither ever reads a
table back. Costs do not depend on how many ports are published.

Drift. A look at a table, unless it is cursory, goes over its chains and where they are hooked, its sets and their key
lengths, and the tag of every rule, in order (about 0.3 ms, since the elements are not read). So a flushed chain, a
deleted or an added rule shows, by name, as `Ruleset.fault`. Only a rule replaced by another one that bears the same
comment does not.

One session stays open in the namespace in which this is made, under a lock; a sandbox's gets one for the moment.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from netpy.diff import Change, Create, Delete, State, Update
from netpy.errors import KernelError, NotFound
from netpy.firewall import nft, sources
from netpy.firewall.rules import Element, Opening, Passage, Ruleset, inner
from netpy.kernel import passages
from netpy.kernel.netns import run_in
from netpy.kernel.nft import batch, script, shape
from netpy.kernel.nft.library import Context, Refused, has_bridges
from netpy.kernel.nft.lookup import Reader
from netpy.objects import KernelObject
from netpy.threads import aside

T = TypeVar("T")
_OPENINGS = ("allow", "bind", "port")
logger = logging.getLogger(__name__)


class Session:
    """A reader and two writers in one namespace: the one in which this is made."""

    def __init__(self) -> None:
        self.reader = Reader()
        self._writer: socket.socket | None = None
        self._context: Context | None = None

    @property
    def writer(self) -> socket.socket:
        """For batches packed by hand: opened, in the namespace of the calling thread, when it is first asked for."""
        if self._writer is None:
            self._writer = batch.opened()
        return self._writer

    @property
    def context(self) -> Context:
        """libnftables: made, in the namespace of the calling thread, when it is first asked for."""
        if self._context is None:
            self._context = Context()
        return self._context

    def leave(self) -> None:
        """Close without waiting: after a deletion that takes the kernel 5 to 15 ms, until nobody reads what is gone."""
        aside(self.close, "nft-session")

    def close(self) -> None:
        self.reader.close()
        if self._writer is not None:
            self._writer.close()
        if self._context is not None:
            self._context.close()

    def run(self, commands: Sequence[str]) -> None:
        """The commands, in one transaction."""
        if commands:
            self.context.run(commands)


class Tables:
    """`Ruleset`s, what stands in them, and passages through iptables-nft. Thread-safe.

    `inet`: the tables `inet INSTANCE` are ours as well, not only those for bridges.
    """

    def __init__(self, instance: str, *, inet: bool) -> None:
        self._instance = instance
        self._lock = threading.Lock()
        self._host = Session()
        with contextlib.ExitStack() as undo:
            undo.callback(self._host.close)
            self._writers = self._host.context, self._host.writer  # opened here: threads that use them may be elsewhere
            undo.pop_all()
        self.bridged = has_bridges(self._host.context)
        if not self.bridged:
            logger.warning("the kernel has no nftables for bridges: containers' IP addresses are not checked there")
        inet_table = (nft.ruleset(instance),) if inet else ()
        self._static = (*inet_table, *((sources.ruleset(instance),) if self.bridged else ()))

    def close(self) -> None:
        with self._lock:
            self._host.close()

    def standing(self, like: State) -> State:
        """What of `like` was made with a network, when our tables are there at all. Containers do not touch it."""

        def all_there(session: Session) -> bool:
            return all(shape.is_there(session.reader, table) for table in self._static)

        return frozenset(filter(_is_standing, like)) if self._inside("", all_there) else frozenset()

    def observe(self, like: State) -> State:
        """What there is under the keys of `like`."""
        found: set[KernelObject] = set()
        for path, group in _by_netns(like):
            with contextlib.suppress(NotFound):  # what a namespace held is gone with it
                found |= self._inside(path, lambda session, wanted=group: self._look(session, wanted))
        return frozenset(found)

    def owned(self) -> set[KernelObject]:
        """All there is of our instance in the host's namespace, by a dump."""
        return self._inside("", self._everything)

    def change(self, path: str, changes: Sequence[Change]) -> None:
        """All the changes, which are of one namespace, or none. One transaction."""
        deletes = all(isinstance(change, Delete) for change in changes)
        self._inside(path, lambda session: self._change(session, changes), leave=deletes)

    def clean(self, *, family: str = "") -> None:
        """Remove our tables, but for a user's chain that holds rules, and passages; or only the table of one family."""
        for table in self._static:
            if table.family == (family or table.family):
                self._inside("", lambda session, each=table: session.run(shape.removal(session.reader, each)))
        if not family:
            self._inside("", lambda session: session.run(passages.cleaning(session.reader, self._instance)))

    def _inside(self, path: str, work: Callable[[Session], T], *, leave: bool = False) -> T:
        if not path:
            with self._lock:
                return work(self._host)

        def visit() -> T:
            with contextlib.ExitStack() as closing:
                session = Session()
                closing.callback(session.leave if leave else session.close)
                return work(session)

        return run_in(path, visit)

    def _look(self, session: Session, wanted: Sequence[KernelObject]) -> set[KernelObject]:
        found: set[KernelObject] = set()
        elements: dict[tuple[str, str], list[Element | Opening]] = defaultdict(list)
        for obj in wanted:
            match inner(obj):
                case Ruleset() as table:
                    seen = shape.observe(session.reader, table)
                    found |= {seen} if seen else set()
                case Element() as element:
                    elements[element.family, element.container].append(obj)  # pyright: ignore[reportArgumentType]
                case Passage() as passage:
                    found |= {passage} if passages.Native(session.reader).has(passage) else set()
                case _:
                    raise KernelError(f"not an object of nf_tables: {obj}")
        for group in elements.values():
            found.update(_present(session.reader, group))
        return found

    def _everything(self, session: Session) -> set[KernelObject]:
        found: set[KernelObject] = set(passages.owned(session.reader, self._instance))
        for base in self._static:
            table = shape.observe(session.reader, base)
            found |= {table} if table else set()
            for container in base.sets if table else ():
                for fields, value in (
                    () if container.dynamic else session.reader.dump(base.family, base.table, container)
                ):
                    family = "bridge" if base.family == "bridge" else "inet"
                    element = Element(
                        family=family, table=base.table, container=container.name, fields=fields, value=value
                    )
                    opens = family == "inet" and container.name[:-1] in _OPENINGS
                    found.add(Opening(of=element) if opens else element)
        return found

    def _change(self, session: Session, changes: Sequence[Change]) -> None:
        _transact(session, changes)
        for change in changes:
            if isinstance(change, Delete) and isinstance(change.before, Ruleset):
                _retire(session, change.before)


def _transact(session: Session, changes: Sequence[Change]) -> None:
    """One transaction. Refused, it is tried once more without what is there, or gone, already."""
    try:
        steps = script.packed(session.reader, changes)
        if steps is None:
            session.run(script.commands(session.reader, changes))
        elif steps:
            batch.send(session.writer, steps)
    except Refused as error:
        settled = list(_unsettled(session.reader, changes))
        if settled == list(changes) and not any(isinstance(inner(_object(each)), Ruleset) for each in changes):
            raise KernelError(f"nftables refused: {error}") from error
        try:
            session.run(script.commands(session.reader, settled))
        except Refused as second:
            raise KernelError(f"nftables refused: {second}") from second


def _unsettled(reader: Reader, changes: Sequence[Change]) -> Iterator[Change]:
    """The changes that are still to be made, in terms of the elements that are really there."""
    for change in changes:
        obj = _object(change)
        if not isinstance(inner(obj), Element):
            yield change
            continue
        there = next(_present(reader, [obj]), None)  # pyright: ignore[reportArgumentType]
        match change:
            case Delete():
                if there is not None:
                    yield Delete(there)
            case Create(after) | Update(_, after):
                if there is None:
                    yield Create(after)
                elif there != after:
                    yield Update(there, after)


def _present(reader: Reader, group: Sequence[Element | Opening]) -> Iterator[Element | Opening]:
    """Those of these elements of one set that are there, with the values that they have."""
    wanted = [script.element(obj) for obj in group]
    first, keys = wanted[0], [element.fields for element in wanted]
    container = nft.table_of(first).set_named(first.container)
    answers = reader.values(first.family, first.table, container, keys)
    for obj, answer in zip(group, answers, strict=True):
        if answer is not None:
            yield script.with_value(obj, answer[1])


def _retire(session: Session, table: Ruleset) -> None:
    """Remove a table that several share, if none of them is left."""
    if table.anchor and not session.reader.dump(table.family, table.table, table.set_named(table.anchor)):
        session.run(shape.removal(session.reader, table))


def _object(change: Change) -> KernelObject:
    return change.before if isinstance(change, Delete) else change.after


def _is_standing(obj: KernelObject) -> bool:
    """Whether it was made with a network: the tables, a network's elements, its passages."""
    if isinstance(obj, Element):
        return obj.family == "inet" or obj.container == "bridges"
    return isinstance(obj, Passage) or (isinstance(obj, Ruleset) and bool(obj.anchor))


def _by_netns(state: State) -> list[tuple[str, list[KernelObject]]]:
    groups: dict[str, list[KernelObject]] = defaultdict(list)
    for obj in state:
        groups[obj.key.netns].append(obj)
    return list(groups.items())
