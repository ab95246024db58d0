"""What happened to images, and what pruning did, as events in Docker's words. No I/O: it asks the daemon and publishes.

An image's event carries its labels. What is removed is announced under the id it had; a save, a load and an import
are named by id, a tag by the tag. Pulls and pushes `engine.api.registry` tells of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.api.backend import Daemon
from engine.api.decode import object_of, strings_of
from engine.api.reply import closing_with
from engine.images.references import parse
from engine.model import Json
from netpy.errors import NetpyError

_LOADED = ("Loaded image: ", "Loaded image ID: ")


def tell_pruned(daemon: Daemon, kind: str, reclaimed: int) -> None:
    """Something was pruned: containers, images, networks, volumes, or what builds keep (kind `builder`).

    `reclaimed` is in bytes.
    """
    daemon.events.publish(kind, "prune", "", {"reclaimed": str(reclaimed)})


class ImageNews:
    """Announces what happened to the images of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def tagged(self, target: str) -> None:
        """An image has got another name."""
        self._tell("tag", self._id(target), parse(target).tagged().familiar)

    def imported(self, image: str, reference: str) -> None:
        """A file system has become an image."""
        if reference:
            self.tagged(reference)
        self._tell("import", image, image)

    def saved(self, references: Sequence[str]) -> None:
        """Images are written out."""
        for reference in references:
            image = self._id(reference)
            self._tell("save", image, image)

    def loading(self, progress: Iterator[Json]) -> Iterator[Json]:
        """Progress of a load, of which each image is announced as it is there."""
        with closing_with(progress):
            for line in progress:
                text = str(line.get("stream", ""))
                for prefix in _LOADED:
                    if text.startswith(prefix):
                        image = self._id(text.removeprefix(prefix).strip())
                        self._tell("load", image, image)
                yield line

    def labels(self, reference: str) -> Mapping[str, str]:
        """The labels of an image that is about to be removed."""
        try:
            document = self._daemon.images.inspect(reference)
        except NetpyError:
            return {}
        return strings_of(object_of(document, "Config"), "Labels")

    def removed(self, entries: Sequence[Json], image: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Names and images have gone. `image` is whose names they were; where none is given, what is deleted next."""
        for position, entry in enumerate(entries):
            if entry.get("Untagged"):
                later = (str(each["Deleted"]) for each in entries[position:] if each.get("Deleted"))
                owner = image or next(later, str(entry["Untagged"]))
                self._tell("untag", owner, owner, labels)
            if entry.get("Deleted"):
                self._tell("delete", entry["Deleted"], entry["Deleted"], labels)

    def _id(self, reference: str) -> str:
        try:
            return self._daemon.images.resolve(reference).id
        except NetpyError:
            return reference

    def _tell(self, action: str, image: str, name: str, labels: Mapping[str, str] | None = None) -> None:
        known = self.labels(image) if labels is None else labels
        self._daemon.events.publish("image", action, image, {**known, "name": name})
