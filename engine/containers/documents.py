"""Reading Docker's documents: a key that is missing, null or empty means the same. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.model import Json
from netpy.errors import InvalidArgument


def items(document: Mapping[str, Any], key: str) -> list[Any]:
    """The list under that key; none is an empty one."""
    return list(document.get(key) or ())


def table(document: Mapping[str, Any], key: str) -> Json:
    """The object under that key; none is an empty one."""
    return dict(document.get(key) or {})


def console_size(document: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of `ConsoleSize`; zeros where nothing is said. InvalidArgument for anything else."""
    match document.get("ConsoleSize"):
        case None | []:
            return 0, 0
        case [int(rows), int(columns)] if _fits(rows) and _fits(columns):
            return rows, columns
        case _:
            raise InvalidArgument("invalid ConsoleSize: must be two numbers, rows and columns")


def _fits(size: int) -> bool:
    return not isinstance(size, bool) and 0 <= size <= 0xFFFF
