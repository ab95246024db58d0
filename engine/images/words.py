"""Words of Dockerfile instructions: quotes, escapes and variables.

The rules are those of a POSIX shell cut down to what Dockerfiles have: single quotes keep everything, double quotes
keep spaces, a backslash keeps one character, and `$NAME`, `${NAME}`, `${NAME:-word}`, `${NAME:+word}`,
`${NAME:?word}` are replaced outside of single quotes; without the colon an empty value counts as one. Nothing is
executed and nothing is globbed. A Dockerfile may name another `escape` than the backslash. No I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from netpy.errors import InvalidArgument

_SPACE = " \t\r\n"
_BRACED = re.compile(r"([A-Za-z_]\w*)(?:(:?)([^\w:])(.*))?", re.DOTALL)


BACKSLASH = "\\"


def split(text: str, variables: Mapping[str, str], escape: str = BACKSLASH) -> list[str]:
    """The words of `text`, unquoted and expanded. An expansion is never split again.

    InvalidArgument for an unfinished quote or expansion.
    """
    return [expand(raw, variables, escape) for raw in raw_words(text, escape)]


def expand(text: str, variables: Mapping[str, str], escape: str = BACKSLASH) -> str:
    """`text` as one word: unquoted and expanded, its spaces kept. InvalidArgument names it."""
    try:
        return _expand(text, variables, escape)
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to process {json.dumps(text, ensure_ascii=False)}: {error}") from None


def raw_words(text: str, escape: str = BACKSLASH) -> list[str]:
    """`text` cut at the spaces that no quote and no escape protects; quotes and escapes stay."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        char = text[position]
        if char == escape and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        quote = _next_quote(quote, char)
        if char in _SPACE and not quote:
            words += [word] if word else []
            word = ""
        else:
            word += char
        position += 1
    if quote:
        raise InvalidArgument(f"unexpected end of statement while looking for matching quote in {text!r}")
    return [*words, word] if word else words


def _next_quote(quote: str, char: str) -> str:
    if quote:
        return "" if char == quote else quote
    return char if char in "'\"" else ""


def _expand(text: str, variables: Mapping[str, str], escape: str) -> str:
    """One pass over `text`; `quote` is the quote we are in."""
    out, quote, position = "", "", 0
    while position < len(text):
        char = text[position]
        if char == escape and quote != "'":
            piece, position = _escaped(text, position, quote)
            out += piece
        elif char == "$" and quote != "'":
            piece, position = _variable(text, position, variables, escape)
            out += piece
        else:
            before, quote = quote, _next_quote(quote, char)
            out += char if before == quote else ""
            position += 1
    if quote:
        raise InvalidArgument("unexpected end of statement while looking for matching quote")
    return out


def _escaped(text: str, position: int, quote: str) -> tuple[str, int]:
    escape, following = text[position], text[position + 1 : position + 2]
    if not following or (quote == '"' and following not in ('"', "$", escape)):
        return escape + following, position + 2
    return following, position + 2


def _variable(text: str, position: int, variables: Mapping[str, str], escape: str) -> tuple[str, int]:
    """What the `$…` at `position` stands for, and where the text goes on."""
    if text[position + 1 : position + 2] == "{":
        end = _closing_brace(text, position + 2)
        return _braced(text[position + 2 : end], variables, escape), end + 1
    end = position + 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    if end == position + 1:
        return "$", end
    return variables.get(text[position + 1 : end], ""), end


def _closing_brace(text: str, position: int) -> int:
    depth = 1
    for index in range(position, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise InvalidArgument("syntax error: missing '}'")


def _braced(inner: str, variables: Mapping[str, str], escape: str) -> str:
    found = _BRACED.fullmatch(inner)
    if found is None:
        raise InvalidArgument(f"bad substitution ${{{inner}}}")
    name, colon, modifier, word = found[1], found[2], found[3], found[4]
    value = variables.get(name)
    if not modifier:
        return value or ""
    there = bool(value) if colon else value is not None
    match modifier:
        case "-":
            return value or "" if there else _expand(word, variables, escape)
        case "+":
            return _expand(word, variables, escape) if there else ""
        case "?":
            if not there:
                raise InvalidArgument(f"{name}: {_expand(word, variables, escape) or 'not set'}")
            return value or ""
        case _:
            raise InvalidArgument(f"unsupported modifier in substitution ${{{inner}}}")
