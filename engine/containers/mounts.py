"""What is mounted into a container: `-v`, `--mount`, `--volumes-from` and the image's volumes. Pure.

The result are the entries that `docker inspect` shows under `Mounts`. A volume whose `Name` is empty is anonymous:
whoever makes it gives it a name. Besides the fields that are shown an entry may have

    Required     a bind whose source must exist, unlike with `-v`
    Options      more of a bind, as mount(8) takes them
    Recursive    False for a bind without what is mounted below its source
    Subpath      the directory of the volume that is mounted
    Tmpfs        the options of a tmpfs, as mount(8) takes them
    Create       what a volume is made with: Labels, Driver, Options
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.containers.documents import items, table
from engine.model import Json
from netpy.errors import InvalidArgument

_ACCESS = {"ro", "rw"}
_LABELS = {"z", "Z"}
_CONSISTENCY = {"cached", "consistent", "delegated"}
_PROPAGATIONS = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
_EXCLUSIVE = (_ACCESS, _LABELS, _CONSISTENCY, _PROPAGATIONS, {"nocopy"})
_DETAILS = {"bind": "BindOptions", "volume": "VolumeOptions", "tmpfs": "TmpfsOptions"}
_TMPFS_FLAGS = {"ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "remount",
                "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "bind", "rbind", "unbindable",
                "runbindable", "private", "rprivate", "shared", "rshared", "slave", "rslave", "relatime", "norelatime",
                "strictatime", "nostrictatime", "defaults"}  # fmt: skip
_TMPFS_VALUES = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"}
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
    driver = str(host_config.get("VolumeDriver") or "")
    explicit: dict[str, Json] = {}
    binds = [_bind(text, driver) for text in dict.fromkeys(items(host_config, "Binds"))]
    for point in [*binds, *(_mount(document) for document in items(host_config, "Mounts"))]:
        _claim(explicit, point["Destination"])
        explicit[point["Destination"]] = point
    scratch = {_tmpfs_path(path, str(options)): None for path, options in table(host_config, "Tmpfs").items()}
    for path in scratch:
        _claim(explicit, path)
    found |= explicit
    for path in table(config, "Volumes"):
        destination = _destination(path, f"invalid volume specification: '{path}': ")
        if destination not in found and destination not in scratch:
            found[destination] = _volume("", destination, ()) | {"Mode": "", "Create": {"Driver": driver}}
    return [point for path, point in found.items() if path not in scratch]


def _claim(taken: Mapping[str, Json], destination: str) -> None:
    if destination in taken:
        raise InvalidArgument(f"Duplicate mount point: {destination}")


def _tmpfs_path(path: str, options: str) -> str:
    bad = [o for o in filter(None, options.split(",")) if o not in _TMPFS_FLAGS]
    if bad and (unknown := [o for o in bad if o.partition("=")[0] not in _TMPFS_VALUES]):
        told = " ".join(f'"{option}"' for option in unknown)
        raise InvalidArgument(f"invalid tmpfs option [{told}]")
    return _destination(path, "")


def _bind(text: str, driver: str) -> Json:
    spec = _cut(text)
    if not spec.source.startswith("/"):
        if set(spec.modes) & _PROPAGATIONS:
            raise InvalidArgument(f"{_named('volume', text)}field BindOptions must not be specified")
        return _volume(spec.source, spec.destination, spec.modes) | {"Create": {"Driver": driver}}
    if "nocopy" in spec.modes:
        raise InvalidArgument(f"{_named('bind', text)}field VolumeOptions must not be specified")
    propagation = next((mode for mode in spec.modes if mode in _PROPAGATIONS), "rprivate")
    return {
        "Type": "bind",
        "Source": posixpath.normpath(spec.source),
        "Destination": spec.destination,
        "Mode": ",".join(spec.modes),
        "RW": "ro" not in spec.modes,
        "Propagation": propagation,
    }


def _named(kind: str, text: str) -> str:
    return f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": "


def _volume(name: str, destination: str, modes: tuple[str, ...]) -> Json:
    return {
        "Type": "volume",
        "Name": name,
        "Source": "",
        "Destination": destination,
        "Driver": "local",
        "Mode": ",".join(modes) or "z",
        "RW": "ro" not in modes,
        "Propagation": "",
    }


def _mount(document: Mapping[str, Any]) -> Json:
    """An entry of `HostConfig.Mounts`."""
    kind = str(document.get("Type") or "")
    what = f'invalid mount config for type "{kind}": '
    if kind not in _DETAILS:
        raise InvalidArgument(f"{what}mount type unknown")
    if not document.get("Target"):
        raise InvalidArgument(f"{what}field Target must not be empty")
    for other, field in _DETAILS.items():
        if other != kind and document.get(field):
            raise InvalidArgument(f"{what}field {field} must not be specified")
    return _OF_KIND[kind](document, _destination(str(document["Target"]), what), what)


def _tmpfs_mount(document: Mapping[str, Any], destination: str, what: str) -> Json:
    if document.get("Source"):
        raise InvalidArgument(f"{what}field Source must not be specified")
    given = table(document, "TmpfsOptions")
    options = [f"size={given['SizeBytes']}"] if given.get("SizeBytes") else []
    options += [f"mode={int(given['Mode']):o}"] if given.get("Mode") else []
    return {
        "Type": "tmpfs",
        "Source": "",
        "Destination": destination,
        "Mode": "",
        "RW": not document.get("ReadOnly"),
        "Propagation": "",
        "Tmpfs": options,
    }


def _volume_mount(document: Mapping[str, Any], destination: str, what: str) -> Json:
    options = table(document, "VolumeOptions")
    driver = table(options, "DriverConfig")
    subpath = str(options.get("Subpath") or "")
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise InvalidArgument(f"{what}subpath must be a relative path within the volume")
    found = _volume(str(document.get("Source") or ""), destination, ("ro",) if document.get("ReadOnly") else ())
    wanted = {"Driver": driver.get("Name"), "Options": driver.get("Options"), "Labels": options.get("Labels")}
    found |= {"Mode": "z", "Create": {key: value for key, value in wanted.items() if value}}
    found |= {"Subpath": subpath} if subpath else {}
    return found | ({"NoCopy": True} if options.get("NoCopy") else {})


def _bind_mount(document: Mapping[str, Any], destination: str, what: str) -> Json:
    source, options = str(document.get("Source") or ""), table(document, "BindOptions")
    if not source:
        raise InvalidArgument(f"{what}field Source must not be empty")
    if not source.startswith("/"):
        raise InvalidArgument(f"{what}invalid mount path: '{source}' mount path must be absolute")
    propagation = str(options.get("Propagation") or "rprivate")
    if propagation not in _PROPAGATIONS:
        raise InvalidArgument(f"{what}invalid propagation mode: {propagation}")
    return {
        "Type": "bind",
        "Source": posixpath.normpath(source),
        "Destination": destination,
        "Mode": "",
        "RW": not document.get("ReadOnly"),
        "Propagation": propagation,
        "Required": not options.get("CreateMountpoint"),
        "Recursive": not options.get("NonRecursive"),
        **({"Options": ["rro"]} if options.get("ReadOnlyForceRecursive") else {}),
    }


_OF_KIND = {"tmpfs": _tmpfs_mount, "volume": _volume_mount, "bind": _bind_mount}


def _cut(text: str) -> _Spec:
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    source = parts[0] if len(parts) > 1 else ""
    kind = "bind" if source.startswith("/") else "volume"
    modes = tuple(parts[2].split(",")) if len(parts) == 3 else ()
    known = [sum(mode in group for mode in modes) for group in _EXCLUSIVE]
    if sum(known) < len(modes) or any(count > 1 for count in known):
        raise InvalidArgument(f"invalid mode: {parts[2]}")
    return _Spec(source, _destination(parts[min(1, len(parts) - 1)], _named(kind, text)), modes)


def _destination(path: str, lead: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"{lead}invalid mount path: '{path}' mount path must be absolute")
    normal = posixpath.normpath(path)
    if normal in ("/", "//"):
        raise InvalidArgument(f"{lead}invalid specification: destination can't be '/'")
    return normal


def _inherited(text: str, inherit: Inherit) -> list[Json]:
    reference, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgument(f"invalid mode: {mode}")
    changes = {"RW": False, "Mode": "ro"} if mode == "ro" else {}
    return [point | (changes if point["Type"] != "tmpfs" else {}) for point in inherit(reference)]
