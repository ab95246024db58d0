"""The context of `build`: a directory as a tar, without what its ignore file keeps out; or what standard input holds.

Decides which files go along and under which names; reads them when they are sent. All of them belong to root in the
tar, as with Docker. The Dockerfile and the ignore file go along even if they are ignored: the daemon needs them, and
takes them out again.
"""

from __future__ import annotations

import io
import os
import posixpath
import secrets
import stat
import sys
import tarfile
from pathlib import Path

from engine.build.ignore import Ignore, read
from engine.cli.command import CommandError
from engine.cli.records import record
from netpy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 256 * 1024
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


@record
class Sent:
    """What is sent: `pieces` is a tar, `dockerfile` its name in there, `remote` a URL instead of both."""

    pieces: Iterator[bytes] | None
    dockerfile: str
    remote: str = ""


def context(where: str, dockerfile: str) -> Sent:
    """The context that `where` names: a directory, `-`, or a URL. Raises CommandError in Docker's words."""
    if where == "-":
        if dockerfile == "-":
            raise CommandError("invalid argument: can't use stdin for both build context and dockerfile")
        return _from_stdin(dockerfile)
    if _is_remote(where):
        return Sent(pieces=None, dockerfile=dockerfile, remote=where)
    try:
        return _from_directory(Path(where), dockerfile)
    except InvalidArgument as error:
        raise CommandError(f"error checking context: {error}") from error


def _is_remote(where: str) -> bool:
    urls = where.startswith(("http://", "https://", "git://", "git@", "github.com/"))
    return urls and not Path(where).is_dir()


def _from_stdin(dockerfile: str) -> Sent:
    stream = sys.stdin.buffer
    head = stream.read(512)
    if not head:
        raise CommandError("unable to prepare context: failed to peek context header from STDIN: EOF")
    if head.startswith(_MAGIC) or head[257:262] == b"ustar":
        return Sent(pieces=_rest(head), dockerfile=dockerfile)
    content = head + stream.read()
    return Sent(pieces=iter([_entry_of("Dockerfile", content), bytes(1024)]), dockerfile="Dockerfile")


def _rest(head: bytes) -> Iterator[bytes]:
    yield head
    while piece := sys.stdin.buffer.read(_CHUNK):
        yield piece


def _from_directory(root: Path, dockerfile: str) -> Sent:
    if not root.exists():
        raise CommandError(f'unable to prepare context: path "{root}" not found')
    if not root.is_dir():
        raise CommandError(f"unable to prepare context: context must be a directory: {root.absolute()}")
    root = root.resolve()
    name, content = _located(root, dockerfile)
    patterns, text = _patterns(root, name if content is None else "")
    if content is not None:
        # One from elsewhere goes along under a name that nothing else has, and is ignored there.
        name = f".dockerfile.{secrets.token_hex(10)}"
        text = f"{text}\n{name}\n.dockerignore\n" if text else f"{name}\n.dockerignore\n"
    keep = {name, f"{name}.dockerignore", ".dockerignore"}
    extra = {} if content is None else {name: content, ".dockerignore": text.encode()}
    return Sent(pieces=_tar(root, patterns, keep, extra), dockerfile=name)


def _located(root: Path, dockerfile: str) -> tuple[str, bytes | None]:
    """The Dockerfile's name within the context; its content as well when it comes from elsewhere."""
    if dockerfile == "-":
        return "", sys.stdin.buffer.read()
    wanted = Path(dockerfile) if dockerfile else root / "Dockerfile"
    if not dockerfile and not wanted.exists() and (root / "dockerfile").exists():
        wanted = root / "dockerfile"
    try:
        real = wanted.resolve(strict=True)
    except OSError as error:
        raise CommandError(
            "unable to prepare context: unable to evaluate symlinks in Dockerfile path: "
            f"lstat {wanted.absolute()}: {(error.strerror or str(error)).lower()}"
        ) from error
    shown = Path(os.path.abspath(wanted))  # noqa: PTH100 - links stay: the daemon follows them in the context
    for place in (shown, real):
        if place.is_relative_to(root):
            return place.relative_to(root).as_posix(), None
    return "", real.read_bytes()


def _patterns(root: Path, name: str) -> tuple[Ignore, str]:
    for candidate in (f"{name}.dockerignore" if name else "", ".dockerignore"):
        if candidate and (root / candidate).is_file():
            text = (root / candidate).read_text(errors="replace")
            return read(text), text
    return Ignore(), ""


def _tar(root: Path, patterns: Ignore, keep: set[str], extra: dict[str, bytes]) -> Iterator[bytes]:
    for name, content in extra.items():
        yield _entry_of(name, content)
    for path in _walk(root, "", patterns):
        if path in extra or (patterns.excludes(path) and path not in keep):
            continue
        yield from _entry(root, path)
    yield bytes(1024)


def _walk(root: Path, prefix: str, patterns: Ignore) -> Iterator[str]:
    with os.scandir(root / prefix) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = posixpath.join(prefix, entry.name)
        yield path
        if entry.is_dir(follow_symlinks=False) and (patterns.brings_back or not patterns.excludes(path)):
            yield from _walk(root, path, patterns)
        elif entry.is_dir(follow_symlinks=False):
            # The Dockerfile may lie in a directory that is ignored as a whole.
            yield from (f"{path}/{name}" for name in _dockerfiles(root / path))


def _dockerfiles(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*ockerfile*") if path.is_file())


def _entry(root: Path, path: str) -> Iterator[bytes]:
    place = root / path
    status = place.lstat()
    if stat.S_ISSOCK(status.st_mode):
        return
    info = tarfile.TarInfo(path)
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(place)  # noqa: PTH115 - the text as it is
    elif stat.S_ISREG(status.st_mode):
        yield from _file(place, info)
        return
    else:
        info.type = tarfile.FIFOTYPE if stat.S_ISFIFO(status.st_mode) else tarfile.CHRTYPE
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    yield _encoded(info)


def _file(place: Path, info: tarfile.TarInfo) -> Iterator[bytes]:
    """A file as it is when its turn comes; one that shrinks meanwhile is filled up, so that the tar stays whole."""
    try:
        stream = open(place, "rb")  # noqa: SIM115 - closed below, after the header has gone out
    except PermissionError as error:
        raise CommandError(f"error checking context: no permission to read from '{place}'") from error
    with stream:
        info.size = left = os.fstat(stream.fileno()).st_size
        yield _encoded(info)
        while left:
            piece = stream.read(min(left, _CHUNK)) or bytes(min(left, _CHUNK))
            left -= len(piece)
            yield piece
    yield bytes(-info.size % tarfile.BLOCKSIZE)


def _entry_of(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    out = io.BytesIO()
    out.write(_encoded(info) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return out.getvalue()


def _encoded(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
