"""What a step leaves in an image's history, and in `container_config`: Docker's words, to the letter.

`#(nop)` marks what ran nothing. Steps that touch files put it and the comment in one word, all others in two. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.build.dockerfile import Instruction
from engine.images import changes

Json = dict[str, Any]
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def shell(config: Json) -> list[str]:
    """What shell forms run in."""
    return list(config.get("Shell") or changes.SHELL)


def marked(config: Json, comment: str) -> list[str]:
    """The command of a step that changes the configuration alone."""
    return [*shell(config), "#(nop) ", comment]


def marked_files(config: Json, comment: str) -> list[str]:
    """The command of a step that changes files without running anything."""
    return [*shell(config), f"#(nop) {comment}"]


def run(command: Iterable[str], arguments: Mapping[str, str]) -> list[str]:
    """The command of a RUN; what build arguments it saw stands in front."""
    seen = sorted(f"{name}={value}" for name, value in arguments.items())
    return [f"|{len(seen)}", *seen, *command]


def comment(instruction: Instruction, before: Json, after: Json, words: Mapping[str, str]) -> str:
    """What a step says it did. `words` are its assignments where it has any, expanded."""
    keyword = instruction.keyword
    match keyword:
        case "CMD":
            return f"CMD {_quoted_list(after['Cmd'])}"
        case "ENTRYPOINT":
            return f"ENTRYPOINT {_quoted_list(after['Entrypoint'])}"
        case "ENV" | "LABEL" | "ARG":
            return " ".join([keyword, *(f"{name}={value}" for name, value in words.items())])
        case "SHELL":
            return f"SHELL [{' '.join(after['Shell'])}]"
        case "USER" | "STOPSIGNAL":
            return f"{keyword} {after['User' if keyword == 'USER' else 'StopSignal']}"
        case "VOLUME":
            return f"VOLUME [{' '.join(words)}]"
        case "EXPOSE":
            return f"EXPOSE {' '.join(sorted(words))}"
        case "HEALTHCHECK":
            return f"HEALTHCHECK {_health(after['Healthcheck'])}"
        case _:
            return f"{keyword} {instruction.rest}"


def _health(check: Json) -> str:
    times = " ".join(f'"{_duration(check.get(key, 0))}"' for key in ("Interval", "Timeout", "StartPeriod"))
    return f"&{{{_quoted_list(check['Test'])} {times} {_character(check.get('Retries', 0))}}}"


def _quoted_list(items: Iterable[str] | None) -> str:
    """Go's %q of a list of strings."""
    return f"[{' '.join(quoted(item) for item in items or ())}]"


def quoted(text: str) -> str:
    """Go's %q of a string, as far as commands need it."""
    return '"' + "".join(_ESCAPES.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def _character(code: int) -> str:
    """Go's %q of a number: the character it stands for."""
    named = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'", 92: "\\\\"}
    if code in named:
        return f"'{named[code]}'"
    if code < 32 or code == 127:
        return f"'\\x{code:02x}'"
    return f"'{chr(code)}'" if code < 0x110000 and chr(code).isprintable() else "'\ufffd'"


def _duration(nanoseconds: int) -> str:
    """Go's way to write a duration: `1m30s`, `500ms`."""
    if not nanoseconds:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 10**6)):
        if nanoseconds < size * 1000 and nanoseconds < 10**9:
            return f"{nanoseconds / size:g}{unit}"
    seconds, fraction = divmod(nanoseconds, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    tail = f"{seconds + fraction / 10**9:g}s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + tail
