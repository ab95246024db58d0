"""The functions a format may call: Go's own, and Docker's json, split, join, title, lower, upper, pad, truncate.

Each takes and gives plain values and raises FunctionError in Go's words; the evaluator adds where it happened. Pure.
"""

from __future__ import annotations

import re

from engine.cli.templates.values import NO_VALUE, Free, Nil, NoValue, encoded, shown, truth
from engine.cli.units import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Values = list[Any]


class FunctionError(Exception):
    """A function was called with what it cannot work on."""


def type_of(value: Any) -> str:
    """What Go would call the type of a value."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case Nil():
            return "untyped nil"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
        case _:
            return "untyped nil"


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = _item(value, key)
    return value


def _item(value: Any, key: Any) -> Any:
    match value:
        case None | Nil() | NoValue():
            raise FunctionError("index of untyped nil")
        case dict():
            if not isinstance(key, str):
                raise FunctionError(f"value has type {type_of(key)}; should be string")
            return value[key] if key in value else _absent(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case str() | list():
            if isinstance(key, bool) or not isinstance(key, int):
                raise FunctionError(f"cannot index slice/array with type {type_of(key)}")
            if not 0 <= key < len(value):  # pyright: ignore[reportUnknownArgumentType]
                raise FunctionError(f"index out of range: {key}")
            return ord(value[key]) if isinstance(value, str) else value[key]  # pyright: ignore[reportUnknownVariableType]
        case _:
            raise FunctionError(f"can't index item of type {type_of(value)}")


def _absent(mapping: dict[str, Any]) -> Any:
    """What indexing a map without the key gives: the zero value of its elements."""
    if isinstance(mapping, Free) and all(isinstance(item, str) for item in mapping.values()):
        return ""
    return NO_VALUE


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (str, list)):
        raise FunctionError(f"can't slice item of type {type_of(value)}")
    size = len(value)  # pyright: ignore[reportUnknownArgumentType]
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise FunctionError(f"cannot index slice/array with type {type_of(bound)}")
        if not 0 <= bound <= size:
            raise FunctionError(f"index out of range: {bound}")
    start, end = (*bounds, 0, size)[0] if bounds else 0, bounds[1] if len(bounds) > 1 else size
    if start > end:
        raise FunctionError(f"invalid slice index: {start} > {end}")
    return value[start:end]  # pyright: ignore[reportUnknownVariableType]


def _len(value: Any) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value.encode()) if isinstance(value, str) else len(value)  # pyright: ignore[reportUnknownArgumentType]
    raise FunctionError("len of nil pointer" if value is None else f"len of type {type_of(value)}")


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case None | Nil() | NoValue():
            return "nil"
        case _:
            return "other"


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _same(first: Any, second: Any) -> bool:
    kinds = {_kind(first), _kind(second)}
    if kinds == {"nil"}:
        return True
    if "nil" in kinds:
        return False
    if "other" in kinds:
        raise FunctionError(f"non-comparable type {shown(first)}: {type_of(first)}")
    if len(kinds) > 1:
        raise FunctionError("incompatible types for comparison")
    return bool(first == second)


def _less(first: Any, second: Any) -> bool:
    kinds = {_kind(first), _kind(second)}
    if len(kinds) > 1:
        raise FunctionError("incompatible types for comparison")
    if not kinds <= {"int", "float", "string"}:
        raise FunctionError("invalid type for comparison")
    return bool(first < second)


def _ne(first: Any, second: Any) -> bool:
    return not _same(first, second)


def _le(first: Any, second: Any) -> bool:
    return _less(first, second) or _same(first, second)


def _gt(first: Any, second: Any) -> bool:
    return not _le(first, second)


def _ge(first: Any, second: Any) -> bool:
    return not _less(first, second)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise FunctionError(f"wrong type for value; expected string; got {type_of(value)}")


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FunctionError(f"wrong type for value; expected int; got {type_of(value)}")
    return value


def _title(value: Any) -> str:
    return re.sub(r"(?<!\w)\w", lambda match: match.group().upper(), _text(value))


def _join(values: Any, separator: Any) -> str:
    if not isinstance(values, list):
        raise FunctionError(f"wrong type for value; expected []string; got {type_of(values)}")
    return _text(separator).join(shown(item) for item in values)  # pyright: ignore[reportUnknownVariableType]


def _split(value: Any, separator: Any) -> list[str]:
    text, between = _text(value), _text(separator)
    return text.split(between) if between else list(text)


def _truncate(value: Any, size: Any) -> str:
    return _text(value)[: _whole(size)]


def _lower(value: Any) -> str:
    return _text(value).lower()


def _upper(value: Any) -> str:
    return _text(value).upper()


def _not(value: Any) -> bool:
    return not truth(value)


def _js(*values: Any) -> str:
    return "".join(_JS.get(char, char) for char in _print(*values))


_JS = {"'": "\\'", '"': '\\"', "\\": "\\\\", "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _pad(value: Any, left: Any, right: Any) -> str:
    text = _text(value)
    return " " * _whole(left) + text + " " * _whole(right) if text else text


_VERB = re.compile(r"%([-+# 0]*)(\d+|\*)?(?:\.(\d+))?([a-zA-Z%])")


def _printf(form: Any, *values: Any) -> str:
    rest = list(values)
    text = _VERB.sub(lambda match: _verb(match, rest), _text(form))
    return text + (f"%!(EXTRA {', '.join(f'{type_of(v)}={shown(v)}' for v in rest)})" if rest else "")


def _verb(match: re.Match[str], rest: Values) -> str:
    flags, width, precision, verb = match.groups()
    if verb == "%":
        return "%"
    if width == "*":
        width = str(rest.pop(0)) if rest else ""
    if not rest:
        return f"%!{verb}(MISSING)"
    text = _formatted(verb, rest.pop(0), precision, flags)
    size = int(width or 0)
    if "-" in flags:
        return text.ljust(size)
    if "0" in flags and verb in "dfxXobeg":
        return text.zfill(size)
    return text.rjust(size)


def _formatted(verb: str, value: Any, precision: str | None, flags: str) -> str:
    match verb:
        case "s" | "v":
            text = shown(value)
            return text[: int(precision)] if precision and verb == "s" else text
        case "q":
            return quoted(value) if isinstance(value, str) else shown(value)
        case "t" if isinstance(value, bool):
            return shown(value)
        case "T":
            return type_of(value)
        case "d" | "x" | "X" | "o" | "b" | "c" if isinstance(value, int) and not isinstance(value, bool):
            return ("+" if "+" in flags and value >= 0 and verb == "d" else "") + format(value, verb)
        case "x" | "X" if isinstance(value, str):
            return value.encode().hex().upper() if verb == "X" else value.encode().hex()
        case "f" | "e" | "g" | "F" | "E" | "G" if isinstance(value, float):
            return format(value, f".{precision or 6}{verb}") if precision or verb not in "gG" else shown(value)
        case _:
            return f"%!{verb}({type_of(value)}={shown(value)})"


def _print(*values: Any) -> str:
    """Go's Sprint: a space between operands when neither is a string."""
    text = ""
    for number, value in enumerate(values):
        spaced = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        text += (" " if spaced else "") + shown(value)
    return text


def _html(*values: Any) -> str:
    table = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&#34;", "'": "&#39;"}
    return "".join(table.get(char, char) for char in _print(*values))


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "html": _html,
    "index": _index,
    "join": _join,
    "json": encoded,
    "js": _js,
    "len": _len,
    "lower": _lower,
    "not": _not,
    "pad": _pad,
    "print": _print,
    "printf": _printf,
    "println": lambda *values: " ".join(shown(value) for value in values) + "\n",
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": _upper,
    "urlquery": _urlquery,
    "eq": _eq,
    "ne": _ne,
    "lt": _less,
    "le": _le,
    "gt": _gt,
    "ge": _ge,
}
# these two do not evaluate what they do not need: the evaluator calls them
LAZY = frozenset({"and", "or"})
NAMES = frozenset(FUNCTIONS) | LAZY
