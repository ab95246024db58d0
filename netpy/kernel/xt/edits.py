"""What chains are, compared with what they should be, and the edits that make the difference. Pure.

Reads nothing and runs nothing: it is given what the worker saw, and returns what to tell it (see
`netpy.kernel.xt.worker`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netpy.diff import Change, Create, Delete, Update
from netpy.firewall.rules import Chain, Hook, Skeleton, inner, tag
from netpy.kernel.xt.client import ChainRules, TableEdits
from netpy.model import Family

TABLES = ("filter", "mangle", "nat")
Seen = Mapping[tuple[Family, str], Mapping[str, ChainRules]]
Rooms = Mapping[str, Sequence[str]]
Edit = list[Any]
_EMPTY = ChainRules("", ())


def chain_seen(chain: Chain, table: Mapping[str, ChainRules]) -> Chain | None:
    """`chain` with the tags that are really there; None if neither it nor any of its hooks is."""
    hooks = [comment for each in table.values() for comment in each.comments if comment.endswith(f":{chain.name}")]
    if chain.name not in table and not hooks:
        return None
    rules = [comment or "foreign" for comment in table.get(chain.name, _EMPTY).comments]
    return replace(chain, tags=(*rules, *sorted(hooks)))


def skeleton_seen(frame: Skeleton, seen: Seen) -> Skeleton | None:
    """`frame` with what is wrong with it; None if there is nothing of it but, at most, the user's chain."""
    tables = {table: seen[frame.family, table] for table in TABLES}
    if not any(each.name in tables[each.table] for each in frame.frames if not each.user):
        return None
    return replace(frame, fault="; ".join(_faults(frame, tables)))


def table_edits(changes: Sequence[Change], rooms: Rooms) -> list[TableEdits]:
    """The edits of all changes, by table. `rooms` are the chains of each table that may hold hooks of ours."""
    edits: dict[tuple[Family, str], TableEdits] = {}
    for change in changes:
        for family, table, edit, undo in _edits(change, rooms):
            into = edits.setdefault((family, table), TableEdits(family, table, [], []))
            into.edits.extend(edit)
            into.undo[:0] = undo
    return [edits[key] for key in sorted(edits, key=lambda key: (key[0], TABLES.index(key[1])))]


def dismantling(frame: Skeleton, kept: set[str]) -> list[TableEdits]:
    """Edits that remove the static chains, all but those that are `kept`, whose hooks stay too."""
    edits: list[TableEdits] = []
    for table in TABLES:
        chains = [each.name for each in frame.frames if each.table == table and each.name not in kept]
        roots = [hook for where, hook in frame.hooks if where == table and hook.owner not in kept]
        # Emptied first: a chain that another one still jumps to cannot be removed.
        steps: list[Edit] = [["unhook", hook.parent, hook.comment] for hook in roots]
        steps += [["fill", name, []] for name in chains]
        steps += [["remove", name] for name in chains]
        edits.append(TableEdits(frame.family, table, steps, list(_standing(frame, table))))
    return edits


def _edits(change: Change, rooms: Rooms) -> Iterator[tuple[Family, str, list[Edit], list[Edit]]]:
    match change:
        case Create(after):
            old, new = None, inner(after)
        case Update(before, after):
            old, new = inner(before), inner(after)
        case Delete(before):
            old, new = inner(before), None
    match new or old:
        case Skeleton() as frame if new and not frame.fault:
            for table in TABLES:
                yield frame.family, table, list(_standing(frame, table)), []
        case Chain() as chain:
            parents = dict.fromkeys((*rooms[chain.table], *(hook.parent for hook in chain.hooks)))
            unhook: list[Edit] = [["unhook", parent, f":{chain.name}"] for parent in parents]
            yield chain.family, chain.table, unhook + _chain(chain.name, new), unhook + _chain(chain.name, old)
        case _:
            # One that is shared goes after the batch, if nothing is left in it; and what a roll-back would bring
            # back is the damage that was mended: it stays mended.
            return


def _chain(name: str, wanted: object) -> list[Edit]:
    """Edits that make the chain `name` what is wanted, or remove it; its old hooks are gone already."""
    if not isinstance(wanted, Chain):
        return [["remove", name]]
    rules = [[rule, tag(name, rule)] for rule in wanted.rules]
    return [["fill", name, rules], *(_hooking(hook) for hook in wanted.hooks)]


def _standing(frame: Skeleton, table: str) -> Iterator[Edit]:
    """Edits that set the static chains of a table up, or right, whatever is there."""
    for each in frame.frames:
        if each.table == table:
            rules = [[rule, tag(each.name, rule)] for rule in each.rules]
            yield ["make", each.name] if each.open else ["fill", each.name, rules]
    roots = [hook for where, hook in frame.hooks if where == table]
    # Those that come first are put before all else one by one, so the last of them must be the first to go in.
    for hook in [*reversed([each for each in roots if each.first]), *(each for each in roots if not each.first)]:
        yield _hooking(hook)


def _hooking(hook: Hook) -> Edit:
    return ["hook", hook.parent, hook.rule, hook.comment, hook.first]


def _faults(frame: Skeleton, tables: Mapping[str, Mapping[str, ChainRules]]) -> Iterator[str]:
    for each in frame.frames:
        seen = tables[each.table].get(each.name)
        tags = [tag(each.name, rule) for rule in each.rules]
        if seen is None:
            yield f"chain {each.name} is missing"
        elif not each.open and seen.comments != tags:
            there = sum(one in seen.comments for one in tags)
            yield f"chain {each.name} has {there} of {len(tags)} rules and {len(seen.rules) - there} of others"
    yield from _misleading(frame, tables)


def _misleading(frame: Skeleton, tables: Mapping[str, Mapping[str, ChainRules]]) -> Iterator[str]:
    places: dict[str, list[int]] = defaultdict(list)
    for table, hook in frame.hooks:
        comments = tables[table].get(hook.parent, _EMPTY).comments
        if hook.comment not in comments:
            yield f"{table} {hook.parent} does not lead to {hook.owner}"
        elif hook.first:
            places[hook.parent].append(comments.index(hook.comment))
    for parent, order in places.items():
        if order != sorted(order):
            yield f"{parent} leads to the user's chain too late"
