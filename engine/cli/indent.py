"""Indents JSON without decoding it, as `inspect` prints what the daemon sent: key order and numbers stay as they are.

Pure, and free of imports: it is on the fast path.
"""

from __future__ import annotations

_STEP = "    "


def indented(text: str, level: int = 0) -> str:
    """The document with four spaces per level; empty objects and lists stay on one line."""
    out: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char == '"':
            end = _string_end(text, position)
            out.append(text[position:end])
            position = end
            continue
        position += 1
        if char in "{[":
            ahead = _next_visible(text, position)
            if text[ahead : ahead + 1] in ("}", "]"):
                out.append(char + text[ahead])
                position = ahead + 1
                continue
            level += 1
            out.append(f"{char}\n{_STEP * level}")
        elif char in "}]":
            level -= 1
            out.append(f"\n{_STEP * level}{char}")
        elif not char.isspace():
            out.append(_PUNCTUATION.get(char, char) + (_STEP * level if char == "," else ""))
    return "".join(out)


_PUNCTUATION = {",": ",\n", ":": ": "}


def _next_visible(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _string_end(text: str, start: int) -> int:
    """Just behind the closing quote of the string that opens at `start`."""
    position = start + 1
    while True:
        position = text.index('"', position) + 1
        slashes = position - 2
        while text[slashes] == "\\":
            slashes -= 1
        if (position - 2 - slashes) % 2 == 0:
            return position


def indented_list(documents: list[str]) -> str:
    """Several documents as one indented list."""
    if not documents:
        return "[]"
    return "[\n" + ",\n".join(_STEP + indented(document.strip(), 1) for document in documents) + "\n]"
