"""`--filter name=value` as the API takes it, and times as people write them. Pure; `now` is seconds since 1970."""

from __future__ import annotations

from engine.cli.flags import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SPANS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_SPAN = r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)"


def filters(given: Sequence[str], flag: str = "filter") -> dict[str, dict[str, bool]]:
    """`{"name": {"web": true}}`. Raises BadValue without an equals sign."""
    found: dict[str, dict[str, bool]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadValue(flag, text, "bad format of filter (expected name=value)")
        found.setdefault(name.strip().lower(), {})[value.strip()] = True
    return found


def duration(text: str) -> float:
    """A Go duration (`1h30m`, `1.5s`) in seconds. ValueError carries Go's words."""
    import re

    span = re.compile(_SPAN)
    rest = text.lstrip("+-")
    if rest == "0":
        return 0.0
    total, position = 0.0, 0
    while match := span.match(rest, position):
        total += float(match.group(1)) * _SPANS[match.group(2)]
        position = match.end()
    if not rest or position < len(rest):
        why = "missing unit in" if re.fullmatch(r"[\d.]+", rest[position:]) and rest else "invalid"
        raise ValueError(f'time: {why} duration "{text}"')
    return -total if text.startswith("-") else total


def timestamp(text: str, now: float) -> str:
    """A moment for --since and --until, as the API takes it: seconds, with a fraction where there is one.

    Takes seconds, RFC 3339 in any of its shorter forms (local time without a zone), or a duration before now.
    """
    if not text or text.isdecimal():
        return text
    import re
    from datetime import datetime

    if re.fullmatch(r"\d+(\.\d+)?", text):
        return text
    try:
        return _seconds(now - duration(text))
    except ValueError:
        pass
    try:
        return _seconds(datetime.fromisoformat(_completed(text)).timestamp())
    except ValueError as error:
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from error


def _completed(text: str) -> str:
    """Nanoseconds cut to what Python reads, a bare hour completed, Z understood."""
    import re

    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    return re.sub(r"(T\d\d)(Z|[+-]\d\d:\d\d)?$", r"\1:00\2", text)


def _seconds(moment: float) -> str:
    return f"{moment:.9f}" if moment % 1 else str(int(moment))
