"""`netpy cp`: files from a container to here, and from here to a container, as tars that are never held whole.

What the paths mean is decided by `places`; tars are written and read by engine/trees. Speaks to the daemon and to the
local file system.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from engine.cli import places
from engine.cli.command import Call, CommandError, command
from engine.cli.flags import flag
from engine.cli.places import Place
from engine.cli.terminal import is_terminal
from engine.cli.units import size
from engine.client import ApiError
from engine.trees import packing
from engine.trees.compression import Malformed
from engine.trees.extracting import Options, Refused, extract

_DIRECTORY, _LINK = 1 << 31, 1 << 27
_DEVICE = 1 << 26 | 1 << 21
_STAT = "x-docker-container-path-stat"
_PERIOD = 0.1


@command(
    "cp",
    "CONTAINER:SRC_PATH DEST_PATH|-\n\tnetpy cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    flag("-a", "--archive", help="Archive mode (copy all uid/gid information)"),
    flag("-L", "--follow-link", help="Always follow symbol link in SRC_PATH"),
    flag("-q", "--quiet", help="Suppress progress output during copy"),
    least=2,
    most=2,
)
def copy(call: Call) -> int | None:
    """Copy files/folders between a container and the local filesystem"""
    source, destination = call.arguments
    if not source:
        raise CommandError("source can not be empty")
    if not destination:
        raise CommandError("destination can not be empty")
    (here, source), (there, destination) = places.cut(source), places.cut(destination)
    if here and there:
        raise CommandError("copying between containers is not supported")
    if not here and not there:
        raise CommandError("must specify at least one container source")
    transfer = Transfer(call, here or there)
    if here:
        transfer.fetch(source, destination)
    else:
        transfer.send(source, destination)


class Transfer:
    """One copy from or to a container."""

    def __init__(self, call: Call, container: str) -> None:
        self._client = call.client
        self._container = container
        self._follow = call.options.flag("follow_link")
        self._archive = call.options.flag("archive")
        self._told = is_terminal(1) and not call.options.flag("quiet")
        self._route = f"/containers/{container}/archive"

    def fetch(self, path: str, destination: str) -> None:
        """From the container to here."""
        if destination != "-":
            destination = places.absolute(destination)
            places.check_output(destination)
        rename = ""
        if self._follow:
            path, rename = self._followed(path)
        with self._client.request("GET", self._route, {"path": path}) as answer:
            if destination == "-":
                for piece in answer.chunks():
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                return
            found = _decoded(answer.headers.get(_STAT, ""))
            source = Place(path=path, directory=bool(found["mode"] & _DIRECTORY), rename=rename)
            meter = Meter("Copying from container", shown=self._told)
            _extracted(_Pieces(meter.counted(answer.chunks())), source, destination)
            meter.finish(destination)

    def send(self, path: str, destination: str) -> None:
        """From here to the container."""
        target = self._target(destination)
        if path == "-":
            if not target.directory:
                raise CommandError(f'destination "{self._container}:{destination}" must be a directory')
            self._put(target.path, _standard_input())
            return
        source = places.local_source(places.absolute(path), follow=self._follow)
        directory, name = places.prepared(source, target)
        meter = Meter("Copying to container", shown=self._told)
        entry = name or source.rename or places.split(source.path)[1]
        self._put(directory, meter.counted(packing.plain(source.path.rstrip("/") or "/", entry)))
        meter.finish(f"{self._container}:{target.path}")

    def _put(self, directory: str, pieces: Iterator[bytes]) -> None:
        query = {"path": directory, "noOverwriteDirNonDir": "true", "copyUIDGID": "true" if self._archive else None}
        self._client.request("PUT", self._route, query, pieces).close()

    def _status(self, path: str) -> dict[str, Any] | None:
        try:
            with self._client.request("HEAD", self._route, {"path": path}) as answer:
                return _decoded(answer.headers.get(_STAT, ""))
        except ApiError:
            return None

    def _followed(self, path: str) -> tuple[str, str]:
        found = self._status(path)
        if found is None or not found["mode"] & _LINK:
            return path, ""
        return places.rebased(path, places.joined(path, found["linkTarget"]))

    def _target(self, path: str) -> Place:
        found, where = self._status(path), path
        if found is not None and found["mode"] & _LINK:
            where = places.joined(path, found["linkTarget"])
            found = self._status(where)
        if found is None:
            return Place(path=where, exists=False)
        if places.is_device(_mode(found["mode"])):
            raise CommandError(
                f'destination "{self._container}:{path}" must be a directory or a regular file: got a device'
            )
        return Place(path=where, directory=bool(found["mode"] & _DIRECTORY))


class Meter:
    """Counts what goes by, and tells a person who waits at a terminal."""

    def __init__(self, doing: str, *, shown: bool) -> None:
        self._doing = doing
        self._shown = shown
        self._moving = shown and is_terminal(2)
        self._drawn = False
        self._count = 0
        self._next = time.monotonic() + _PERIOD

    def counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._count += len(piece)
            if self._moving and time.monotonic() >= self._next:
                self._next, self._drawn = time.monotonic() + _PERIOD, True
                print(f"\r{self._doing} - {size(self._count)}\x1b[K", end="", file=sys.stderr, flush=True)
            yield piece

    def finish(self, where: str) -> None:
        """All is copied."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr)
        if self._shown:
            print(f"Successfully copied {size(self._count)} to {where}", file=sys.stderr)


class _Pieces:
    """Pieces of any size, read as a file is."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, most: int) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece


def _extracted(stream: _Pieces, source: Place, destination: str) -> None:
    directory, name = places.prepared(source, places.local_destination(destination))
    came = places.split(source.path)[1]
    name = name or source.rename
    rename = ("" if came == "/" else came, name) if name else None
    options = Options(keep_kinds=True, chown=False, confined=False, rename=rename)
    try:
        extract(cast(BinaryIO, stream), directory, options)
    except (Malformed, Refused, tarfile.TarError) as error:
        raise CommandError(str(error)) from error


def _standard_input() -> Iterator[bytes]:
    while piece := os.read(0, packing.CHUNK):
        yield piece


def _decoded(header: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(base64.b64decode(header))
    except ValueError:
        raise CommandError("the daemon did not say what is at that path") from None
    return found


def _mode(go: int) -> int:
    """As much of a mode as it takes to tell kinds of files, from Go's bits."""
    if go & _DIRECTORY:
        return stat.S_IFDIR
    if go & _LINK:
        return stat.S_IFLNK
    return stat.S_IFCHR if go & _DEVICE else stat.S_IFREG
