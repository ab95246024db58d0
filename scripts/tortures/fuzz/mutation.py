"""JSON values changed in a few places, so that a fuzzer gets past the parser, to what reads the document. Pure."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

ODDITIES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1 << 63, -(1 << 64), 1.5, 1e308, "", " ", "0", "-1", "..", "/", "../../etc",
    "\0", "\n", "a" * 300, "\udcff", "é", "10.0.0.1", "10.0.0.1/33", "::/129", "fe80::1%eth0", "80-70", "sha256:",
    "%s{}", [], {},
    [[]], [{}], [None], {"": ""}, {"a": None},
)  # fmt: skip


def mutated(data: bytes, largest: int, seed: int) -> bytes:
    """`data` with one to four changes to its tree; a document of its own where `data` is none."""
    chance = random.Random(seed)
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        value = {}
    for _ in range(chance.randint(1, 4)):
        value = _changed(value, chance)
    try:
        out = json.dumps(value).encode()
    except (ValueError, RecursionError):
        return b"{}"
    return out if len(out) <= largest else b"{}"


def _changed(value: Any, chance: random.Random) -> Any:
    """One place of the tree made strange: replaced, repeated, removed, renamed, or swapped with another."""
    places = list(_places(value, ()))
    if not places:
        return _odd(chance)
    path = chance.choice(places)
    if not path:
        return _odd(chance) if chance.random() < 0.05 else value
    value = copy.deepcopy(value)
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    _change(holder, path[-1], chance)
    return value


def _change(holder: Any, key: Any, chance: random.Random) -> None:
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(chance.randint(0, len(holder)), copy.deepcopy(holder[key]))
        case 1:
            holder[str(_odd(chance))] = holder[key]
        case 2:
            holder[key] = [holder[key]] if chance.random() < 0.5 else {"x": holder[key]}
        case 3 if isinstance(holder[key], str):
            holder[key] = _spoilt(holder[key], chance)
        case 4 if isinstance(holder[key], int):
            holder[key] = holder[key] * chance.choice((-1, 2, 1 << 31)) + chance.randint(-2, 2)
        case _:
            holder[key] = _odd(chance)


def _odd(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(ODDITIES))


def _spoilt(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return (
        text[:at]
        + str(chance.choice(("", "/", ":", ",", "=", "-", ".", "\0", " ", "é", "9999", "[", "%")))
        + text[at + chance.randint(0, 2) :]
    )


def _places(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    if isinstance(value, dict):
        for key in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from _places(item, (*path, number))
