"""Moments as text: the stamps of a log, and what a user may write after --since and --until. Pure.

Nanoseconds since the epoch are integers: a float holds no more than microseconds of today.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from netpy.errors import InvalidArgument

_SECOND = 1_000_000_000
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?$")
_PARTIAL = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d))?)?)?(Z|[+-]\d\d:?\d\d)?$")
_UNIX = re.compile(r"(-?\d+)(?:\.(\d{1,9})\d*)?$")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}


def nanoseconds(stamp: str) -> int:
    """An RFC 3339 time, up to nanoseconds, as nanoseconds since the epoch; without a zone it is UTC.

    Raises InvalidArgument.
    """
    match = _STAMP.match(stamp)
    if match is None:
        raise InvalidArgument(f"invalid time: {stamp}")
    whole, fraction, zone = match.groups()
    return _seconds(whole, zone or "Z") * _SECOND + int((fraction or "").ljust(9, "0") or 0)


@lru_cache(maxsize=64)
def _seconds(whole: str, zone: str) -> int:
    # Lines of a log come many to the second: the costly part is done once for each.
    try:
        return int(datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone)).timestamp())
    except ValueError:
        raise InvalidArgument(f"invalid time: {whole}") from None


def rfc3339(moment: int) -> str:
    """Nanoseconds since the epoch as Docker prints them: UTC, nine digits, Z."""
    seconds, fraction = divmod(moment, _SECOND)
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def parse(text: str, now: int) -> int:
    """What a user writes after --since: Unix seconds with a fraction, a date or time of RFC 3339, or how long ago
    (`10m`, `1h30m`). All in nanoseconds since the epoch. Raises InvalidArgument."""
    if match := _UNIX.match(text):
        return int(match[1]) * _SECOND + int((match[2] or "").ljust(9, "0") or 0)
    pieces = _DURATION.findall(text)
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        return now - sum(int(float(number) * _UNITS[unit]) for number, unit in pieces)
    if match := _PARTIAL.match(text):
        day, hour, minute, second, zone = match.groups()
        return nanoseconds(f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone or 'Z'}")
    return nanoseconds(text)
