"""Options of volumes of the driver `local`: `type`, `device` and `o`, as for mount(8), and what they come to. Pure.

A volume with options is a file system that is mounted while somebody uses it. The words of the complaints are Docker's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from netpy.errors import InvalidArgument

_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_KNOWN = ("type", "device", "o", "size")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _SYNC, _REMOUNT, _MANDLOCK, _DIRSYNC = 1, 2, 4, 8, 16, 32, 64, 128
_NOATIME, _NODIRATIME, _BIND, _REC, _RELATIME, _STRICTATIME = 1 << 10, 1 << 11, 1 << 12, 1 << 14, 1 << 21, 1 << 24
_UNBINDABLE, _PRIVATE, _SLAVE, _SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
PROPAGATION = _UNBINDABLE | _PRIVATE | _SLAVE | _SHARED
READ_ONLY_BIND = _RDONLY | _BIND
REMOUNT = _REMOUNT
# The options of mount(8) that are flags of mount(2): what each clears, what it sets.
_FLAGS: Mapping[str, tuple[int, int]] = {
    "defaults": (0, 0), "rw": (_RDONLY, 0), "ro": (0, _RDONLY), "suid": (_NOSUID, 0), "nosuid": (0, _NOSUID),
    "dev": (_NODEV, 0), "nodev": (0, _NODEV), "exec": (_NOEXEC, 0), "noexec": (0, _NOEXEC), "async": (_SYNC, 0),
    "sync": (0, _SYNC), "remount": (0, _REMOUNT), "mand": (0, _MANDLOCK), "nomand": (_MANDLOCK, 0),
    "dirsync": (0, _DIRSYNC), "atime": (_NOATIME, 0), "noatime": (0, _NOATIME), "diratime": (_NODIRATIME, 0),
    "nodiratime": (0, _NODIRATIME), "bind": (0, _BIND), "rbind": (0, _BIND | _REC), "relatime": (0, _RELATIME),
    "norelatime": (_RELATIME, 0), "strictatime": (0, _STRICTATIME), "nostrictatime": (_STRICTATIME, 0),
    "unbindable": (0, _UNBINDABLE), "runbindable": (0, _UNBINDABLE | _REC), "private": (0, _PRIVATE),
    "rprivate": (0, _PRIVATE | _REC), "slave": (0, _SLAVE), "rslave": (0, _SLAVE | _REC), "shared": (0, _SHARED),
    "rshared": (0, _SHARED | _REC),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounting:
    """The arguments of mount(2), but for the target."""

    device: str
    kind: str
    flags: int
    data: str


def check_name(name: str) -> None:
    """InvalidArgument for what cannot be a volume's name."""
    if len(name) < 2:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _VALID.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def check_options(name: str, options: Mapping[str, str]) -> None:
    """InvalidArgument for options that the driver does not take, or that lack others."""
    for key in options:
        if key not in _KNOWN:
            raise InvalidArgument(f'create {name}: invalid option: "{key}"')
    if options.get("size"):
        raise InvalidArgument(f"create {name}: quota size requested but no quota support")
    for key, needed in _NEEDS.items():
        for other in needed if options.get(key) else ():
            if not options.get(other):
                raise InvalidArgument(f'create {name}: missing required option: "{other}"')


def mounting(options: Mapping[str, str]) -> Mounting | None:
    """What is to be mounted; None for a plain directory."""
    if not options.get("type"):
        return None
    flags, data = 0, list[str]()
    for option in filter(None, options.get("o", "").split(",")):
        if option in _FLAGS:
            cleared, added = _FLAGS[option]
            flags = flags & ~cleared | added
        else:
            data.append(option)
    return Mounting(device=options.get("device", ""), kind=options["type"], flags=flags, data=",".join(data))


def address(mounting: Mounting) -> str:
    """The host name in `addr=` of a network file system, which the kernel wants as an address; empty for none."""
    if mounting.kind not in ("nfs", "nfs4", "cifs"):
        return ""
    return next((part[5:] for part in mounting.data.split(",") if part.startswith("addr=")), "")


def failure(mounting: Mounting, target: str, why: str) -> str:
    """Docker's words for a mount that failed. Passwords are not repeated."""
    told = [f"mount {mounting.device}:{target}"]
    told += [f"flags: {mounting.flags:#x}"] if mounting.flags else []
    data = re.sub(r"(^|,)(password=)[^,]*", r"\1\2********", mounting.data)
    told += [f"data: {data}"] if data else []
    return f"error while mounting volume '{target}': failed to mount local volume: {', '.join(told)}: {why}"
