"""Shows the progress of a pull, load or import: a stream of the API's JSON messages.

On a terminal every layer has a line of its own, which is redrawn; elsewhere what happened is printed, line by line.
Writes to the stream it is given, nothing else.
"""

from __future__ import annotations

from engine.cli.documents import section
from engine.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TextIO


class StreamError(Exception):
    """The daemon reported an error in the middle of its answer."""


def show(messages: Iterable[Mapping[str, Any]], out: TextIO, *, terminal: bool) -> None:
    """Print all messages. Raises StreamError at the first that is an error."""
    lines: dict[str, int] = {}
    for message in messages:
        check(message)
        if "aux" in message:
            continue  # for programs: what was pushed or built
        identifier = str(message.get("id") or "")
        up = 0
        if terminal and identifier and "progressDetail" in message:
            if identifier not in lines:
                lines[identifier] = len(lines)
                out.write("\n")
            up = len(lines) - lines[identifier]
            out.write(f"\x1b[{up}A")
        elif terminal:
            lines.clear()
        out.write(text(message, terminal=terminal))
        if up:
            out.write(f"\x1b[{up}B")
        out.flush()


def check(message: Mapping[str, Any]) -> None:
    if error := message.get("error") or section(message, "errorDetail").get("message"):
        raise StreamError(str(error))


def text(message: Mapping[str, Any], *, terminal: bool) -> str:
    """What one message prints; nothing for a progress bar that has no terminal."""
    bar = progress_bar(section(message, "progressDetail"))
    if bar and not terminal:
        return ""
    if stream := message.get("stream"):
        return str(stream)
    prefix = f"{message['id']}: " if message.get("id") else ""
    status = f"{prefix}{message.get('status', '')}"
    if terminal and "progressDetail" in message:
        return f"\x1b[2K\r{status}{' ' + bar if bar else ''}\r"
    return f"{status}\n"


def progress_bar(detail: Mapping[str, Any]) -> str:
    """`[=====>      ]  43.5kB/1.986MB`; empty if there is nothing to show."""
    current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
    if current <= 0 and total <= 0:
        return ""
    done = size(current, 4).rjust(8)
    if total <= 0:
        return done
    half = min(current * 100 // total // 2, 50)
    numbers = done if current > total else f"{done}/{size(total, 4)}"
    return f"[{'=' * half}>{' ' * (50 - half)}] {numbers}"
