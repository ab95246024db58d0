"""Compares an nft table with what it should be, rule by rule, and writes the commands that mend or remove it.

Reads only (through a `Reader` it is given); commands are returned, not run. Elements are not looked at here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from netpy.firewall import nft
from netpy.firewall.rules import BaseChain, Ruleset
from netpy.kernel.nft.lookup import HOOKS, ChainSeen, Reader, width


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as it is: sets with their key and value lengths, chains, and the comments of each chain's rules."""

    sets: dict[str, tuple[int, int]]
    chains: dict[str, ChainSeen]
    comments: dict[str, list[str]]


def look(reader: Reader, table: Ruleset) -> Shape:
    comments: dict[str, list[str]] = defaultdict(list)
    for rule in reader.rules(table.family, table.table):
        comments[rule.chain].append(rule.comment)
    chains = reader.chains(table.family, table.table, [each.name for each in table.chains])
    return Shape(reader.sets(table.family, table.table) if table.sets else {}, chains, comments)


def observe(reader: Reader, table: Ruleset) -> Ruleset | None:
    """`table` as it is there: with `fault` if something is wrong, None if there is nothing of it."""
    shape = look(reader, table)
    if not shape.sets and not shape.chains:
        return None
    return replace(table, fault="; ".join(_faults(table, shape)))


def is_there(reader: Reader, table: Ruleset) -> bool:
    """Whether the last of its chains exists: the whole is made in one transaction, and deleted in one."""
    return bool(reader.chains(table.family, table.table, [table.chains[-1].name]))


def mending(reader: Reader, table: Ruleset) -> list[str]:
    """Commands that make `table` what it should be, whatever is there. Sets that are right keep their elements."""
    shape = look(reader, table)
    where = f"{table.family} {table.table}"
    present = [each.name for each in table.chains if each.name in shape.chains and not each.open]
    lines = [f"flush chain {where} {name}" for name in present]
    lines += [f"delete chain {where} {each.name}" for each in table.chains if _misplaced(each, shape)]
    lines += [
        f"delete set {where} {each.name}"
        for each in table.sets
        if each.name in shape.sets and shape.sets[each.name] != (width(each.fields), _value_width(each.value))
    ]
    return [*lines, *nft.script(table)]


def removal(reader: Reader, table: Ruleset) -> list[str]:
    """Commands that remove the table; where the user's chain holds rules, all but that chain and what leads to it."""
    shape = look(reader, table)
    where = f"{table.family} {table.table}"
    if not shape.sets and not shape.chains:
        return []
    if not shape.comments[nft.USER]:
        return [f"delete table {where}"]
    jump = table.chains[[each.name for each in table.chains].index("forward")].rules[0]
    closed = [each.name for each in table.chains if not each.open and each.name in shape.chains]
    return [
        *(f"flush chain {where} {name}" for name in closed),
        *(f"delete chain {where} {name}" for name in closed if name != "forward"),
        *(f"delete set {where} {name}" for name in shape.sets),
        *([f"add rule {where} forward {jump}"] if "forward" in closed else []),
    ]


def _faults(table: Ruleset, shape: Shape) -> Iterator[str]:
    for each in table.sets:
        kind = "map" if each.value else "set"
        if each.name not in shape.sets:
            yield f"{kind} {each.name} is missing"
        elif shape.sets[each.name] != (width(each.fields), _value_width(each.value)):
            yield f"{kind} {each.name} is of another type"
    for each in table.chains:
        if each.name not in shape.chains:
            yield f"chain {each.name} is missing"
        elif _misplaced(each, shape):
            yield f"chain {each.name} hangs elsewhere"
        elif not each.open:
            yield from _wrong_rules(each, shape.comments[each.name])


def _wrong_rules(chain: BaseChain, comments: list[str]) -> Iterator[str]:
    there = [comment for comment in comments if comment in chain.tags]
    foreign = len(comments) - len(there)
    if foreign:
        yield f"chain {chain.name} holds {foreign} foreign rule{'s' if foreign > 1 else ''}"
    if len(there) < len(chain.rules):
        yield f"chain {chain.name} has {len(there)} of {len(chain.rules)} rules"
    elif there != list(chain.tags):
        yield f"chain {chain.name} has its rules in another order"


def _misplaced(chain: BaseChain, shape: Shape) -> bool:
    seen = shape.chains.get(chain.name)
    if seen is None:
        return False
    wanted = ChainSeen(chain.kind, HOOKS[chain.hook], chain.priority) if chain.hook else ChainSeen()
    return seen != wanted


def _value_width(value: tuple[str, ...]) -> int:
    return width(value) if value else 0
