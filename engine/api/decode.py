"""JSON from outside: documents read strictly, and their fields taken out with the type they must have.

Every failure is an InvalidArgument that names what is wrong and where. Absent and null are the same, as they are for
Docker. It does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from engine.api.errors import json_error
from engine.model import Json
from netpy.errors import InvalidArgument


def loads(content: bytes) -> Any:
    """A JSON document from outside: strict, and with an error that says where it stops making sense."""
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise json_error(error, content) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def as_object(value: Any, what: str = "the document") -> Json:
    """The value, if it is a JSON object."""
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid JSON: {what} must be an object, not {kind_of(value)}")
    return cast("Json", value)


def text_of(body: Json, name: str, default: str = "") -> str:
    """The string under that name; the default where it is absent or null."""
    return cast(str, _typed(body, name, str, default))


def flag_of(body: Json, name: str, default: bool = False) -> bool:
    """The boolean under that name; the default where it is absent or null."""
    return cast(bool, _typed(body, name, bool, default))


def object_of(body: Json, name: str) -> Json:
    """The object under that name; empty where it is absent or null."""
    return as_object(body[name], name) if body.get(name) is not None else {}


def objects_of(body: Json, name: str) -> list[Json]:
    """The list of objects under that name; empty where it is absent or null."""
    items = cast("list[object]", _typed(body, name, list, []))
    return [as_object(item, f"{name}[{index}]") for index, item in enumerate(items)]


def strings_of(body: Json, name: str) -> dict[str, str]:
    """The object of strings under that name, as labels and options are."""
    found = object_of(body, name)
    return {key: text_of(found, key) for key in found}


def _typed(body: Json, name: str, kind: type, default: object) -> object:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise InvalidArgument(f"invalid JSON: {name} must be {_NAMES[kind]}, not {kind_of(value)}")
    return cast(object, value)


_NAMES: Mapping[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    return _NAMES[type(value)]  # pyright: ignore[reportUnknownArgumentType]
