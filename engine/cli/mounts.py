"""What a container mounts: `-v`, `--mount` and `--tmpfs` into the API's Binds, Volumes, Mounts and Tmpfs.

Pure, but for making a relative source absolute, which takes the working directory as an argument.
"""

from __future__ import annotations

from engine.cli.flags import BadValue
from engine.cli.units import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BOOLEANS = ("readonly", "bind-nonrecursive", "volume-nocopy")
_TRUE, _FALSE = ("", "true", "1"), ("false", "0")
_RECURSION: dict[str, dict[str, bool]] = {
    "enabled": {},
    "disabled": {"NonRecursive": True},
    "writable": {"ReadOnlyNonRecursive": True},
    "readonly": {"ReadOnlyForceRecursive": True},
}
_DETAILS = {"bind": "BindOptions", "volume": "VolumeOptions", "tmpfs": "TmpfsOptions"}


def volumes(specs: Sequence[str], directory: str) -> tuple[list[str], dict[str, Any]]:
    """The `-v` values as Binds (they have a source) and Volumes (anonymous). Raises ValueError."""
    binds: list[str] = []
    anonymous: dict[str, Any] = {}
    for spec in specs:
        if not spec:
            raise ValueError("invalid empty volume spec")
        source, colon, rest = spec.partition(":")
        if colon and "" in spec.split(":"):
            raise ValueError(f"invalid spec: {spec}: empty section between colons")
        if spec.count(":") > 2:
            raise ValueError(f"invalid spec: {spec}: too many colons")
        if not colon:
            anonymous[spec] = {}
        elif source.startswith("."):
            from posixpath import join, normpath  # a millisecond, with os

            binds.append(f"{normpath(join(directory, source))}:{rest}")
        else:
            binds.append(spec)
    return binds, anonymous


def tmpfs(specs: Sequence[str]) -> dict[str, str]:
    """`{"/run": "size=64m"}` of `--tmpfs /run:size=64m`."""
    return {path: settings for path, _, settings in (spec.partition(":") for spec in specs)}


def mounts(specs: Sequence[str]) -> list[dict[str, Any]]:
    """The `--mount` values as the API's Mounts. Raises BadValue."""
    found: list[dict[str, Any]] = []
    for spec in specs:
        try:
            found.append(mount(spec))
        except ValueError as error:
            raise BadValue("mount", spec, str(error)) from error
    return found


def mount(spec: str) -> dict[str, Any]:
    """One `type=bind,source=/a,target=/b,readonly`. Raises ValueError with Docker's words."""
    import csv

    found: dict[str, Any] = {"Type": "volume"}
    for text in next(csv.reader([spec])):
        given, equals, value = text.partition("=")
        name = _NAMES.get(given.strip().lower(), given.strip().lower())
        if not equals and name not in _BOOLEANS:
            raise ValueError(f"invalid field '{text}' must be a key=value pair")
        _set(found, (given, name), value, text)
    if not found.get("Target"):
        raise ValueError("target is required")
    _check_details(found)
    return found


def _set(found: dict[str, Any], names: tuple[str, str], value: str, field: str) -> None:
    given, name = names
    match name:
        case "type":
            found["Type"] = value.lower()
        case "source" | "target":
            found[name.title()] = value
        case "readonly":
            found["ReadOnly"] = _boolean(given, value)
        case "consistency":
            found["Consistency"] = value.lower()
        case _ if name.startswith(("bind-", "volume-", "tmpfs-")):
            _set_detail(found, name, value, given)
        case _:
            raise ValueError(f"unexpected key '{given}' in '{field}'")


def _set_detail(found: dict[str, Any], name: str, value: str, given: str) -> None:
    details: dict[str, Any] = found.setdefault(_DETAILS[name.partition("-")[0]], {})
    if name in ("volume-label", "volume-opt"):
        _set_pair(details, name, value)
        return
    match name:
        case "bind-propagation":
            details["Propagation"] = value.lower()
        case "bind-recursive":
            details.update(_recursion(value))
        case "volume-subpath":
            details["Subpath"] = value
        case "bind-nonrecursive" | "volume-nocopy":
            details["NonRecursive" if name.startswith("bind") else "NoCopy"] = _boolean(given, value)
        case "volume-driver":
            details.setdefault("DriverConfig", {})["Name"] = value
        case "tmpfs-size" | "tmpfs-mode":
            details["SizeBytes" if name == "tmpfs-size" else "Mode"] = _tmpfs_number(name, value)
        case _:
            raise ValueError(f"unexpected key '{given}'")


def _set_pair(details: dict[str, Any], name: str, value: str) -> None:
    key, _, text = value.partition("=")
    holder = details if name == "volume-label" else details.setdefault("DriverConfig", {})
    holder.setdefault("Labels" if name == "volume-label" else "Options", {})[key] = text


def _recursion(value: str) -> dict[str, bool]:
    try:
        return _RECURSION[value.lower()]
    except KeyError:
        names = '"enabled", "disabled", "writable", or "readonly"'
        raise ValueError(f"invalid value for bind-recursive: {value} (must be {names})") from None


def _tmpfs_number(name: str, value: str) -> int:
    try:
        return parse_bytes(value) if name == "tmpfs-size" else int(value, 8)
    except ValueError as error:
        raise ValueError(f"invalid value for {name}: {value}") from error


def _check_details(found: dict[str, Any]) -> None:
    for kind, name in _DETAILS.items():
        if name in found and found["Type"] != kind:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{found['Type']}'")


def _boolean(given: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError(f"invalid value for {given}: {value}")
