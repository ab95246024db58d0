"""The images of a daemon: found, described, brought in, handed out, named and removed.

This is the room's front. It decides nothing itself: names are read by references.py, documents made by documents.py,
filters applied by filters.py, removals judged by removal.py, archives understood by layout.py, registries dealt with
by exchange.py, and what is kept is changed by holdings.py alone. Only the changes happen under a lock; reading,
unpacking and downloading do not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.images import archive, documents, filters, layout, lineage, manifests, records, references, removal
from engine.images.changes import apply
from engine.images.commit import Commit, commit
from engine.images.exchange import Exchange
from engine.images.filters import Filters
from engine.images.holdings import Holdings, Users
from engine.images.index import Edit, Index
from engine.images.layers import Layers
from engine.images.layout import Found, Saved
from engine.images.records import ImageRecord
from engine.images.references import Reference
from engine.images.removal import Removal, Use
from engine.images.transports import Skopeo
from engine.images.unpacking import Stream, Unpacked
from engine.model import EMPTY_CONFIG
from netpy.errors import InvalidArgument, NotFound
from netpy.store import Store

Json = dict[str, Any]


def nobody(_image_id: str) -> list[str]:
    """The users of an image nobody uses."""
    return []


def always(_container: str) -> bool:
    """Whether a container runs, when nobody tells: to be on the safe side, it does."""
    return True


class Images:
    """The images below `root`, recorded in `store`. Safe to use from several threads.

    `skopeo` speaks to registries; what it does with them is found at `registry`. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        root: Path,
        store: Store,
        *,
        skopeo: Skopeo | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = Index(store)
        self._layers = Layers(root)
        self._clock = clock
        self._platform = manifests.host_platform(os.uname().machine)
        self._holdings = Holdings(self._index, self._layers)
        self.registry = Exchange(
            index=self._index,
            layers=self._layers,
            holdings=self._holdings,
            skopeo=skopeo or Skopeo(),
            platform=self._platform,
            now=self._now,
        )

    # -- finding and describing

    def resolve(self, ref: str) -> ImageRecord:
        """The image that `ref` names: a name with or without tag, a name with digest, an id, the beginning of an id.

        NotFound("No such image: x:latest"), or InvalidArgument when `ref` is no name or begins several ids.
        """
        if references.is_image_id(ref):
            image = self._index.image("sha256:" + ref.removeprefix("sha256:"))
            if image and not image.deleted:
                return image
            raise NotFound(f"No such image: {ref}")
        digits = references.id_prefix(ref)
        try:
            name = references.parse(ref).tagged()
        except InvalidArgument:
            if not digits:
                raise
            name = None
        image = self._index.named(name) if name else None
        return image or self._by_prefix(digits, name.familiar if name else ref)

    def inspect(self, ref: str) -> Json:
        """The body of GET /images/{name}/json. Equivalent: `docker image inspect`."""
        image = self.resolve(ref)
        return documents.inspect(image, [str(self._layers.diff(layer)) for layer in image.layers])

    def history(self, ref: str) -> list[Json]:
        """The body of GET /images/{name}/history, newest first. Equivalent: `docker history`."""
        sizes = {layer.diff_id: layer.size for layer in self._index.layers().values()}
        image = self.resolve(ref)
        return documents.history(image, sizes, lineage.ancestors(image, self._index.image))

    def summaries(self, *, all: bool = False, filters: Filters | None = None, shared: bool = False) -> list[Json]:
        """The body of GET /images/json, newest first. Equivalent: `docker images`.

        Without `all`, images that are there only because others were made from them are left out. With `shared`, each
        tells how much of it (`SharedSize`, bytes) others of them have, too.
        """
        found = self._select(filters or {}, everything=all)
        rows = [documents.summary(image) for image in found]
        if shared:
            sizes = {layer.diff_id: layer.size for layer in self._index.layers().values()}
            for row, size in zip(rows, documents.shared_sizes(found, sizes), strict=True):
                row["SharedSize"] = size
        return rows

    def layers(self, image_id: str) -> list[Path]:
        """The image's overlay lower directories, the topmost first. NotFound when there is no such image.

        They end at a layer whose root is opaque: what lies below is hidden, and overlayfs would show it, since it
        looks for that mark in directories only, not in the roots of layers.
        """
        image = self._index.image(image_id)
        if image is None:
            raise NotFound(f"No such image: {image_id}")
        lowers: list[Path] = []
        for layer in reversed(image.layers):
            lowers.append(self._layers.diff(layer))
            if self._layers.hides_all_below(layer):
                break
        return lowers or [self._layers.nothing]

    @property
    def nothing(self) -> Path:
        """The lower directory of what stands on no image: empty."""
        return self._layers.nothing

    def scratch(self) -> AbstractContextManager[Path]:
        """A private directory on the file system of the layers, removed at the end."""
        return self._layers.scratch()

    # -- bringing in and handing out

    def import_rootfs(
        self, stream: Stream, *, reference: str = "", message: str = "", changes: Sequence[str] = (), platform: str = ""
    ) -> str:
        """Make an image of the tar of a root file system, plain or compressed; its id. Equivalent: `docker import`.

        `changes` are Dockerfile instructions such as `CMD ["sh"]`; `platform` is what the files are for, such as
        `linux/arm64`. InvalidArgument for a bad tar, name or change.
        """
        name = _tag_reference(reference) if reference else None
        config = apply(EMPTY_CONFIG, changes)
        try:
            made_for = manifests.parse_platform(platform, self._platform)
        except InvalidArgument:
            raise InvalidArgument("operating system is not supported") from None
        layer = self._layers.unpack(stream)
        try:
            raw = records.imported_config(
                layer=layer.diff_id,
                created=self._now(),
                architecture=made_for.architecture,
                comment=message or "Imported from -",
                config=config,
            )
            names = [name] if name else []
            return self._holdings.add(records.image(raw), [layer], names, self._now()).id
        finally:
            self._layers.discard(layer)

    def load(self, stream: Stream) -> Iterator[Json]:
        """Read an archive of `docker save`, or an OCI layout in a tar; yields Docker's progress objects.

        InvalidArgument, possibly after some progress, when the archive is bad; nothing of it is then kept, except for
        images that were reported as loaded. Equivalent: `docker load`.
        """
        known = self._holdings.blobs()
        reader = archive.Reader(self._layers, lambda digest: known.get(digest, ""))
        try:
            for layer in reader.read(stream):
                detail = {"current": layer.tar_size, "total": layer.tar_size}
                yield {"status": "Loading layer", "progressDetail": detail, "id": records.short(layer.diff_id)}
            found = layout.found(reader.documents, reader.links, self._platform)
            for item, layers in [(item, reader.layers_of(item)) for item in found]:
                yield from self._loaded(item, layers)
        finally:
            reader.discard()

    def save(self, refs: Sequence[str]) -> Iterator[bytes]:
        """An archive of the images, in chunks, for `load`, `docker load` and OCI tools. Equivalent: `docker save`.

        A name without tag stands for all tags of that repository. NotFound at once when one of them is unknown.
        """
        sizes = {layer.diff_id: layer.tar_size for layer in self._index.layers().values()}
        names: dict[str, list[Reference]] = {}
        for ref in refs:
            for image, reference in self._to_save(ref):
                names.setdefault(image, []).extend(reference)
        saved = [
            Saved(image=self.resolve(id), names=tuple(dict.fromkeys(found)), sizes=sizes) for id, found in names.items()
        ]
        return archive.write(saved, self._layers)

    def commit(self, request: Commit) -> str:
        """Make an image of an older one and what was written on top of it; its id. Equivalent: `docker commit`.

        NotFound without the parent, InvalidArgument for a bad name.
        """
        parent = self.resolve(request.parent) if request.parent else None
        facts = {"created": self._now(), "architecture": self._platform.architecture, "os": "linux"}
        return commit(request, parent, self._holdings, self._layers, facts).id

    def pull(self, reference: str, *, tag: str = "", auth: Json | None = None, platform: str = "") -> Iterator[Json]:
        """Fetch one image from a registry: `Exchange.pull`. Equivalent: `docker pull`."""
        name = references.parse(references.with_tag(reference, tag))
        return self.registry.pull(name, auth=auth, platform=platform)

    # -- naming and removing

    def tag(self, source: str, target: str) -> None:
        """Give an image another name, taken from whoever has it. Equivalent: `docker tag`."""
        name = _tag_reference(target)
        with self._holdings.lock:
            image = self.resolve(source)
            self._index.write(Edit(images=(replace(image, tagged=self._now()),), names={name: image.id}))

    def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        noprune: bool = False,
        used_by: Users = nobody,
        running: Callable[[str], bool] = always,
    ) -> list[Json]:
        """Remove a name, or an image with all its names; what was done, as Docker lists it. Equivalent: `docker rmi`.

        `used_by` gives the ids of the containers made from an image, `running` tells which of them run. Conflict says
        what keeps the image. An image that is removed by force while stopped containers need it loses its names and
        is no longer listed, but its layers stay for them until the next removal or prune after they have gone.
        With it go, unless `noprune`, the images without names that it was made from and nobody needs.
        """
        with self._holdings.lock:
            image = self.resolve(ref)
            uses = [Use(id, running(id)) for id in used_by(image.id)]
            needed = image.id in lineage.parents(self._index.images())
            if _is_id(image, ref):
                wanted = removal.by_id(image, force=force, uses=uses, needed=needed)
            else:
                name = references.parse(ref).tagged()
                name = name.pinned(name.digest) if name.digest else name
                wanted = removal.by_name(image, ref, name, force=force, uses=uses)
                wanted = replace(wanted, image=wanted.image and not needed)
            alone = noprune or bool(uses) or not wanted.image
            ancestors = [] if alone else lineage.unneeded(image, self._index.images(), used_by)
            done, graves = self._holdings.retire(image, wanted, keep=bool(uses))
            for ancestor in ancestors:
                rows, dead = self._holdings.retire(ancestor, Removal(names=(), image=True), keep=False)
                done, graves = done + rows, graves + dead
            graves += self._holdings.sweep(used_by)
        self._layers.dispose(graves)
        return done

    def prune(self, filters: Filters | None = None, *, used_by: Users = nobody) -> Json:
        """Remove images without names, or with `dangling=false` all that no container uses.

        The body of POST /images/prune: `ImagesDeleted` and `SpaceReclaimed` in bytes. Equivalent: `docker image prune`.
        """
        done: list[Json] = []
        graves: list[Path] = []
        with self._holdings.lock:
            before = self._holdings.disk_usage()
            for image in self._prunable(filters or {}):
                if not used_by(image.id):
                    needed = image.id in lineage.parents(self._index.images())
                    ancestors = [] if needed else lineage.unneeded(image, self._index.images(), used_by)
                    for each in (image, *ancestors):
                        wanted = Removal(names=each.references, image=not needed)
                        rows, dead = self._holdings.retire(each, wanted, keep=False)
                        done += rows
                        graves += dead
            graves += self._holdings.sweep(used_by)
            reclaimed = before - self._holdings.disk_usage()
        self._layers.dispose(graves)
        return {"ImagesDeleted": done or None, "SpaceReclaimed": reclaimed}

    def disk_usage(self) -> int:
        """Bytes of all layers, each counted once: `LayersSize` of GET /system/df."""
        return self._holdings.disk_usage()

    # -- within

    def _by_prefix(self, digits: str, shown: str) -> ImageRecord:
        found = self._index.beginning_with(digits) if digits else []
        if len(found) > 1:
            raise InvalidArgument(f"image id prefix {digits} is ambiguous: give more of its digits")
        if not found:
            raise NotFound(f"No such image: {shown}")
        return found[0]

    def _select(self, wanted: Filters, *, everything: bool) -> list[ImageRecord]:
        filters.check(wanted, filters.LISTING)
        dangling = filters.dangling(wanted, None)
        patterns = wanted.get("reference", ())
        parents = lineage.parents(self._index.images())
        present = [
            image
            for image in self._present(wanted)
            if (everything and not dangling) or not lineage.is_intermediate(image, parents)
        ]
        shown = [filters.matching_references(image, patterns) for image in present]
        found = [image for image in shown if image and dangling in (None, not image.references)]
        return sorted(found, key=lambda image: documents.instant(image.created), reverse=True)

    def _prunable(self, wanted: Filters) -> list[ImageRecord]:
        filters.check(wanted, filters.PRUNING)
        dangling = filters.dangling(wanted, True)
        parents = lineage.parents(self._index.images())
        tops = [image for image in self._present(wanted) if not lineage.is_intermediate(image, parents)]
        return [image for image in tops if not dangling or not image.references]

    def _present(self, wanted: Filters) -> list[ImageRecord]:
        """The images that are not deleted and that pass the filters on labels and times."""
        now = self._clock()
        return [
            image
            for image in self._index.images()
            if not image.deleted
            and filters.labels_match(image.labels, wanted)
            and filters.times_match(image, wanted, now=now, resolve=self.resolve)
        ]

    def _loaded(self, item: Found, layers: Sequence[Unpacked | str]) -> Iterator[Json]:
        for name in item.names:
            old = self._index.named(name)
            if old and old.id != item.image.id:
                yield {
                    "stream": f"The image {name.familiar} already exists, "
                    f"renaming the old one with ID {old.id} to empty string\n"
                }
        self._holdings.add(item.image, layers, item.names, self._now())
        for name in item.names:
            yield {"stream": f"Loaded image: {name.familiar}\n"}
        if not item.names:
            yield {"stream": f"Loaded image ID: {item.image.id}\n"}

    def _to_save(self, ref: str) -> list[tuple[str, list[Reference]]]:
        """The images that a word of `docker save` means, by id, each with the names to be saved."""
        image = None if references.is_image_id(ref) else self._repository(ref)
        if image:
            return image
        try:
            found = self.resolve(ref)
        except NotFound:
            raise NotFound(f"No such image: {ref}") from None
        if _is_id(found, ref):
            return [(found.id, [])]
        name = references.parse(ref).tagged()
        return [(found.id, [] if name.digest else [name])]

    def _repository(self, ref: str) -> list[tuple[str, list[Reference]]]:
        try:
            wanted = references.parse(ref)
        except InvalidArgument:
            return []
        if wanted.tag or wanted.digest:
            return []
        return [
            (image.id, tags)
            for image in self._index.images()
            if (tags := [name for name in image.references if name.name == wanted.name and not name.digest])
        ]

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat().replace("+00:00", "Z")


def _is_id(image: ImageRecord, ref: str) -> bool:
    """Whether `ref`, which led to `image`, is its id or the beginning of that, rather than a name."""
    return image.id.startswith(ref) or image.id.removeprefix("sha256:").startswith(ref)


def _tag_reference(text: str) -> Reference:
    """A name that can be given to an image. InvalidArgument for one with a digest."""
    name = references.parse(text).tagged()
    if name.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return name
