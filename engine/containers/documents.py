"""Reading Docker's documents: a key that is missing, null or empty means the same. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.model import Json


def items(document: Mapping[str, Any], key: str) -> list[Any]:
    """The list under that key; none is an empty one."""
    return list(document.get(key) or ())


def table(document: Mapping[str, Any], key: str) -> Json:
    """The object under that key; none is an empty one."""
    return dict(document.get(key) or {})
