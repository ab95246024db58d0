"""`.dockerignore`: which paths of a context stay out of it. No I/O.

Patterns are Go's filepath.Match with `**` for any number of directories, relative to the context; what matches a
directory takes all that is in it, a `!` brings back, the last pattern that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from netpy.errors import InvalidArgument


class Ignore:
    """The patterns of one file. Paths are relative to the context, with `/`, without a leading one."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._rules = [_rule(pattern) for pattern in patterns]
        self.brings_back = any(negated for negated, _ in self._rules)
        """Whether some pattern is an exception: then even ignored directories must be looked into."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def excludes(self, path: str) -> bool:
        """Whether the path, or by a pattern that matches a directory above it, stays out."""
        parts = path.split("/")
        ancestry = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        excluded = False
        for negated, pattern in self._rules:
            if negated == excluded and any(pattern.fullmatch(each) for each in ancestry):
                excluded = not negated
        return excluded


def read(text: str) -> Ignore:
    """The patterns of a file: one per line, `#` begins a comment. InvalidArgument names a pattern that is none."""
    patterns: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = "" if line.startswith("#") else line.strip()
        negated = pattern.startswith("!")
        pattern = pattern[1:].strip() if negated else pattern
        if not pattern and negated:
            raise InvalidArgument('illegal exclusion pattern: "!"')
        if pattern:
            clean = posixpath.normpath(pattern).lstrip("/") or "."
            patterns.append(("!" if negated else "") + clean)
    return Ignore(patterns)


def _rule(pattern: str) -> tuple[bool, re.Pattern[str]]:
    negated = pattern.startswith("!")
    return negated, compiled(pattern[1:] if negated else pattern)


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression. InvalidArgument when it is malformed, as in Go."""
    out, position = "", 0
    while position < len(pattern):
        piece, position = _piece(pattern, position)
        out += piece
    try:
        return re.compile(out, re.DOTALL)
    except re.error:
        raise _malformed(pattern) from None


def has_wildcards(text: str) -> bool:
    """Whether a source of COPY is a pattern."""
    return any(char in "*?[" for char in re.sub(r"\\.", "", text))


def _piece(pattern: str, position: int) -> tuple[str, int]:
    """The expression of what stands at `position`, and where the pattern goes on."""
    char = pattern[position]
    if pattern.startswith("**", position):
        end = position + 2
        if pattern.startswith("/", end):
            end += 1
        return (".*", end) if end == len(pattern) else ("(?:.*/)?", end)
    match char:
        case "*":
            return "[^/]*", position + 1
        case "?":
            return "[^/]", position + 1
        case "[":
            return _set(pattern, position)
        case "\\":
            if position + 1 == len(pattern):
                raise _malformed(pattern)
            return re.escape(pattern[position + 1]), position + 2
        case _:
            return re.escape(char), position + 1


def _set(pattern: str, position: int) -> tuple[str, int]:
    """A class such as `[^a-z]`: Go's, which may not be empty, and where `-` and `]` stand for themselves only escaped."""
    at = position + 1
    negated = pattern.startswith("^", at)
    at += negated
    members = ""
    while not (members and pattern.startswith("]", at)):
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        if low <= high:
            members += f"{_literal(low)}-{_literal(high)}"
        else:
            members += _NOTHING
    return f"(?!/)[{'^' if negated else ''}{members}]", at + 1


_NOTHING = r"\uffff-\uffff"  # a range that runs backwards holds no character that a path has


def _member(pattern: str, at: int) -> tuple[str, int]:
    at += pattern.startswith("\\", at)
    escaped = pattern[at - 1 : at] == "\\"
    if at >= len(pattern) or (pattern[at] in "-]" and not escaped):
        raise _malformed(pattern)
    return pattern[at], at + 1


def _literal(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def _malformed(pattern: str) -> InvalidArgument:
    return InvalidArgument(f"syntax error in pattern: {pattern}")
