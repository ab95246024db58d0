"""Which images a filter lets through: dangling, label, label!, before, since, until, reference. Pure.

Values of one filter are alternatives, except for labels, which must all be there; different filters must all agree.
This is Docker's meaning of `--filter`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from engine.images import changes
from engine.images.documents import instant
from engine.images.records import ImageRecord
from engine.images.references import Reference
from netpy.errors import InvalidArgument

Filters = Mapping[str, Sequence[str]]
LISTING = ("dangling", "label", "before", "since", "until", "reference")
PRUNING = ("dangling", "label", "label!", "until")


def check(filters: Filters, known: Sequence[str]) -> None:
    """InvalidArgument for a filter that is not `known` here or has no sensible value."""
    for name, values in filters.items():
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'")
        if name == "dangling":
            for value in values:
                flag(value)


def flag(value: str) -> bool:
    """A truth value of the `dangling` filter. InvalidArgument when it is none."""
    if value.lower() in ("1", "true", "t"):
        return True
    if value.lower() in ("0", "false", "f"):
        return False
    raise InvalidArgument(f"invalid filter 'dangling=[{value}]'")


def dangling(filters: Filters, default: bool | None) -> bool | None:
    """What the `dangling` filter says, `default` when it is absent."""
    values = [flag(value) for value in filters.get("dangling", ())]
    return values[0] if values else default


def labels_match(labels: Mapping[str, str], filters: Filters) -> bool:
    """Whether all of `label` hold and none of `label!` does."""
    return all(_label(labels, wanted) for wanted in filters.get("label", ())) and not any(
        _label(labels, unwanted) for unwanted in filters.get("label!", ())
    )


def matching_references(image: ImageRecord, patterns: Sequence[str]) -> ImageRecord | None:
    """The image with only those names that fit one of the patterns, None when there are none such."""
    if not patterns:
        return image
    kept = tuple(reference for reference in image.references if any(fits(reference, item) for item in patterns))
    return replace(image, references=kept) if kept else None


def fits(reference: Reference, pattern: str) -> bool:
    """Whether a name fits a pattern such as `busybox`, `bus*:latest` or `127.0.0.1:5000/*`; `*` does not cross `/`."""
    found = _glob(pattern)
    return any(found.fullmatch(text) for text in (reference.familiar, reference.familiar_name))


def times_match(image: ImageRecord, filters: Filters, *, now: float, resolve: Callable[[str], ImageRecord]) -> bool:
    """Whether the image is older than all of `before` and `until`, and newer than all of `since`.

    `now` is in seconds since 1970; `resolve` finds the images that `before` and `since` name, or raises NotFound.
    """
    created = instant(image.created)
    older = [instant(resolve(name).created) for name in filters.get("before", ())]
    older += [moment(text, now) for text in filters.get("until", ())]
    newer = [instant(resolve(name).created) for name in filters.get("since", ())]
    return all(created < limit for limit in older) and all(created > limit for limit in newer)


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of `24h` (ago), `2026-11-21T10:00:00Z`, `2026-11-21` or `1795255340`."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if found := instant(text):
        return found
    try:
        return now - changes.duration(text) / 10**9
    except InvalidArgument:
        raise InvalidArgument(f"invalid time {text!r}: neither a timestamp nor a duration such as 24h") from None


def _label(labels: Mapping[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


@lru_cache(maxsize=64)
def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*|\?|\[[^\]]+\])", pattern)
    special = {"*": "[^/]*", "?": "[^/]"}
    try:
        return re.compile(
            "".join(
                special.get(part) or (part if part[:1] == "[" and part[-1:] == "]" else re.escape(part))
                for part in parts
            )
        )
    except re.error:
        raise InvalidArgument(f"invalid reference pattern {pattern!r}") from None
