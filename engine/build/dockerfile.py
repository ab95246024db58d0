"""A Dockerfile's text, cut into instructions: directives, comments, continued lines, flags, here-documents.

What an instruction means is not known here; that it is one, and where it stands, is. The rules are those of Docker's
own parser: a comment or an empty line within a continued instruction vanishes, the white space in front of a continued
line stays, and an escape at the end of a line continues it unless another escape stands before it. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.images import words
from netpy.errors import InvalidArgument

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
KEYWORDS = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"}
    | {"ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A here-document: the name that ends it, what it says, and whether variables in it are replaced."""

    name: str
    content: str
    expand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction. `text` is how progress shows it, `rest` what follows keyword and flags, `line` where it begins.

    `flags` holds what stood between keyword and arguments as `--name=value`, by name, in order; a flag without a value
    has an empty one.
    """

    keyword: str
    text: str
    rest: str
    line: int
    flags: Mapping[str, tuple[str, ...]]
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str) -> str:
        """The value of a flag, the last if it was given several times; empty without it."""
        return self.flags.get(name, ("",))[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """All instructions, the escape character, and what the user is to be warned of."""

    instructions: tuple[Instruction, ...]
    escape: str
    warnings: tuple[str, ...] = ()


def failure(line: int, reason: object) -> InvalidArgument:
    """The error that names a line, in Docker's words."""
    return InvalidArgument(f"dockerfile parse error line {line}: {reason}")


def parse(content: bytes, name: str = "Dockerfile") -> Dockerfile:
    """The instructions of a Dockerfile. InvalidArgument names the line that is wrong, or that there is nothing."""
    if not content:
        raise InvalidArgument(f"the Dockerfile ({name}) cannot be empty")
    lines = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n")
    return _Reader(lines).read()


class _Reader:
    """Goes through the lines once."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._next = 0
        self._escape = words.BACKSLASH
        self._warnings: list[str] = []

    def read(self) -> Dockerfile:
        self._directives()
        found: list[Instruction] = []
        while self._next < len(self._lines):
            line = self._lines[self._next]
            if not line.strip() or _is_comment(line):
                self._next += 1
                continue
            found.append(self._instruction())
        if not found:
            raise InvalidArgument("failed to parse Dockerfile: file with no instructions")
        return Dockerfile(instructions=tuple(found), escape=self._escape, warnings=tuple(self._warnings))

    def _directives(self) -> None:
        """`# name=value` on the first lines; the first line that is something else ends them."""
        seen: set[str] = set()
        for number, line in enumerate(self._lines, 1):
            found = _DIRECTIVE.fullmatch(line.strip())
            name = found[1].lower() if found else ""
            if found is None or name not in ("escape", "syntax", "check"):
                return
            if name in seen:
                raise failure(number, f"only one {name} parser directive can be used")
            seen.add(name)
            if name == "escape":
                if found[2] not in ("\\", "`"):
                    raise failure(number, f"invalid ESCAPE '{found[2]}'. Must be ` or \\")
                self._escape = found[2]

    def _instruction(self) -> Instruction:
        start = self._next + 1
        text = self._logical_line()
        head = text.split(None, 1)
        if not head:
            raise failure(start, "an escape character without an instruction")
        keyword = head[0].upper()
        if keyword not in KEYWORDS:
            raise failure(start, f"unknown instruction: {keyword}")
        flags, rest = _flags(head[1] if len(head) > 1 else "", self._escape)
        return Instruction(
            keyword=keyword,
            text=text,
            rest=rest,
            line=start,
            flags=flags,
            heredocs=self._heredocs(keyword, rest, start),
        )

    def _logical_line(self) -> str:
        """The line at hand with those that continue it."""
        first = self._next
        parts: list[str] = []
        blank = False
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if _is_comment(line):
                continue
            if parts and not line.strip():
                blank = blank or self._next < len(self._lines)
                continue
            kept, continues = self._continued(line)
            parts.append(kept.lstrip() if not parts else kept)
            if not continues:
                break
        text = "".join(parts).strip()
        if blank and self._next - first > 1:
            self._warnings.append(f"[WARNING]: Empty continuation line found in:\n    {text}")
        return text

    def _continued(self, line: str) -> tuple[str, bool]:
        bare = line.rstrip(" \t")
        if bare.endswith(self._escape) and not bare.endswith(self._escape * 2):
            return bare[:-1], True
        return line, False

    def _heredocs(self, keyword: str, rest: str, line: int) -> tuple[Heredoc, ...]:
        if keyword == "ONBUILD":
            keyword, _, rest = rest.partition(" ")
        if keyword.upper() not in _WITH_HEREDOCS or "<<" not in rest:
            return ()
        try:
            parts = words.raw_words(rest, self._escape)
        except InvalidArgument:
            return ()  # quotes that are the shell's business
        found = [match for match in map(_HEREDOC.fullmatch, parts) if match]
        return tuple(self._heredoc(match[3], bool(match[2]), line) for match in found)

    def _heredoc(self, word: str, chomp: bool, line: int) -> Heredoc:
        name = words.expand(word, {}, self._escape) if word[0] in "'\"" else word
        body: list[str] = []
        while self._next < len(self._lines):
            text = self._lines[self._next].lstrip("\t") if chomp else self._lines[self._next]
            self._next += 1
            if text == name:
                return Heredoc(name=name, content="".join(f"{each}\n" for each in body), expand=name == word)
            body.append(text)
        raise failure(line, f"unterminated heredoc {name}")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _flags(text: str, escape: str) -> tuple[dict[str, tuple[str, ...]], str]:
    """The words that begin with `--`, up to the first that does not, and the rest. `--` alone ends them."""
    flags: dict[str, tuple[str, ...]] = {}
    while text.startswith("--"):
        word, rest = _first_word(text, escape)
        text = rest.lstrip()
        if word == "--":
            break
        name, _, value = word[2:].partition("=")
        flags[name] = (*flags.get(name, ()), value)
    return flags, text


def _first_word(text: str, escape: str) -> tuple[str, str]:
    """A word without its quotes, and what follows it."""
    word, quote, position = "", "", 0
    while position < len(text):
        char = text[position]
        if char == escape and position + 1 < len(text):
            position += 1
            word += text[position]
        elif char == quote or (not quote and char in "'\""):
            quote = "" if quote else char
        elif char.isspace() and not quote:
            break
        else:
            word += char
        position += 1
    return word, text[position:]
