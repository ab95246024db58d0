"""JSON by the scanner and encoder of the json module, without that module: importing it takes longer than a request.

Whatever the scanner does not accept whole goes to json itself, which knows how to complain. Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Rules:
    """What json.JSONDecoder tells the scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def loads(data: bytes | str) -> Any:
    """The document, as json.loads gives it. Raises ValueError."""
    from _json import make_scanner

    text = (data if isinstance(data, str) else data.decode("utf-8", "surrogatepass")).strip(" \t\r\n")
    rules: Any = _Rules()
    try:
        document, end = make_scanner(rules)(text, 0)
        if end == len(text):
            return document
    except StopIteration:
        pass
    import json

    return json.loads(text)


def dumps(document: object) -> bytes:
    """The document as json.dumps writes it, without blanks. Raises TypeError for what is no JSON."""
    from _json import encode_basestring_ascii, make_encoder

    encode = make_encoder(None, _refused, encode_basestring_ascii, None, ":", ",", False, False, True)
    return "".join(encode(document, 0)).encode()


def _refused(value: object) -> object:
    raise TypeError(f"{value!r} cannot be written as JSON")
