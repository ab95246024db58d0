"""Turns changes into the commands of one nft transaction, or into a batch packed by hand where that is possible.

Reads a little (which rules to delete by handle), runs nothing.

Neighbouring elements of one set travel in one command, which is what makes a thousand ports cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from netpy.diff import Change, Create, Delete, Update
from netpy.errors import KernelError
from netpy.firewall import nft
from netpy.firewall.rules import Element, Opening, Passage, Ruleset, inner
from netpy.kernel import passages
from netpy.kernel.nft import batch, shape
from netpy.kernel.nft.batch import Step
from netpy.kernel.nft.lookup import Reader
from netpy.objects import KernelObject


@dataclass(frozen=True, slots=True)
class _Step:
    """`text` is an element where `container` is named, else a whole command."""

    text: str
    verb: str = ""
    container: str = ""


def commands(reader: Reader, changes: Sequence[Change]) -> list[str]:
    """The commands, in order."""
    steps = [step for change in changes for step in _steps(reader, change)]
    lines: list[str] = []
    for (verb, container), group in groupby(steps, key=lambda step: (step.verb, step.container)):
        texts = [step.text for step in group]
        lines += [f"{verb} element {container} {{ {', '.join(texts)} }}"] if container else texts
    return lines


def packed(reader: Reader, changes: Sequence[Change]) -> list[Step] | None:
    """The same as a batch; None where there is something in it that only libnftables can write."""
    steps: list[Step] = []
    parts = [part for change in changes for part in _parts(change)]
    for (verb, container), neighbours in groupby(parts, key=lambda part: (part[0], _container(part[1]))):
        objects = [obj for _, obj in neighbours]
        if container:
            found = [element(obj) for obj in objects]
            steps += batch.elements(verb, nft.table_of(found[0]).set_named(found[0].container), found)
            continue
        for obj in objects:
            made = _whole(reader, verb, obj)
            if made is None:
                return None
            steps += made
    return steps


def _parts(change: Change) -> list[tuple[str, KernelObject]]:
    match change:
        case Create(after):
            return [("add", after)]
        case Delete(before):
            return [("delete", before)]
        case Update(before, after) if isinstance(inner(after), Element):
            return [("delete", before), ("add", after)]
        case Update(_, after):
            return [("add", after)]


def _container(obj: KernelObject) -> str:
    found = inner(obj)
    return f"{found.family} {found.container}" if isinstance(found, Element) else ""


def _whole(reader: Reader, verb: str, obj: object) -> list[Step] | None:
    """The steps for what is no element; None for libnftables."""
    match inner(obj):
        case Ruleset(anchor=anchor, fault=fault) if fault or (anchor and verb == "delete"):
            return []  # see `_table`
        case Ruleset() as table:
            return batch.removal(table) if verb == "delete" else batch.table(table)
        case Passage() as passage:
            return None if passages.Native(reader).commands(passage, wanted=verb == "add") else []
        case _:
            return None


def element(obj: KernelObject) -> Element:
    """The element that `obj` is, or opens."""
    found = inner(obj)
    if not isinstance(found, Element):
        raise KernelError(f"not an element: {obj}")
    return found


def with_value(obj: Element | Opening, value: tuple[str, ...]) -> Element | Opening:
    """The same element with another value."""
    seen = replace(element(obj), value=value)
    return Opening(of=seen) if isinstance(obj, Opening) else seen


def _steps(reader: Reader, change: Change) -> Iterator[_Step]:
    obj = change.before if isinstance(change, Delete) else change.after
    match inner(obj):
        case Ruleset() as table:
            yield from (_Step(line) for line in _table(reader, change, table))
        case Element():
            yield from _element_steps(change)
        case Passage() as passage:
            wanted = not isinstance(change, Delete)
            yield from (_Step(line) for line in passages.Native(reader).commands(passage, wanted=wanted))
        case _:
            raise KernelError(f"not an object of the nftables backend: {obj}")


def _table(reader: Reader, change: Change, table: Ruleset) -> list[str]:
    if isinstance(change, Delete):
        # One that is shared goes after the transaction, if nothing is left in it.
        return [] if table.anchor or shape.observe(reader, table) is None else shape.removal(reader, table)
    # What a roll-back would bring back is the damage that was mended: it stays mended.
    return [] if table.fault else shape.mending(reader, table)


def _element_steps(change: Change) -> Iterator[_Step]:
    match change:
        case Create(after):
            yield _element_step("add", element(after))
        case Delete(before):
            yield _element_step("delete", element(before))
        case Update(before, after):
            # A map's value cannot be changed in place; in one transaction nobody sees the gap.
            yield _element_step("delete", element(before))
            yield _element_step("add", element(after))


def _element_step(verb: str, obj: Element) -> _Step:
    text = nft.element_text(obj, nft.table_of(obj).set_named(obj.container))
    return _Step(text, verb, f"{obj.family} {obj.table} {obj.container}")
