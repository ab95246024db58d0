"""What the two paths of a `cp` mean: Docker's rules for trailing slashes, `/.`, links and what exists already.

A source is described by where it is and what its entries are to be called; a destination by whether it exists and is
a directory. `prepared` puts both together: the directory to extract into, and the name that the copy gets there.
Looks at local files; copies nothing. Errors have Docker's words.
"""

from __future__ import annotations

import os
import posixpath
import stat

from engine.cli.command import CommandError
from engine.cli.records import record

MOST_LINKS = 10


@record
class Place:
    """One end of a copy. `rename` is what the source is to be called when links were followed to it."""

    path: str
    exists: bool = True
    directory: bool = False
    rename: str = ""


def cut(argument: str) -> tuple[str, str]:
    """`CONTAINER:PATH` in two; the container is empty for a local path. `./a:b` and `/a:b` are local."""
    container, colon, path = argument.partition(":")
    if argument.startswith("/") or not colon or container.startswith("."):
        return "", argument
    return container, path


def split(path: str) -> tuple[str, str]:
    """Directory and last element of a path; the latter is `.` where the path ends so."""
    clean = posixpath.normpath(path) if path else "."
    if _is_current(path):
        clean = posixpath.join(clean, ".")
    directory, _, base = clean.rpartition("/")
    if not directory:
        directory = "/" if clean.startswith("/") else "."
    return directory, base or "/"


def absolute(path: str) -> str:
    """A local path from the root, with the slash or `/.` at its end kept."""
    return _kept_end(os.path.abspath(path), path)  # noqa: PTH100


def joined(link: str, target: str) -> str:
    """Where a link at `link` leads."""
    return target if target.startswith("/") else posixpath.join(split(link)[0], target)


def prepared(source: Place, destination: Place) -> tuple[str, str]:
    """Where to extract to, and the name of the copy there; empty where it keeps its own."""
    if destination.exists and destination.directory:
        return destination.path, ""
    directory, base = split(destination.path)
    if destination.exists and source.directory:
        raise CommandError("cannot copy directory")
    if not destination.exists and not source.directory and _asserts_directory(destination.path):
        raise CommandError("no such directory")
    return directory, base


def local_source(path: str, *, follow: bool) -> Place:
    """A local file or directory. Raises CommandError when it is missing, or no directory although it is called one."""
    try:
        if follow:
            resolved, rename = rebased(path, os.path.realpath(path, strict=True))
        else:
            directory, _, base = path.rpartition("/")
            resolved = posixpath.join(os.path.realpath(directory or "/", strict=True), base)
            moved = path.endswith("/") and _base(path) != _base(resolved)
            rename = _base(path) if moved else ""
        found = os.lstat(resolved)
    except NotADirectoryError:
        raise CommandError("not a directory") from None
    except OSError as error:
        raise CommandError(f"lstat {path}: {(error.strerror or str(error)).lower()}") from None
    return Place(path=resolved, directory=stat.S_ISDIR(found.st_mode), rename=rename)


def rebased(path: str, target: str) -> tuple[str, str]:
    """The target of a link with the end that `path` had, and the name that its copy keeps, if it is another."""
    target = _kept_end(target, path)
    return target, _base(path) if _base(path) != _base(target) else ""


def local_destination(path: str) -> Place:
    """A local destination, links followed. Raises CommandError without a directory for it to be in."""
    for _ in range(MOST_LINKS + 1):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            _check_parent(path)
            return Place(path=path, exists=False)
        except OSError as error:
            raise CommandError(f"lstat {path}: {(error.strerror or str(error)).lower()}") from None
        if not stat.S_ISLNK(found.st_mode):
            return Place(path=path, directory=stat.S_ISDIR(found.st_mode))
        path = joined(path, os.readlink(path))  # noqa: PTH115
    raise CommandError(f"too many symlinks in {path}")


def check_output(path: str) -> None:
    """Refuses what no file can be written to. Raises CommandError."""
    directory = posixpath.dirname(posixpath.normpath(path)) or "."
    if not os.path.exists(directory):  # noqa: PTH110
        raise CommandError(f'invalid output path: directory "{directory}" does not exist')
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return
    if is_device(mode):
        raise CommandError(f'invalid output path: "{path}" must be a directory or a regular file: got a device')


def is_device(mode: int) -> bool:
    """Whether a file of that mode is nothing to copy to."""
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _check_parent(path: str) -> None:
    parent = split(path)[0]
    try:
        found = os.stat(parent)  # noqa: PTH116
    except OSError as error:
        raise CommandError(f"stat {parent}: {(error.strerror or str(error)).lower()}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise CommandError("not a directory")


def _kept_end(clean: str, original: str) -> str:
    if _is_current(original) and not _is_current(clean):
        clean = clean.rstrip("/") + "/."
    if original.endswith("/") and not clean.endswith("/"):
        clean += "/"
    return clean


def _is_current(path: str) -> bool:
    return posixpath.basename(path) == "."


def _asserts_directory(path: str) -> bool:
    return path.endswith("/") or _is_current(path) or not path


def _base(path: str) -> str:
    return posixpath.basename(path.rstrip("/")) or "/"
