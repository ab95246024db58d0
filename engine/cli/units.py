"""How Docker words ages, sizes and ids, and reads them back. Pure, and free of imports: it is on the fast path."""

from __future__ import annotations

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def age(seconds: float) -> str:
    """A span of time in words: `2 weeks`, `About a minute`."""
    whole = int(seconds)
    hours = int(seconds / 3600 + 0.5)
    if whole < 60:
        return "Less than a second" if whole < 1 else f"{whole} second{'' if whole == 1 else 's'}"
    if whole < 3600:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    return _long_age(hours, whole // 3600)


def _long_age(hours: int, whole_hours: int) -> str:
    if hours < 24 * 14:
        return f"{hours // 24} days"
    if hours < 24 * 60:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{whole_hours // 24 // 365} years"


def size(count: float, digits: int = 3) -> str:
    """Bytes in powers of 1000: `77.9MB`."""
    return _scaled(count, 1000, _DECIMAL, digits)


def binary_size(count: float) -> str:
    """Bytes in powers of 1024: `3.815GiB`."""
    return _scaled(count, 1024, _BINARY, 4)


def _scaled(count: float, base: int, names: tuple[str, ...], digits: int) -> str:
    value, power = float(count), 0
    while value >= base and power < len(names) - 1:
        value /= base
        power += 1
    return f"{value:.{digits}g}{names[power]}"


def parse_bytes(text: str) -> int:
    """`64m`, `1.5GiB`, `4096` in bytes, powers of 1024. ValueError carries Docker's words."""
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    suffix = text.strip()[len(number) :].strip().lower()
    unit = suffix[:-2] if suffix.endswith("ib") and len(suffix) == 3 else suffix.removesuffix("b")
    plain = number.replace(".", "", 1)
    if unit not in _POWERS or not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"invalid size: '{text}'")
    return int(float(number) * 1024 ** _POWERS[unit])


def short_id(identifier: str) -> str:
    """The first twelve digits of an id, without its algorithm."""
    return identifier.partition(":")[2][:12] if ":" in identifier else identifier[:12]


def shortened(text: str, most: int) -> str:
    """At most so many characters, the last an ellipsis if something was cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def quoted(text: str) -> str:
    """A string as Go's %q writes it."""
    return '"' + "".join(_ESCAPES.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def natural(text: str) -> list[tuple[int, int]]:
    """A key to sort names by as people do: `v2` before `v10`."""
    key: list[tuple[int, int]] = []
    digits = ""
    for character in text:
        if character.isdecimal():
            digits += character
            continue
        if digits:
            key.append((ord("0"), int(digits)))
            digits = ""
        key.append((ord(character), 0))
    return [*key, (ord("0"), int(digits))] if digits else key
