"""What arrives while skopeo copies an image into a directory: seen, reported, and unpacked one layer after the other.

We watch that directory: a growing file is a download, and a file under its final name is a blob whose digest skopeo
has checked, which is unpacked while the next ones still arrive. Reads the directory, starts unpackers; which image is
wanted and what becomes of the layers is pulling.py's business.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from engine.images.layers import Layers
from engine.images.manifests import Blob
from engine.images.progress import Cancellation, event
from engine.images.transports import Copying
from engine.images.unpacking import Unpacked, Unpacking
from netpy.errors import KernelError

Json = dict[str, Any]
INTERVAL = 100  # milliseconds between two looks at a growing file


class Stalled(KernelError):
    """The registry has said nothing for too long."""


class Work:
    """skopeo, and one unpacker after the other behind it. `unpacked` fills up by blob digest."""

    def __init__(
        self, directory: Path, copying: Copying, layers: Layers, missing: list[Blob], unpacked: dict[str, Unpacked]
    ) -> None:
        self.unpacked = unpacked
        self._directory = directory
        self._layers = layers
        self._copying: Copying | None = copying
        self._extraction: Extraction | None = None
        self._queue = list(missing)
        self._downloads = Downloads(directory, missing)

    @property
    def busy(self) -> bool:
        return bool(self._copying or self._extraction or self._queue)

    def offer(self, blobs: list[Blob]) -> None:
        """Put empty files in the place of blobs that we have: skopeo takes a blob for present when its file is.

        It empties the directory before it writes `version` and turns to the registry, so that we have the time of its
        first requests. Whatever comes too late is fetched once more, which does no harm.
        """
        poll = select.poll()
        if blobs and self._copying:
            poll.register(self._copying, select.POLLIN)
            while not (self._directory / "version").exists() and not poll.poll(1):
                pass
        for blob in blobs:
            with contextlib.suppress(FileExistsError), (self._directory / blob.digest[7:]).open("xb") as target:
                target.truncate(blob.size)

    def wait(self, cancellation: Cancellation, patience: float) -> None:
        """Until a process has ended, or it is time to look at the files again. Raises Cancelled, or Stalled."""
        poll = select.poll()
        poll.register(cancellation, select.POLLIN)
        for process in (self._copying, self._extraction and self._extraction.unpacking):
            if process:
                poll.register(process, select.POLLIN)
        poll.poll(INTERVAL)
        cancellation.check()
        if self._copying and self._downloads.idle() > patience:
            raise Stalled(f"the registry has sent nothing for {patience:g} seconds")

    def events(self) -> Iterator[Json]:
        """Take notice of what has happened, and start what can be started."""
        if self._copying and _ended(self._copying):
            finished, self._copying = self._copying, None
            finished.result()
        yield from self._downloads.events()
        if self._extraction:
            yield from self._progress(self._extraction)
        if self._queue and not self._extraction:
            self._extract_next(self._queue[0])

    def cancel(self) -> None:
        """Stop what still runs."""
        if self._copying:
            self._copying.cancel()
        if self._extraction:
            self._extraction.cancel()
        self._copying = self._extraction = None

    def _progress(self, extraction: Extraction) -> Iterator[Json]:
        ended = _ended(extraction.unpacking)
        yield from extraction.events()
        if ended:
            self._extraction = None
            self.unpacked[extraction.blob.digest] = extraction.result()
            yield event("Pull complete", extraction.blob.digest)

    def _extract_next(self, blob: Blob) -> None:
        if blob.digest in self._downloads.complete:
            self._extraction = Extraction(blob, self._directory / blob.digest[7:], self._layers)
            self._queue.pop(0)
        elif not self._copying:
            raise KernelError(f"skopeo ended well but did not bring blob {blob.digest}")


class Downloads:
    """The blobs that arrive in a directory, as their files show it.

    skopeo writes a blob to `dir-put-blob<random>` and renames it when its digest is right. Which blob a growing file
    will become is guessed by order, and corrected by the inode once it has its name.
    """

    def __init__(self, directory: Path, blobs: list[Blob]) -> None:
        self.complete: set[str] = set()
        self._directory = directory
        self._blobs = {blob.digest: blob for blob in blobs}
        self._unseen = [blob.digest for blob in blobs]
        self._guess: dict[int, str] = {}
        self._shown: dict[str, int] = {}
        self._last: list[tuple[str, int, int]] = []
        self._moved = time.monotonic()

    def idle(self) -> float:
        """Seconds since anything changed."""
        return time.monotonic() - self._moved

    def events(self) -> Iterator[Json]:
        """What has changed since the last look."""
        found = _listing(self._directory)
        if found != self._last:
            self._last, self._moved = found, time.monotonic()
        for name, inode, size in found:
            digest = f"sha256:{name}"
            if digest in self._blobs and digest not in self.complete:
                self.complete.add(digest)
                self._learn(inode, digest)
                yield event("Verifying Checksum", digest)
                yield event("Download complete", digest)
            elif name.startswith("dir-put-blob"):
                yield from self._growth(inode, size)

    def _growth(self, inode: int, size: int) -> Iterator[Json]:
        if inode not in self._guess and self._unseen:
            self._guess[inode] = self._unseen.pop(0)
        digest = self._guess.get(inode, "")
        if digest in self._blobs and digest not in self.complete and self._shown.get(digest) != size:
            self._shown[digest] = size
            yield event("Downloading", digest, size, self._blobs[digest].size)

    def _learn(self, inode: int, digest: str) -> None:
        wrong = self._guess.get(inode)
        if digest in self._unseen:
            self._unseen.remove(digest)
            if wrong and wrong != digest:
                self._unseen.insert(0, wrong)
        elif wrong and wrong != digest:
            self._guess = {key: wrong if value == digest else value for key, value in self._guess.items()}
        self._guess[inode] = digest


class Extraction:
    """A layer being unpacked from a file, whose position the unpacker shares with us."""

    def __init__(self, blob: Blob, path: Path, layers: Layers) -> None:
        self.blob = blob
        self._shown = -1
        self._file: IO[bytes] = path.open("rb", buffering=0)
        try:
            self.unpacking: Unpacking = layers.start(self._file)
        except BaseException:
            self._file.close()
            raise
        path.unlink()

    def events(self) -> Iterator[Json]:
        position = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        if position != self._shown:
            self._shown = position
            yield event("Extracting", self.blob.digest, position, self.blob.size)

    def result(self) -> Unpacked:
        self._file.close()
        return self.unpacking.result(self.blob.digest)

    def cancel(self) -> None:
        self._file.close()
        self.unpacking.cancel()


def _ended(process: Copying | Unpacking) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))


def _listing(directory: Path) -> list[tuple[str, int, int]]:
    with os.scandir(directory) as entries:
        found: list[tuple[str, int, int]] = []
        for entry in entries:
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # It was renamed while we looked; the next look finds it.
            found.append((entry.name, status.st_ino, status.st_size))
    return found
