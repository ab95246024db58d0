"""Block devices that a container may use only so fast, and devices by what they can do: `--device-read-bps`, `--gpus`.

Pure. Errors are BadValue, in Docker's words.
"""

from __future__ import annotations

from engine.cli.flags import BadValue, Options
from engine.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_RATES = {
    "device_read_bps": "BlkioDeviceReadBps",
    "device_write_bps": "BlkioDeviceWriteBps",
    "device_read_iops": "BlkioDeviceReadIOps",
    "device_write_iops": "BlkioDeviceWriteIOps",
}


def throttles(options: Options) -> dict[str, list[dict[str, Any]]]:
    """The fields of a HostConfig that say how fast, by `path:rate`, and how heavy, by `path:weight`."""
    weights = [_weight(text) for text in options.many("blkio_weight_device")]
    return {
        "BlkioWeightDevice": weights,
        **{field: [_rate(name, text) for text in options.many(name)] for name, field in _RATES.items()},
    }


def _split(name: str, text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    flag = name.replace("_", "-")
    if not colon or ":" in value:
        raise BadValue(flag, text, f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise BadValue(flag, text, f"bad format for device path: {text}")
    return path, value


def _weight(text: str) -> dict[str, Any]:
    path, value = _split("blkio_weight_device", text)
    if not value.isdecimal() or not (value == "0" or 10 <= int(value) <= 1000):
        raise BadValue("blkio-weight-device", text, f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def _rate(name: str, text: str) -> dict[str, Any]:
    path, value = _split(name, text)
    try:
        rate = parse_bytes(value) if name.endswith("bps") else int(value)
        if rate < 0:
            raise ValueError(value)
    except ValueError as error:
        form = "<device-path>:<number>[<unit>]" if name.endswith("bps") else "<device-path>:<number>"
        unit = " Unit is optional and can be kb, mb, or gb" if name.endswith("bps") else ""
        why = f"invalid rate for device: {text}. The correct format is {form}. Number must be a positive integer."
        raise BadValue(name.replace("_", "-"), text, (why + unit) if unit else why.rstrip(".")) from error
    return {"Path": path, "Rate": rate}


def device_requests(text: str) -> list[dict[str, Any]] | None:
    """`--gpus all`, `--gpus 2`, `--gpus '"device=0,1",capabilities=utility'` as the API has it; None for none."""
    if not text:
        return None
    import csv

    found: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    for field in next(csv.reader([text])):
        name, equals, value = field.partition("=")
        name, value = (name, value) if equals else ("count", field)
        if name not in _GPU:
            raise BadValue("gpus", text, f"unexpected key '{name}' in '{field}'")
        key, read = _GPU[name]
        found[key] = read(value, text)
    if found["DeviceIDs"] is None and not found["Count"]:
        found["Count"] = 1
    return [found]


def _pairs(value: str) -> dict[str, str]:
    return {key: text for key, _, text in (part.partition("=") for part in value.split(","))}


def _count(value: str, text: str) -> int:
    if value == "all":
        return -1
    try:
        return int(value)
    except ValueError as error:
        raise BadValue("gpus", text, f'invalid count ({value}): value must be either "all" or an integer') from error


_GPU: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "count": ("Count", _count),
    "driver": ("Driver", lambda value, _: value),
    "device": ("DeviceIDs", lambda value, _: value.split(",")),
    "capabilities": ("Capabilities", lambda value, _: [[*value.split(","), "gpu"]]),
    "options": ("Options", lambda value, _: _pairs(value)),
}
