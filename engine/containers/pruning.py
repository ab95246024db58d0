"""Removing every container that has ended, or those that a filter names. The choice is pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.model import Container
from netpy.errors import InvalidArgument

_UNIT = {"h": "hours", "m": "minutes", "s": "seconds"}
Filters = Mapping[str, Sequence[str]]


def check(filters: Filters) -> None:
    """InvalidArgument for a filter that `docker container prune` does not know."""
    unknown = set(filters) - {"label", "label!", "until"}
    if unknown:
        raise InvalidArgument(f"invalid filter '{min(unknown)}'")


def chosen(container: Container, filters: Filters, now: datetime) -> bool:
    """Whether an ended container is to go."""
    labels: Mapping[str, str] = container.config.get("Labels") or {}
    if container.state.status not in ("created", "exited", "dead"):
        return False
    if not all(_labelled(labels, wanted) for wanted in filters.get("label", ())):
        return False
    if any(_labelled(labels, unwanted) for unwanted in filters.get("label!", ())):
        return False
    created = datetime.fromisoformat(container.created[:19] + "+00:00")
    return all(created < moment(text, now) for text in filters.get("until", ()))


def moment(text: str, now: datetime) -> datetime:
    """A time: seconds since the epoch, RFC 3339, or how long ago (`24h`, `1h30m`)."""
    spans = re.findall(r"(\d+)([hms])", text)
    if spans and "".join(number + unit for number, unit in spans) == text:
        return now - sum((timedelta(**{_UNIT[unit]: int(number)}) for number, unit in spans), timedelta())
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"') from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def size(path: Path) -> int:
    """Bytes of the files below a directory."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(f"{folder}/{name}").st_size
            except FileNotFoundError:
                continue
    return total


def _labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
