"""Whether two outputs say the same: what may differ (ids, times, sizes, chance) is masked, the rest compared.

Outputs that are JSON are compared as documents, path by path; all others line by line. Pure.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MASKS = [
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"\r", ""),
    (r"sha256:[0-9a-f]{64}", "<digest>"),
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,13}\b", "<id>"),
    (r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| ?[+-]\d\d:?\d\d)?(?: UTC)?", "<time>"),
    (r"(?:About|Less than) an? (?:second|minute|hour)s?|\b\d+ (?:second|minute)s?", "<span>"),
    (r"\b\d+(?:\.\d+)?[kKMGT]?i?B\b", "<size>"),
    (r"\b[a-z]+_[a-z]+\d?\b(?= *$)", "<name>"),
    (r" {2,}|\t", "  "),
    (r" +$", ""),
]


def masked(text: str, masks: Sequence[str] = ()) -> str:
    """The text with everything replaced that two right answers may have different."""
    for pattern in masks:
        text = re.sub(pattern, "<any>", text, flags=re.MULTILINE)
    for pattern, word in _MASKS:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def differences(wanted: str, found: str, command: Mapping[str, Any]) -> list[str]:
    """What `found` lacks (`-`) and has too much (`+`), line by line or JSON path by JSON path; empty if they agree."""
    masks, drop = command.get("mask", ()), command.get("drop", "")
    documents = _documents(wanted, found)
    if documents:
        left, right = (sorted(masked(line, masks) for line in _paths(document)) for document in documents)
    else:
        left, right = masked(wanted, masks).splitlines(), masked(found, masks).splitlines()
    if drop:
        left, right = ([line for line in lines if not re.search(drop, line)] for lines in (left, right))
    if command.get("lines"):
        left, right = sorted(left), sorted(right)
    return [line for line in difflib.ndiff(left, right) if line[0] in "+-"]


def _documents(*texts: str) -> list[Any]:
    try:
        found = [json.loads(text.partition("\n[exit")[0]) for text in texts]
    except ValueError:
        return []
    return found if all(isinstance(each, (list, dict)) for each in found) else []


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """`HostConfig.Memory = 67108864`, for every leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):  # the order of objects is a daemon's own
            yield from _paths(inner, f"{path}[{'' if isinstance(inner, dict) else number}]")
    else:
        yield f"{path} = {json.dumps(value)}"
