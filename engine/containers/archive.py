"""Files and trees moved in and out of containers: `docker cp`, `export` and `diff`.

The work is done by processes of engine/trees, which see the container's files and nothing else; here is decided what
they are asked, what their failures mean, and which events tell of it. Whether the container runs makes no
difference. Tars are streamed: what is held in memory does not grow with them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.containers.parts import Parts, announce
from engine.containers.records import Entry
from engine.containers.viewing import descriptors, root, view
from engine.model import Json
from engine.runtime import accounts
from engine.trees import child, placeholders
from engine.trees.child import Child, Failure, Stream
from netpy.errors import Conflict, Forbidden, InvalidArgument, KernelError, NetpyError, NotFound

_BY_NAME = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a tar goes: a directory, by its path in the container. `keep_kinds` is Docker's noOverwriteDirNonDir,
    `copy_owner` its copyUIDGID: everything is to belong to the container's user."""

    path: str
    keep_kinds: bool = False
    copy_owner: bool = False


class Tar(Iterator[bytes]):
    """A tar on its way out of a process. Closing it ends the process, also before the end of the tar."""

    def __init__(self, worker: Child, held: ExitStack, doing: str) -> None:
        self._worker = worker
        self._held = held
        self._doing = doing

    def __next__(self) -> bytes:
        piece = self._worker.source.read1(child.CHUNK)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        if piece:
            return bytes(piece)  # pyright: ignore[reportUnknownArgumentType]
        child.check(self._worker, self._doing)
        self.close()
        raise StopIteration

    def close(self) -> None:
        self._held.close()


def status(parts: Parts, entry: Entry, ref: str, path: str) -> Json:
    """Docker's document of what is at a path. NotFound, by the name that the client used, when nothing is."""
    with view(parts, entry) as found:
        order = {"verb": "status", "view": found, "path": _named(path)}
        with child.working(order, descriptors=descriptors(found)) as worker:
            report = worker.report()
    if isinstance(report, Failure):
        raise _unread(report, ref, path)
    return report


def fetch(parts: Parts, entry: Entry, ref: str, path: str) -> tuple[Json, Tar]:
    """What is at a path: the document, and a tar of it. Equivalent: `docker cp CONTAINER:PATH -`."""
    with ExitStack() as stack:
        found = stack.enter_context(view(parts, entry))
        order = {"verb": "fetch", "view": found, "path": _named(path)}
        worker = stack.enter_context(child.working(order, descriptors=descriptors(found)))
        first = worker.source.readline()
        if not first:
            report = worker.report()
            raise _unread(report if isinstance(report, Failure) else Failure(text="no answer"), ref, path)
        announce(parts, entry.container, "archive-path")
        return json.loads(first), Tar(worker, stack.pop_all(), f"reading {path} in container {entry.id}")


def extract(parts: Parts, entry: Entry, ref: str, target: Target, stream: Stream) -> None:
    """Write a tar into a directory of the container. Equivalent: `docker cp - CONTAINER:PATH`.

    NotFound or InvalidArgument when that is no directory or the tar is bad, Forbidden when it is read-only. What was
    written before a failure stays, as with Docker.
    """
    with view(parts, entry) as found:
        order = {
            "verb": "extract",
            "view": found,
            "path": _named(target.path),
            "owner": _owner(entry, found) if target.copy_owner else None,
            "keep_kinds": target.keep_kinds,
        }
        with child.working(order, fed=True, descriptors=descriptors(found)) as worker:
            worker.feed(stream)
            report = worker.report()
    if isinstance(report, Failure):
        raise _unwritten(report, ref, target.path)
    announce(parts, entry.container, "extract-to-dir")


def export(parts: Parts, entry: Entry) -> Tar:
    """All of the container's own files, without what is mounted into it. Equivalent: `docker export`."""
    check(entry, "export")
    with ExitStack() as stack:
        found = stack.enter_context(root(parts, entry.container))
        worker = stack.enter_context(child.working({"verb": "export", "view": found}, descriptors=descriptors(found)))
        announce(parts, entry.container, "export")
        return Tar(worker, stack.pop_all(), f"exporting container {entry.id}")


def changes(parts: Parts, entry: Entry) -> list[Json]:
    """What the container changed in its image's files: `[{"Path", "Kind"}]`. Equivalent: `docker diff`."""
    container = entry.container
    upper = parts.paths.layer(container.id) / "upper"
    if not upper.exists():
        return []
    lowers = parts.images.layers(container.image_id)
    with ExitStack() as stack:
        try:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diff-", dir=upper.parent)))
            lower = stack.enter_context(parts.mounter.view(lowers, scratch / "upper", scratch / "work", scratch / "at"))
            order = {"verb": "changes", "root": str(upper), "lower": lower, "hidden": placeholders.known(lowers)}
            worker = stack.enter_context(child.working(order, descriptors=(lower,)))
            found = [json.loads(line) for line in worker.source]
            child.check(worker, f"comparing the files of container {container.id}")
        except FileNotFoundError:
            raise NotFound(f"No such container: {container.id}") from None
    return [{"Path": path, "Kind": kind} for kind, path in found]


def check(entry: Entry, verb: str) -> None:
    """Conflict, in Docker's words, for a container that is on its way out."""
    state = {"removing": "being removed", "dead": "Dead"}.get(entry.container.state.status)
    if state:
        raise Conflict(f"You cannot {verb} container {entry.id} which is {state}")


def _named(path: str) -> str:
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidArgument("bad parameter: path contains a null byte")
    return path


def _owner(entry: Entry, found: Json) -> tuple[int, int] | None:
    user = entry.container.config.get("User") or ""
    if not user:
        return None
    account = accounts.resolve(Path(f"/proc/self/fd/{found['root']}"), user)
    return account.uid, account.gid


def _unread(failure: Failure, ref: str, path: str) -> NetpyError:
    if failure.errno == errno.ENOENT:
        return NotFound(f"Could not find the file {path} in container {ref}")
    if failure.errno in _BY_NAME:
        return InvalidArgument(f"lstat {failure.text}")
    return KernelError(f"reading {path} in container {ref}: {failure.text}")


def _unwritten(failure: Failure, ref: str, path: str) -> NetpyError:
    match failure.kind:
        case "missing":
            return NotFound(f"Could not find the file {path} in container {ref}")
        case "place":
            return InvalidArgument(failure.text)
        case "read-only":
            return Forbidden(failure.text)
        case "archive":
            return InvalidArgument(f"Error processing tar file(exit status 1): {failure.text}")
        case _:
            return KernelError(f"Error processing tar file(exit status 1): {failure.text}")


def discard(tar: Tar) -> None:
    """Let go of a tar that nobody will read."""
    with contextlib.suppress(NetpyError, OSError):
        tar.close()
