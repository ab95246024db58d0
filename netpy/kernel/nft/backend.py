"""The nftables backend: carries out what `netpy.firewall.nft` compiles, and looks at what is there.

Writing goes through libnftables, in one transaction per namespace and batch; looking goes by key through a socket of
our own (`netpy.kernel.nft.lookup`), so that neither ever reads the table back. Costs do not depend on how many ports
are published.

Drift. A look at the table, unless it is cursory, goes over its chains and where they are hooked, its sets and their key
lengths, and the tag of every rule, in order (about 0.3 ms, since the elements are not read). So a flushed chain, a
deleted or an added rule shows, by name, as `Ruleset.fault`. Only a rule replaced by another one that bears the same
comment does not.

The daemon keeps one session open in its own namespace, under a lock; a container's namespace gets one for the moment.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from netpy.diff import Change, Create, Delete, Plan, State, Update
from netpy.errors import KernelError, NetpyError, NotFound
from netpy.firewall import nft
from netpy.firewall.rules import Element, Opening, Passage, Ruleset, inner
from netpy.kernel import passages
from netpy.kernel.netns import run_in
from netpy.kernel.nft import batch, script, shape
from netpy.kernel.nft.library import Context, Refused
from netpy.kernel.nft.lookup import Reader
from netpy.kernel.nft.mooring import Mooring
from netpy.objects import KernelObject

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

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def leave(self) -> None:
        """Close without waiting: after a deletion that takes the kernel 5 to 15 ms, until nobody reads what is gone."""
        threading.Thread(target=self.close, name="nft-session", daemon=True).start()

    def close(self) -> None:
        self.reader.close()
        if self._writer is not None:
            self._writer.close()
        if self._context is not None:
            self._context.close()


class Nftables:
    """`netpy.kernel.netfilter.Backend` on nf_tables. The table is `inet INSTANCE`."""

    name = "nftables"

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._base = nft.ruleset(instance)
        self._lock = threading.Lock()
        self._host = Session()
        with contextlib.ExitStack() as undo:
            undo.callback(self._host.close)
            self._host.context, self._host.writer  # noqa: B018 - used from threads that may be elsewhere
            undo.pop_all()
        self._legacy = passages.Legacy(instance)
        self._mooring: Mooring | None = None

    def lower(self, state: Iterable[object]) -> State:
        return nft.lower(self._instance, state)

    def handles(self, obj: KernelObject) -> bool:
        return isinstance(obj, Ruleset | Element | Opening | Passage)

    def observe(self, like: State, *, cursory: bool = False) -> State:
        found: set[KernelObject] = set()
        if cursory and self._inside("", lambda session: shape.is_there(session.reader, self._base)):
            found |= {obj for obj in like if _is_standing(obj)}
        for path, group in _by_netns(like - found):
            with contextlib.suppress(NotFound):  # what a namespace held is gone with it
                found |= self._inside(path, lambda session, wanted=group: self._look(session, wanted))
        return frozenset(found)

    def owned(self) -> State:
        return frozenset(self._inside("", self._everything))

    def apply(self, changes: Sequence[Change]) -> None:
        made: list[Change] = []
        groups = groupby(sorted(changes, key=_netns), key=_netns)
        for path, group in [(path, tuple(group)) for path, group in groups]:
            try:
                deletes = all(isinstance(change, Delete) for change in group)
                self._inside(path, lambda session, part=group: self._change(session, part), leave=deletes)
            except NotFound:
                if not all(isinstance(change, Delete) for change in group):
                    self._take_back(made)
                    raise
            except NetpyError:
                self._take_back(made)
                raise
            made += group

    def clean(self) -> None:
        self.clean_own()
        self._inside("", lambda session: _run(session, passages.cleaning(session.reader, self._instance)))

    def clean_own(self) -> None:
        """Remove what only this backend makes: the table, and passages in the legacy tables."""
        self._legacy.clean()
        self._inside("", lambda session: _run(session, shape.removal(session.reader, self._base)))

    def disturbed(self) -> bool:
        return self._legacy.disturbed()

    def moor(self) -> None:
        self._mooring = self._mooring or Mooring(f"{self._instance}-keep")

    def close(self) -> None:
        if self._mooring is not None:
            self._mooring.close()
        with self._lock:
            self._host.close()
        self._legacy.close()

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
                    elements[element.table, element.container].append(obj)  # pyright: ignore[reportArgumentType]
                case Passage() as passage:
                    there = (self._legacy if passage.where == "legacy" else passages.Native(session.reader)).has(
                        passage
                    )
                    found |= {passage} if there else set()
                case _:
                    raise KernelError(f"not an object of the nftables backend: {obj}")
        for (_, container), group in elements.items():
            found.update(self._present(session.reader, container, group))
        return found

    def _present(
        self, reader: Reader, container: str, group: Sequence[Element | Opening]
    ) -> Iterator[Element | Opening]:
        wanted = [script.element(obj) for obj in group]
        keys = [element.fields for element in wanted]
        answers = reader.values("inet", wanted[0].table, self._base.set_named(container), keys)
        for obj, answer in zip(group, answers, strict=True):
            if answer is not None:
                yield script.with_value(obj, answer[1])

    def _everything(self, session: Session) -> set[KernelObject]:
        table = shape.observe(session.reader, self._base)
        found: set[KernelObject] = {table} if table else set()
        for container in self._base.sets if table else ():
            for fields, value in session.reader.dump("inet", self._base.table, container):
                element = Element(table=self._base.table, container=container.name, fields=fields, value=value)
                opens = container.name[:-1] in _OPENINGS
                found.add(Opening(of=element) if opens else element)
        found |= passages.owned(session.reader, self._instance)
        found |= self._legacy.owned()
        return found

    def _change(self, session: Session, changes: Sequence[Change]) -> None:
        legacy = [change for change in changes if _is_legacy(change)]
        ours = [change for change in changes if not _is_legacy(change)]
        if legacy:
            self._legacy.apply(legacy)
        try:
            self._transact(session, ours)
        except NetpyError:
            if legacy:
                self._legacy.apply(list(Plan(tuple(legacy)).undo()))
            raise
        for change in ours:
            if isinstance(change, Delete) and isinstance(change.before, Ruleset):
                self._retire(session, change.before)

    def _transact(self, session: Session, changes: Sequence[Change]) -> None:
        """One transaction. Refused, it is tried once more without what is there, or gone, already."""
        try:
            steps = script.packed(session.reader, changes, self._base)
            if steps is None:
                _run(session, script.commands(session.reader, changes, self._base))
            elif steps:
                batch.send(session.writer, steps)
        except Refused as error:
            settled = list(self._unsettled(session.reader, changes))
            if settled == list(changes) and not any(isinstance(inner(_object(each)), Ruleset) for each in changes):
                raise KernelError(f"nftables refused: {error}") from error
            again = script.commands(session.reader, settled, self._base)
            try:
                _run(session, again)
            except Refused as second:
                raise KernelError(f"nftables refused: {second}") from second

    def _unsettled(self, reader: Reader, changes: Sequence[Change]) -> Iterator[Change]:
        """The changes that are still to be made, in terms of the elements that are really there."""
        for change in changes:
            obj = _object(change)
            if not isinstance(inner(obj), Element):
                yield change
                continue
            there = next(self._present(reader, script.element(obj).container, [obj]), None)  # pyright: ignore[reportArgumentType]
            match change:
                case Delete():
                    if there is not None:
                        yield Delete(there)
                case Create(after) | Update(_, after):
                    if there is None:
                        yield Create(after)
                    elif there != after:
                        yield Update(there, after)

    def _retire(self, session: Session, table: Ruleset) -> None:
        """Remove a table that several share, if none of them is left."""
        if table.anchor and not session.reader.dump(table.family, table.table, table.set_named(table.anchor)):
            _run(session, shape.removal(session.reader, table))

    def _take_back(self, made: Sequence[Change]) -> None:
        try:
            for path, group in groupby(Plan(tuple(made)).undo(), key=_netns):
                self._inside(path, lambda session, part=tuple(group): self._change(session, part))
        except NetpyError as error:
            logger.warning("cannot take back firewall changes after a failure: %s", error)


def _run(session: Session, commands: Sequence[str]) -> None:
    if commands:
        session.context.run(commands)


def _is_standing(obj: KernelObject) -> bool:
    """Whether it was made with a network: the table, a network's elements, its passages. Containers do not touch it."""
    return isinstance(obj, Element | Passage) or (isinstance(obj, Ruleset) and bool(obj.anchor))


def _by_netns(state: State) -> list[tuple[str, list[KernelObject]]]:
    groups: dict[str, list[KernelObject]] = defaultdict(list)
    for obj in state:
        groups[obj.key.netns].append(obj)
    return list(groups.items())


def _netns(change: Change) -> str:
    return change.key.netns


def _object(change: Change) -> KernelObject:
    return change.before if isinstance(change, Delete) else change.after


def _is_legacy(change: Change) -> bool:
    obj = _object(change)
    return isinstance(obj, Passage) and obj.where == "legacy"
