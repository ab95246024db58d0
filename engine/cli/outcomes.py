"""Exit codes of what stays with a container: those of its process, and Docker's for a process that could not start."""

from __future__ import annotations

import sys

from engine.cli.documents import section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.client import Response

DAEMON_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_NOT_EXECUTABLE = ("permission denied", "is a directory")


def start_failure(message: str) -> int:
    """The exit code that stands for a refusal to start."""
    if any(words in message for words in _NOT_FOUND):
        return NOT_FOUND
    if any(words in message for words in _NOT_EXECUTABLE):
        return NOT_EXECUTABLE
    return DAEMON_FAILED


def exit_code(ending: Response) -> int:
    """What a wait says in the end."""
    answer: dict[str, Any] = ending.json() or {}
    if message := section(answer, "Error").get("Message"):
        print(f"Error waiting for container: {message}", file=sys.stderr)
        return DAEMON_FAILED
    return int(answer.get("StatusCode", 0))
