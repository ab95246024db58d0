"""What removing an image means: which names go, whether the image itself goes, or why it must stay.

The rules are Docker's.

By name, the name goes, and the image with its last name. By id, all names go, if they are of one repository or force is
used. An image that a running container uses is never deleted; one that a stopped container uses only by force. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.images.records import ImageRecord, short
from engine.images.references import Reference
from netpy.errors import Conflict


@dataclass(frozen=True, slots=True)
class Use:
    """A container that was made from the image."""

    container: str
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The names that go, and whether the image goes with them."""

    names: tuple[Reference, ...]
    image: bool


def by_name(image: ImageRecord, text: str, name: Reference, *, force: bool, uses: Sequence[Use]) -> Removal:
    """The removal of one name, which the user gave as `text`. Conflict when a container needs the image's last name."""
    if uses and not force and one_repository(image.references):
        raise Conflict(
            f'conflict: unable to remove repository reference "{text}" (must force) - '
            f"container {short(uses[0].container)} is using its referenced image {image.short_id}"
        )
    gone = [name]
    siblings = [other for other in image.references if other.name == name.name and other != name]
    if name.tag and all(other.digest for other in siblings):
        gone += siblings  # Digests alone are not worth keeping a repository's name for.
    last = len(gone) == len(image.references)
    blocked = any(use.running for use in uses) or (bool(uses) and not force)
    return Removal(names=tuple(gone), image=last and not blocked)


def by_id(image: ImageRecord, *, force: bool, uses: Sequence[Use], needed: bool = False) -> Removal:
    """The removal of an image with all its names; `needed` by images made from it. Conflict says what keeps it."""
    if needed:
        raise _refusal(image, "cannot be forced", "image has dependent child images")
    running = next((use.container for use in uses if use.running), "")
    if running:
        raise _refusal(image, "cannot be forced", f"image is being used by running container {short(running)}")
    if not force and image.references and not one_repository(image.references):
        raise _refusal(image, "must be forced", "image is referenced in multiple repositories")
    if not force and uses:
        raise _refusal(image, "must be forced", f"image is being used by stopped container {short(uses[0].container)}")
    return Removal(names=image.references, image=True)


def one_repository(references: Sequence[Reference]) -> bool:
    """Whether there is at most one tag, and whatever digests there are belong to its repository."""
    tags = [reference for reference in references if not reference.digest]
    return bool(references) and len(tags) <= 1 and len({reference.name for reference in references}) == 1


def _refusal(image: ImageRecord, force: str, reason: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {image.short_id} ({force}) - {reason}")
