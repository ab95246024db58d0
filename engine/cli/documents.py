"""Looks into the API's JSON documents where a field may be absent or null. Pure, and free of imports."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def section(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under a name; empty where there is none."""
    return found.get(name) or {}


def entries(found: Mapping[str, Any], name: str) -> list[Any]:
    """The list under a name; empty where there is none."""
    return found.get(name) or []
