"""Cuts the text of a Go template into tokens: plain text, and what stands between `{{` and `}}`.

It decides where actions begin and end (trim markers, comments, quoting) and refuses what no token can be. What the
tokens mean is the parser's business. Pure. The words of the errors are Go's, since that is what users look up.
"""

from __future__ import annotations

import re

from engine.cli.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    Kind = Literal["text", "field", "variable", "word", "string", "char", "number", "symbol", "close"]

_SPACE = " \t\r\n"
_TOKENS = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<char>'(?:[^'\\\n]|\\.)+')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
            |(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
      | (?P<field>\.[^\W\d]\w*)
      | (?P<variable>\$\w*)
      | (?P<word>[^\W\d]\w*)
      | (?P<symbol>:=|[.|(),=])
    """,
    re.VERBOSE,
)
_ESCAPES = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class TemplateError(Exception):
    """A template cannot be parsed, or cannot be executed on the data at hand. The message is Go's."""


@record
class Token:
    """`text` is the token's value (quotes removed); `position` counts characters from the start of the template."""

    kind: Kind
    text: str
    position: int
    spaced: bool = False


def line_of(source: str, position: int) -> int:
    """The line, from 1, on which a position lies."""
    return source.count("\n", 0, position) + 1


def syntax_error(source: str, position: int, message: str) -> TemplateError:
    return TemplateError(f"template: :{line_of(source, position)}: {message}")


def tokens(source: str) -> list[Token]:
    """All tokens of a template; every action ends with a `close` token. Raises TemplateError."""
    found: list[Token] = []
    position = 0
    trim = False
    while True:
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        if trim:
            text = text.lstrip(_SPACE)
        if start < 0:
            return [*found, Token(kind="text", text=text, position=position)] if text else found
        body = start + 2
        if _trims_left(source, body):
            text = text.rstrip(_SPACE)
            body += 2
        if text:
            found.append(Token(kind="text", text=text, position=position))
        inner, position, trim = _action(source, body)
        found += inner


def _trims_left(source: str, body: int) -> bool:
    return source.startswith("-", body) and source[body + 1 : body + 2] in tuple(_SPACE)


def _action(source: str, body: int) -> tuple[list[Token], int, bool]:
    """The tokens of the action that starts at `body`, where it ends, and whether it trims the text after it."""
    if source.startswith("/*", body):
        return _comment(source, body)
    found: list[Token] = []
    position = body
    spaced = True
    while True:
        end, trim = _closing(source, position)
        if end:
            return [*found, Token(kind="close", text="", position=position)], end, trim
        match = _TOKENS.match(source, position)
        if match is None:
            raise syntax_error(source, position, _complaint(source, position))
        if match.lastgroup == "space":
            spaced = True
        else:
            found.append(_token(match, source, spaced=spaced))
            spaced = False
        position = match.end()


def _comment(source: str, body: int) -> tuple[list[Token], int, bool]:
    end = source.find("*/", body + 2)
    if end < 0:
        raise syntax_error(source, body, "unclosed comment")
    after, trim = _closing(source, end + 2)
    if not after:
        raise syntax_error(source, body, "comment ends before closing delimiter")
    return [], after, trim


def _closing(source: str, position: int) -> tuple[int, bool]:
    """The end of a `}}` or ` -}}` that stands at `position` (0 if none does), and whether it trims."""
    if source.startswith("}}", position):
        return position + 2, False
    if source[position : position + 1] in tuple(_SPACE) and source.startswith("-}}", position + 1):
        return position + 4, True
    return 0, False


def _token(match: re.Match[str], source: str, *, spaced: bool) -> Token:
    text, position = match.group(), match.start()
    kind = match.lastgroup
    if kind == "number" and source[match.end() : match.end() + 1].isalnum():
        raise syntax_error(source, position, f'bad number syntax: "{source[position : match.end() + 1]}"')
    found, value = _READ[kind or ""](text)
    return Token(kind=found, text=value, position=position, spaced=spaced)


_READ: dict[str, Callable[[str], tuple[Kind, str]]] = {
    "string": lambda text: ("string", unquote(text)),
    "raw": lambda text: ("string", text[1:-1]),
    "char": lambda text: ("char", unquote(text)),
    "number": lambda text: ("number", text),
    "field": lambda text: ("field", text[1:]),
    "variable": lambda text: ("variable", text),
    "word": lambda text: ("word", text),
    "symbol": lambda text: ("symbol", text),
}


def _complaint(source: str, position: int) -> str:
    match source[position : position + 1]:
        case "":
            return "unclosed action"
        case '"':
            return "unterminated quoted string"
        case "`":
            return "unterminated raw quoted string"
        case "'":
            return "unterminated character constant"
        case char:
            return (
                f"unexpected {char!r} in command" if char.isprintable() else f"unrecognized character U+{ord(char):04X}"
            )


def unquote(text: str) -> str:
    """The value of a quoted Go string or character."""
    return _ESCAPES.sub(_escape, text[1:-1])


def _escape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _SIMPLE.get(code, code)
