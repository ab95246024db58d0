"""What a Go template works on, made of JSON: which objects are structs and which maps, and how Go prints them.

A Go program knows the types of Docker's documents; JSON does not tell a struct from a map, nor a nil slice from a nil
pointer. `document` marks them by the names Docker's API gives them, so that a missing label is `<no value>`, a misspelt
field is an error, and a nil list prints as `[]`. Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fields = dict[str, Any]
    Items = list[Any]
else:
    Fields, Items = dict, list

_MAPS = frozenset(
    [
        "Annotations",
        "Containers",
        "Config.Volumes",
        "DriverOpts",
        "ExposedPorts",
        "Labels",
        "LogOpts",
        "Networks",
        "Options",
        "PortBindings",
        "Ports",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "Attributes",
        "Runtimes",
        "AuxiliaryAddresses",
        "IndexConfigs",
        "DriverConfig",
        "Volumes",
        "EndpointsConfig",
        "Data",
        "Details",
        "Metadata",
    ]
)
_POINTERS = frozenset(
    [
        "Health",
        "Healthcheck",
        "IPAMConfig",
        "ConfigFrom",
        "MemorySwappiness",
        "OomKillDisable",
        "PidsLimit",
        "Init",
        "State",
        "Config",
        "HostConfig",
        "NetworkSettings",
        "GraphDriver",
        "Storage",
        "Descriptor",
        "ClusterInfo",
        "Swarm",
    ]
)
# fields that the API leaves out where they are nil: their absence is no misspelling
OMITTED = frozenset(
    [
        "Health",
        "Healthcheck",
        "ExposedPorts",
        "Shell",
        "StopTimeout",
        "StopSignal",
        "Mounts",
        "Tmpfs",
        "Sysctls",
        "Runtime",
    ]
)


class Struct(Fields):
    """An object with fixed fields; `type_name` is what Go would call it in an error."""

    type_name = ""


class Free(Fields):
    """A map: asking for a key that it lacks is no error."""


class Nil(Items):
    """A nil slice or map: empty, but null in JSON. `text` is how it prints."""

    text = "[]"


class NilMap(Nil):
    text = "map[]"


class NoValue:
    """What Go calls an invalid value: the result of a look-up that found nothing."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "<no value>"


NO_VALUE = NoValue()


def document(value: Any, key: str = "") -> Any:
    """The same document with maps and nil values marked; `key` is the field it stands under."""
    match value:
        case dict():
            items = {str(name): document(item, str(name)) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            return Free(items) if key in _MAPS else items
        case list():
            return [document(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case None if key in _MAPS:
            return NilMap()
        case None if key and key not in _POINTERS:
            return Nil()
        case _:
            return value


def truth(value: Any) -> bool:
    """Go's truth: not the zero value. A struct is always true."""
    return True if isinstance(value, dict) and type(value) is not Free else bool(value)  # pyright: ignore[reportUnknownArgumentType]


def shown(value: Any) -> str:
    """A value as Go's %v prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case Nil():
            return value.text
        case Free():
            return "map[" + " ".join(f"{name}:{shown(value[name])}" for name in sorted(value)) + "]"
        case dict():
            return "{" + " ".join(shown(item) for item in value.values()) + "}"  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return "[" + " ".join(shown(item) for item in value) + "]"  # pyright: ignore[reportUnknownVariableType]
        case _:
            return str(value)


def _float(value: float) -> str:
    """Go's shortest %g, which turns to exponents later than Python below one and at the same place above."""
    text = repr(value)
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].zfill(2)}"
    return text.removesuffix(".0")


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def encoded(value: Any) -> str:
    """Compact JSON. Maps and rows are sorted, as Go sorts them; rows have < > & escaped, documents have not."""
    match value:
        case None | Nil() | NoValue():
            return "null"
        case bool() | int() | float():
            return shown(value)
        case str():
            return '"' + "".join(_ESCAPES.get(c) or (c if c >= " " else f"\\u{ord(c):04x}") for c in value) + '"'
        case dict():
            return _encoded_object(value)  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple():
            return "[" + ",".join(encoded(item) for item in value) + "]"  # pyright: ignore[reportUnknownVariableType]
        case _:
            return encoded(str(value))


def _encoded_object(value: dict[str, Any]) -> str:
    if isinstance(value, Struct):
        text = encoded(Free({name: item for name, item in value.items() if not callable(item)}))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    names = sorted(value) if isinstance(value, Free) else list(value)
    return "{" + ",".join(f"{encoded(name)}:{encoded(value[name])}" for name in names) + "}"
