"""What every `prune` does: ask, have the daemon remove, tell what went and what it took. Which, the caller says.

Reads standard input for the answer, writes to standard output, and makes one request per kind of thing.
"""

from __future__ import annotations

from engine.cli.command import Call
from engine.cli.documents import entries
from engine.cli.flags import flag
from engine.cli.prompt import confirmed
from engine.cli.records import record
from engine.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Filters = Mapping[str, Mapping[str, bool]]

_IMAGES = "ImagesDeleted"
FORCE = flag("-f", "--force", help="Do not ask")


@record
class Step:
    """One kind of thing: the request's path, what it narrows down, and how the answer is told (`ImagesDeleted`)."""

    path: str
    key: str
    title: str
    filters: Filters = {}  # noqa: RUF012 - never changed
    everything: bool = False


def prune(call: Call, warning: str, steps: Sequence[Step], *, sized: bool = True) -> int:
    """Ask, unless --force says not to, and do it. `sized` tells the space that came free; returns the exit code."""
    if not call.options.flag("force") and not confirmed(warning):
        return 0
    reclaimed = 0
    for step in steps:
        query = {"filters": step.filters or None, "all": step.everything or None}
        answer: dict[str, Any] = call.client.request("POST", step.path, query).json()
        if deleted := _told(answer, step.key):
            print(step.title, *deleted, "", sep="\n")
        reclaimed += int(answer.get("SpaceReclaimed") or 0)
    if sized:
        print(f"Total reclaimed space: {size(reclaimed, 4)}")
    return 0


def _told(answer: Mapping[str, Any], key: str) -> list[str]:
    """Names as they are, and of images what was done to each (`deleted: sha256:…`)."""
    if key != _IMAGES:
        return [str(name) for name in entries(answer, key)]
    deleted: list[dict[str, str]] = entries(answer, key)
    return [f"{what.lower()}: {which}" for entry in deleted for what, which in entry.items()]


def containers(filters: Filters) -> Step:
    return Step("/containers/prune", "ContainersDeleted", "Deleted Containers:", filters)


def networks(filters: Filters) -> Step:
    return Step("/networks/prune", "NetworksDeleted", "Deleted Networks:", filters)


def volumes(filters: Filters) -> Step:
    return Step("/volumes/prune", "VolumesDeleted", "Deleted Volumes:", filters)


def images(filters: Filters, *, everything: bool) -> Step:
    """All that nobody uses, or only those without a name."""
    dangling = {"dangling": {"false" if everything else "true": True}}
    return Step("/images/prune", _IMAGES, "Deleted Images:", {**filters, **dangling})


def build_cache(filters: Filters, *, everything: bool = False) -> Step:
    return Step("/build/prune", "CachesDeleted", "Deleted build cache objects:", filters, everything)
