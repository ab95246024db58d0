"""Pulling an image: which manifest, which blobs, in what order, and what the user sees meanwhile.

First the manifest is asked for, because it says at once whether there is such an image for this platform, which layers
we have, and how large the others are. Then skopeo copies into a directory of ours, where an empty file stands for
each layer that need not be fetched again. We watch that directory: a growing file is a download, and a file under its
final name is a layer whose digest skopeo has checked, which is unpacked while the next ones still arrive. The events
are those of Docker's POST /images/create.

Recording the image is the catalogue's business, after `Pull.events` has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine.images import manifests, records
from engine.images.layers import Layers
from engine.images.manifests import Blob, Manifest, Platform
from engine.images.references import Reference
from engine.images.transports import Copying, Skopeo
from engine.images.unpacking import Unpacked, Unpacking
from netpy.errors import InvalidArgument, KernelError

Json = dict[str, Any]
INTERVAL = 100  # milliseconds between two looks at a growing file


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An image to be pulled: where from, with what credentials, and its manifest, which has been fetched.

    `digest` is that of the document the name points to: the index, when there is one.
    """

    reference: Reference
    auth: Json | None
    digest: str
    source: Reference
    manifest: Manifest


def order(skopeo: Skopeo, reference: Reference, auth: Json | None, platform: Platform) -> Order:
    """Ask the registry for a manifest. NotFound when there is none for the name, or none for the platform."""
    with skopeo.access(reference.domain, auth) as access:
        asked = reference.pinned(reference.digest) if reference.digest else reference
        raw = skopeo.manifest(asked, access)
        digest = records.digest_of(raw)
        document = records.document(raw, f"manifest of {reference.familiar}")
        source = reference.pinned(digest)
        if manifests.is_index(document):
            source = reference.pinned(manifests.blob(manifests.choose(document, platform)).digest)
            raw = skopeo.manifest(source, access)
            document = records.document(raw, f"manifest of {reference.familiar}")
    return Order(reference=reference, auth=auth, digest=digest, source=source, manifest=manifests.manifest(document))


class Pull:
    """One pull under way. After `events` has ended, `config` and `layers` (lowest first) are what came."""

    def __init__(self, order: Order, layers: Layers, known: Callable[[str], str]) -> None:
        """`known` gives the diff id of a blob that we have, by its digest, or the empty string."""
        self.config = b""
        self._order = order
        self._layers = layers
        self._have = {layer.digest: known(layer.digest) for layer in order.manifest.layers}
        self._new: dict[str, Unpacked] = {}

    @property
    def complete(self) -> bool:
        """Whether all layers were there from the beginning."""
        return all(self._have.values())

    def already(self) -> Iterator[Json]:
        """The progress of a pull that has nothing to do."""
        for blob in self._blobs().values():
            yield _event("Already exists", blob)

    @property
    def layers(self) -> list[Unpacked | str]:
        """The layers, the lowest first; diff ids stand for those we had."""
        return [self._new.get(blob.digest) or self._have[blob.digest] for blob in self._order.manifest.layers]

    def events(self, skopeo: Skopeo) -> Iterator[Json]:
        """Fetch and unpack; yields progress. When it is ended early, `discard` removes what is left."""
        for blob in self._blobs().values():
            yield _event("Already exists" if self._have[blob.digest] else "Pulling fs layer", blob)
        with ExitStack() as stack:
            directory = stack.enter_context(self._layers.scratch())
            access = stack.enter_context(skopeo.access(self._order.reference.domain, self._order.auth))
            missing = [blob for digest, blob in self._blobs().items() if not self._have[digest]]
            work = Work(directory, skopeo.copy(self._order.source, directory, access), missing, self._layers)
            self._new = work.unpacked
            stack.callback(work.cancel)
            work.offer([blob for digest, blob in self._blobs().items() if self._have[digest]])
            while work.busy:
                work.wait()
                yield from work.events()
            self.config = (directory / self._order.manifest.config.digest[7:]).read_bytes()
        if records.digest_of(self.config) != self._order.manifest.config.digest:
            raise InvalidArgument(f"pulling {self._order.reference.familiar}: image configuration is damaged")

    def discard(self) -> None:
        """Remove the layers that nobody kept."""
        for unpacked in self._new.values():
            self._layers.discard(unpacked)

    def _blobs(self) -> dict[str, Blob]:
        return {blob.digest: blob for blob in self._order.manifest.layers}


class Work:
    """skopeo, and one unpacker after the other behind it. `unpacked` fills up by blob digest."""

    def __init__(self, directory: Path, copying: Copying, missing: list[Blob], layers: Layers) -> None:
        self.unpacked: dict[str, Unpacked] = {}
        self._directory = directory
        self._layers = layers
        self._copying: Copying | None = copying
        self._extraction: Extraction | None = None
        self._queue = missing
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

    def wait(self) -> None:
        """Until a process has ended, or it is time to look at the files again."""
        poll = select.poll()
        for process in (self._copying, self._extraction and self._extraction.unpacking):
            if process:
                poll.register(process, select.POLLIN)
        poll.poll(INTERVAL)

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
            yield _event("Pull complete", extraction.blob)

    def _extract_next(self, blob: Blob) -> None:
        if blob.digest in self._downloads.complete:
            self._extraction = Extraction(blob, self._directory / blob.digest[7:], self._layers)
            self._queue.pop(0)
        elif not self._copying:
            raise KernelError(f"pulling: skopeo ended well but did not bring blob {blob.digest}")


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

    def events(self) -> Iterator[Json]:
        """What has changed since the last look."""
        for name, inode, size in _listing(self._directory):
            digest = f"sha256:{name}"
            if digest in self._blobs and digest not in self.complete:
                self.complete.add(digest)
                self._learn(inode, digest)
                yield _event("Download complete", self._blobs[digest])
            elif name.startswith("dir-put-blob"):
                yield from self._growth(inode, size)

    def _growth(self, inode: int, size: int) -> Iterator[Json]:
        if inode not in self._guess and self._unseen:
            self._guess[inode] = self._unseen.pop(0)
        digest = self._guess.get(inode, "")
        if digest in self._blobs and digest not in self.complete and self._shown.get(digest) != size:
            self._shown[digest] = size
            yield _event("Downloading", self._blobs[digest], size)

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
            yield _event("Extracting", self.blob, position)

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


def _event(status: str, blob: Blob, current: int | None = None) -> Json:
    detail = {} if current is None else {"current": min(current, blob.size), "total": blob.size}
    return {"status": status, "progressDetail": detail, "id": records.short(blob.digest)}
