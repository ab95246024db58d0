"""The process that works on a tree: `python -I -S program.py ORDER`, where ORDER is JSON.

It goes to its place first (place.py), from which the rest of the machine cannot be seen, and only then reads a name
that a stranger chose. For that reason everything it needs is imported at the top: after chroot there is no library to
import from. Tars come on standard input and go to standard output. At the end standard error carries one JSON object:
what an order asks for, or `{"error": text, "kind": which}`, with `errno` where it was a system call.
"""

# ruff: noqa: PTH100, PTH120
from __future__ import annotations

import json
import os
import stat
import sys
import tarfile
from collections.abc import Callable, Iterable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from engine.trees import extracting, packing, paths, place, planting
from engine.trees.changes import Comparison
from engine.trees.compression import Malformed
from engine.trees.extracting import Options, Refused
from engine.trees.placeholders import Placeholders

Json = dict[str, Any]


class Misplaced(Exception):
    """The path is not one to extract to; `kind` says why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main(order: Json) -> Json:
    """Carry out an order; the report."""
    try:
        return VERBS[order["verb"]](order) or {}
    except Misplaced as failure:
        return {"error": str(failure), "kind": failure.kind}
    except (Malformed, Refused, tarfile.TarError, UnicodeError, EOFError, ValueError) as failure:
        return {"error": str(failure), "kind": "archive"}
    except OSError as failure:
        return {"error": _told(failure), "kind": "system", "errno": failure.errno or 0}
    except Exception as failure:
        return {"error": f"{type(failure).__name__}: {failure}", "kind": "fault"}


def layer(order: Json) -> None:
    """The layer of what was written to the overlay's directory `root`."""
    place.enter_directory(order["root"])
    _send(packing.layer("/", Placeholders(order["hidden"])))


def changes(order: Json) -> None:
    """What the overlay's directory `root` changes in the tree whose descriptor is `lower`: one JSON list a line."""
    os.chdir("/")
    place.enter_directory(order["root"])
    found = Comparison("/", order["lower"], Placeholders(order["hidden"])).changes()
    _send(json.dumps(change).encode() + b"\n" for change in found)


def status(order: Json) -> Json:
    """What is at `path` in a view."""
    place.enter_view(order["view"])
    place.surrender()
    return paths.status(paths.absolute(order["path"]))


def fetch(order: Json) -> None:
    """One line of JSON, the status of `path` in a view; then its tar."""
    place.enter_view(order["view"])
    place.surrender()
    path = paths.absolute(order["path"])
    found = paths.status(path)
    source = paths.resolved(path)
    chunks = packing.plain(source.rstrip("/") or "/", paths.base(path))
    os.write(1, json.dumps(found).encode() + b"\n")
    _send(chunks)


def export(order: Json) -> None:
    """The tar of all that is in a view."""
    place.enter_view(order["view"])
    place.surrender()
    _send(packing.plain("/", ""))


def extract(order: Json) -> None:
    """Write the tar on standard input to `path` in a view."""
    place.enter_view(order["view"])
    place.surrender()
    target = os.path.realpath(paths.absolute(order["path"]))
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        raise Misplaced("missing", "no such directory") from None
    if not stat.S_ISDIR(found.st_mode):
        raise Misplaced("place", "extraction point is not a directory")
    _check_writable(target, order["view"])
    extracting.extract(sys.stdin.buffer, target, _options(order))


def fill(order: Json) -> None:
    """Write the tar on standard input to the directory `path` below `root`, which is made when it is missing."""
    place.enter_directory(order["root"])
    place.surrender()
    target = os.path.realpath(paths.absolute(order["path"]))
    options = _options(order)
    extracting.make_directories(target, options.owner)
    extracting.extract(sys.stdin.buffer, target, options)


def plant(order: Json) -> None:
    """Copy files from the tree whose descriptor is `tree` to `destination` below `root`; see planting.py."""
    place.enter_directory(order["root"])
    planting.plant(order)


def make_directory(order: Json) -> None:
    """Make the directory `path` below `root`, and those above it."""
    place.enter_directory(order["root"])
    place.surrender()
    extracting.make_directories(os.path.realpath(paths.absolute(order["path"])), None)


def _options(order: Json) -> Options:
    owner = order["owner"]
    return Options(owner=(owner[0], owner[1]) if owner else None, keep_kinds=order["keep_kinds"])


def _check_writable(target: str, view: Json) -> None:
    """Docker looks before it leaps, so that its words are better than the kernel's."""
    mounts = [mount for mount in view["mounts"] if _within(target, mount["destination"])]
    nearest = max(mounts, key=lambda mount: len(mount["destination"]), default=None)
    if nearest is not None and not nearest["writable"]:
        raise Misplaced("read-only", "mounted volume is marked read-only")
    free = nearest is not None or any(_within(target, path) for path in view["tmpfs"] if view["namespace"] >= 0)
    if not free and not view["writable"]:
        raise Misplaced("read-only", "container rootfs is marked read-only")


def _within(path: str, directory: str) -> bool:
    real = os.path.realpath(directory)
    return path == real or path.startswith(real.rstrip("/") + "/")


def _send(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(1, view) :]


def _told(failure: OSError) -> str:
    names = " ".join(str(name) for name in (failure.filename, failure.filename2) if name is not None)
    reason = (failure.strerror or str(failure)).lower()
    return f"{names}: {reason}" if names else reason


VERBS: dict[str, Callable[[Json], Json | None]] = {
    verb.__name__: verb for verb in (layer, changes, status, fetch, export, extract, fill, plant, make_directory)
}

if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), file=sys.stderr, flush=True)
    os._exit(0)
