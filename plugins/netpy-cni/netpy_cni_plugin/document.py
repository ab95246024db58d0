"""JSON by the interpreter's own C scanner and encoder, without the package around them.

`import json` loads the regular expressions, a quarter of what a quick call takes, for the sake of a fallback in Python
and of error messages. Where these parts of CPython are not as expected the package is used, and for every error as
well, since it has the words. Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLANK = " \t\n\r"


class _Rules:
    """What the scanner asks its owner for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def loads(text: str) -> Any:
    """As `json.loads`; ValueError says what is wrong and where."""
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        from _json import make_scanner  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

        value, end = make_scanner(_Rules())(text, start)  # pyright: ignore
    except (ImportError, StopIteration, ValueError, TypeError, AttributeError, SystemError):
        return _package().loads(text)
    return value if not text[end:].strip(_BLANK) else _package().loads(text)  # pyright: ignore


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """As `json.dumps`."""
    try:
        from _json import encode_basestring_ascii, make_encoder  # pyright: ignore

        encode = make_encoder(None, _refused, encode_basestring_ascii, None, ": ", ", ", sort_keys, False, False)  # pyright: ignore
        return "".join(encode(value, 0))  # pyright: ignore
    except (ImportError, TypeError, AttributeError):
        return _package().dumps(value, sort_keys=sort_keys)


def _refused(value: object) -> object:
    raise TypeError(f"{value!r} is no JSON")


def _package() -> Any:
    import json

    return json
