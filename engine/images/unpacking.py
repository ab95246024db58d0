"""The unpacker as seen from outside: started, fed, waited for, and its report turned into a value or an error.

The work is done by unpack.py in a process of its own, and by `zstd -d` before it when the data asks for that. This
module starts them (subprocess, no fork of our own) and knows nothing of where layers are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from engine.images import unpack
from netpy.errors import InvalidArgument, KernelError, Unsupported

CHUNK = 1 << 20
ZSTD = b"\x28\xb5\x2f\xfd"
_PROGRAM = [sys.executable, "-I", "-S", "-X", "utf8", unpack.__file__]


class Stream(Protocol):
    """Anything that is read to its end, such as a request's body."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A layer that is whole but not yet in its place. Sizes in bytes: of the tar, and of the files' content.

    `blob` is the digest of the data as it came, compressed or not.
    """

    directory: Path
    diff_id: str
    tar_size: int
    size: int
    blob: str


class Unpacking:
    """An unpacker at work. `fileno` becomes readable when it has done."""

    def __init__(self, directory: Path, source: IO[bytes] | int, *, zstd: bool) -> None:
        """Start to unpack an open file, or what `feed` gives when `source` is PIPE, into an empty `directory`."""
        self._directory = directory
        self._front: subprocess.Popen[bytes] | None = None
        try:
            if zstd:
                self._front = _zstd(source)
                source = _not_none(self._front.stdout)
            self._process = subprocess.Popen(
                [*_PROGRAM, str(directory)], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            self._pidfd = os.pidfd_open(self._process.pid)
        except BaseException:
            self._end_front(kill=True)
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if self._front is not None:
            # Only the unpacker may hold this end, else zstd would never notice that it has died.
            _not_none(self._front.stdout).close()

    def fileno(self) -> int:
        return self._pidfd

    def feed(self, first: bytes, rest: Stream) -> str:
        """Write `first` and all of `rest`; the digest of both. An unpacker that stopped early stops the feeding."""
        digest = hashlib.sha256()
        entrance = _not_none((self._front or self._process).stdin)
        with contextlib.suppress(BrokenPipeError), entrance:
            chunk = first
            while chunk:
                digest.update(chunk)
                entrance.write(chunk)
                chunk = rest.read(CHUNK)
        return f"sha256:{digest.hexdigest()}"

    def result(self, blob: str) -> Unpacked:
        """Wait for the end. InvalidArgument when the archive is bad, KernelError when the machine failed; then
        nothing is left."""
        text = _not_none(self._process.stdout).read()
        broken = self._end_front(kill=False)
        self._release()
        try:
            report = _report(text)
            if broken:
                raise InvalidArgument("corrupt zstd data")
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        return Unpacked(
            directory=self._directory,
            diff_id=report["diff_id"],
            tar_size=report["tar_size"],
            size=report["size"],
            blob=blob or report["diff_id"],
        )

    def cancel(self) -> None:
        """Stop at once and leave nothing."""
        self._process.kill()
        self._end_front(kill=True)
        self._release()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _release(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        os.close(self._pidfd)

    def _end_front(self, *, kill: bool) -> bool:
        """End the decompressor in front, if any. True when it failed."""
        if self._front is None:
            return False
        if kill:
            self._front.kill()
        if self._front.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._front.stdin.close()
        return self._front.wait() != 0


def _zstd(source: IO[bytes] | int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(["zstd", "-dcq"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Unsupported("a layer is compressed with zstd: install the package zstd") from None


def _report(text: bytes) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(text)
    except ValueError:
        last = text.decode(errors="replace").strip().rpartition("\n")[2]
        raise KernelError(f"unpacking a layer: the unpacker failed: {last or 'killed'}") from None
    if "error" not in report:
        return report
    message = f"unpacking a layer: {report['error']}"
    raise KernelError(message) if report["machine"] else InvalidArgument(message)


def _not_none(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
