"""Files and directories that exist in a container only for something to be mounted over: not changes of the user's.

A runtime makes them in the writable layer where the image lacks them, empty, and their parents with them. Docker has
them in a layer of its own between the image and the container; here they are passed over when the writable layer is
read, as long as they are as they were made. Pure but for a look at whether a directory is empty.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

PLACES = (
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/mqueue",
    "dev/pts",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "proc",
    "sys",
)
"""The paths that every container gets something mounted over, without slash; and the mark of a container."""
PARENTS = ("etc",)
"""Those above them that are more than that themselves."""


class Placeholders:
    """Tells them from content. `known` has None for a path that is mounted over, and `[mode, uid, gid]` for a directory
    above one as the layers below have it. `root` is where paths begin."""

    def __init__(self, known: Mapping[str, Sequence[int] | None], root: str = "/") -> None:
        self._known = known
        self._root = root

    def __call__(self, path: str, status: os.stat_result) -> bool:
        """Whether what is at `path`, without the slash in front, is one."""
        if path not in self._known or self._known[path] is not None:
            return False
        if stat.S_ISREG(status.st_mode):
            return status.st_size == 0
        return stat.S_ISDIR(status.st_mode) and self._holds_nothing(path)

    def is_bare(self, path: str, status: os.stat_result) -> bool:
        """Whether a directory without content is only there for the sake of one of them."""
        as_below = self._known.get(path)
        return as_below is not None and tuple(as_below) == (status.st_mode, status.st_uid, status.st_gid)

    def _holds_nothing(self, path: str) -> bool:
        try:
            with os.scandir(posixpath.join(self._root, path)) as entries:
                return all(
                    f"{path}/{entry.name}" in self._known
                    and self(f"{path}/{entry.name}", entry.stat(follow_symlinks=False))
                    for entry in entries
                )
        except OSError:
            return False


def known(lowers: Sequence[Path]) -> dict[str, Sequence[int] | None]:
    """What Placeholders wants, on top of these layers, the topmost first."""
    found: dict[str, Sequence[int] | None] = dict.fromkeys(PLACES)
    for parent in PARENTS:
        for lower in lowers:
            try:
                status = (lower / parent).lstat()
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                found[parent] = [status.st_mode, status.st_uid, status.st_gid]
            break
    return found
