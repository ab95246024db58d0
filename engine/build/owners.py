"""`--chown`: whose the copied files are, by the image's own passwd and group. Reads those two files."""

from __future__ import annotations

from pathlib import Path

from engine.runtime import accounts
from netpy.errors import InvalidArgument

ROOT = (0, 0)


def owner(root: Path, text: str) -> tuple[int, int]:
    """The numbers of `user[:group]` in the image mounted at `root`; without a group, the one that is called, or
    numbered, as the user is. InvalidArgument for a name that the image does not know."""
    if not text:
        return ROOT
    user, colon, group = text.partition(":")
    try:
        uid = _number(accounts.read_text(root, "etc/passwd"), user, "user")
        gid = _number(accounts.read_text(root, "etc/group"), group if colon else user, "group")
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to convert uid/gid chown string to host mapping: {error}") from error
    return uid, gid


def _number(table: str, name: str, kind: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    for line in table.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    short = "uid" if kind == "user" else "gid"
    raise InvalidArgument(f"can't find {short} for {kind} {name}: no such {kind}: {name}")
