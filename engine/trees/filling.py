"""Tars written into a directory of the host, confined to it: a builder's COPY and ADD.

What is in the tar gets nowhere else: names with `..` and links that lead out are refused, and the process that writes
has the directory for its root. Starts that process; decides nothing.
"""

from __future__ import annotations

from pathlib import Path

from engine.trees.child import Failure, Stream, working
from netpy.errors import InvalidArgument, KernelError


def fill(
    root: Path, path: str, stream: Stream, *, owner: tuple[int, int] | None = None, keep_kinds: bool = False
) -> None:
    """Write a tar, plain or compressed by gzip, bzip2 or xz, to the directory `path` below `root`.

    `path` is a path within `root`: links in it are followed as if `root` were `/`, and it is made when it is missing.
    `owner` takes the place of the owners in the tar. With `keep_kinds` a directory is never replaced by something
    else, nor the other way round (Docker's noOverwriteDirNonDir). InvalidArgument when the tar is bad or a trap,
    KernelError when the disk fails; what was written before stays.
    """
    order = {"verb": "fill", "root": str(root), "path": path, "owner": owner, "keep_kinds": keep_kinds}
    with working(order, fed=True) as child:
        child.feed(stream)
        child.source.close()
        report = child.report()
    if isinstance(report, Failure):
        kind = InvalidArgument if report.kind == "archive" else KernelError
        raise kind(f"writing an archive to {path}: {report.text}")
