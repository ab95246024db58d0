"""What is mounted into a container: `-v`, `--mount`, `--volumes-from` and the image's volumes. Pure.

The result are the entries that `docker inspect` shows under `Mounts`. A volume whose `Name` is empty is anonymous:
whoever makes it gives it a name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.containers.documents import items, table
from engine.model import Json
from netpy.errors import InvalidArgument

_MODES = {"ro", "rw", "z", "Z", "nocopy", "cached", "consistent", "delegated"}
_PROPAGATIONS = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
Inherit = Callable[[str], Iterable[Json]]


@dataclass(frozen=True, slots=True)
class _Spec:
    """A `-v` text, cut up."""

    source: str
    destination: str
    modes: tuple[str, ...]


def points(config: Json, host_config: Json, inherit: Inherit) -> list[Json]:
    """Every mount, by Docker's precedence: other containers' volumes, binds, mounts, then volumes of the image.

    `inherit` gives the mounts of the container that `--volumes-from` names.
    """
    found: dict[str, Json] = {}
    for text in items(host_config, "VolumesFrom"):
        found |= {point["Destination"]: point for point in _inherited(text, inherit)}
    explicit: dict[str, Json] = {}
    binds = [_bind(text) for text in items(host_config, "Binds")]
    for point in [*binds, *(_mount(document) for document in items(host_config, "Mounts"))]:
        destination = point["Destination"]
        if destination in explicit:
            raise InvalidArgument(f"Duplicate mount point: {destination}")
        explicit[destination] = point
    found |= explicit
    tmpfs = {posixpath.normpath(path) for path in table(host_config, "Tmpfs")}
    for path in table(config, "Volumes"):
        destination = _destination(path, path)
        if destination not in found and destination not in tmpfs:
            found[destination] = _volume("", destination, ())
    return [point for point in found.values() if point["Type"] != "tmpfs"]


def _bind(text: str) -> Json:
    spec = _cut(text)
    if not spec.source:
        return _volume("", spec.destination, spec.modes)
    if not spec.source.startswith("/"):
        return _volume(spec.source, spec.destination, spec.modes)
    propagation = next((mode for mode in spec.modes if mode in _PROPAGATIONS), "rprivate")
    return {
        "Type": "bind",
        "Source": posixpath.normpath(spec.source),
        "Destination": spec.destination,
        "Mode": ",".join(spec.modes),
        "RW": "ro" not in spec.modes,
        "Propagation": propagation,
    }


def _volume(name: str, destination: str, modes: tuple[str, ...]) -> Json:
    return {
        "Type": "volume",
        "Name": name,
        "Source": "",
        "Destination": destination,
        "Driver": "local",
        "Mode": ",".join(modes),
        "RW": "ro" not in modes,
        "Propagation": "",
    }


def _mount(document: Mapping[str, Any]) -> Json:
    """An entry of `HostConfig.Mounts`. A bind whose source must exist, unlike with `-v`, is marked `Required`."""
    kind = document.get("Type") or ""
    source, target = document.get("Source") or "", document.get("Target") or ""
    what = f'invalid mount config for type "{kind}"'
    if kind not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f'{what}: mount type unknown: "{kind}"')
    if not target:
        raise InvalidArgument(f"{what}: field Target must not be empty")
    destination = _destination(target, what)
    modes = ("ro",) if document.get("ReadOnly") else ()
    if kind == "tmpfs":
        return {"Type": "tmpfs", "Destination": destination}
    if kind == "volume":
        options: Mapping[str, Any] = table(document, "VolumeOptions")
        return _volume(source, destination, (*modes, *(("nocopy",) if options.get("NoCopy") else ())))
    if not source.startswith("/"):
        reason = (
            f"invalid mount path: '{source}' mount path must be absolute"
            if source
            else "field Source must not be empty"
        )
        raise InvalidArgument(f"{what}: {reason}")
    bind: Mapping[str, Any] = table(document, "BindOptions")
    return {
        "Type": "bind",
        "Source": posixpath.normpath(source),
        "Destination": destination,
        "Mode": "",
        "RW": not document.get("ReadOnly"),
        "Propagation": bind.get("Propagation") or "rprivate",
        "Required": not bind.get("CreateMountpoint"),
    }


def _cut(text: str) -> _Spec:
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return _Spec("", _destination(text, text), ())
    modes = tuple(parts[2].split(",")) if len(parts) == 3 else ()
    for mode in modes:
        if mode not in _MODES | _PROPAGATIONS:
            raise InvalidArgument(f"invalid volume specification: '{text}': invalid mode: {mode}")
    if {"ro", "rw"} <= set(modes):
        raise InvalidArgument(f"invalid volume specification: '{text}': invalid mode: {parts[2]}")
    return _Spec(parts[0], _destination(parts[1], text), modes)


def _destination(path: str, specification: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{specification}': invalid mount path: '{path}' mount path must be absolute"
        )
    normal = posixpath.normpath(path)
    if normal in ("/", "//"):
        raise InvalidArgument(
            f"invalid volume specification: '{specification}': invalid specification: destination can't be '/'"
        )
    return normal


def _inherited(text: str, inherit: Inherit) -> list[Json]:
    reference, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgument(f'invalid mode: "{mode}"')
    return [point | ({"RW": False, "Mode": "ro"} if mode == "ro" else {}) for point in inherit(reference)]
