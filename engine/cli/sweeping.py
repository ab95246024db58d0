"""`system prune`: everything that is not in use, each kind as its own `prune` would, after one question."""

from __future__ import annotations

from engine.cli.command import Call, CommandError, command
from engine.cli.documents import entries
from engine.cli.filters import filters
from engine.cli.flags import flag, many
from engine.cli.prompt import confirmed
from engine.cli.units import natural, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from engine.cli.flags import Options

_Wanted = dict[str, dict[str, bool]]


@command(
    "prune",
    "",
    flag("-a", "--all", help="Remove all unused images, not just dangling ones"),
    many("--filter", help="Only what matches, such as label=a or until=24h", kind="filter"),
    flag("-f", "--force", help="Do not ask"),
    flag("--volumes", help="Prune anonymous volumes"),
)
def prune(call: Call) -> int | None:
    """Remove unused data"""
    options, wanted = call.options, filters(call.options.many("filter"))
    if options.flag("volumes") and "until" in wanted:
        raise CommandError('ERROR: The "until" filter is not supported with "--volumes"')
    if not options.flag("force") and not confirmed(warning(options, wanted)):
        return 0
    reclaimed = 0
    for path, more, told in _steps(options):
        query = {"filters": {**wanted, **more} or None, "all": True if path == "/build/prune" else None}
        answer: dict[str, Any] = call.client.request("POST", path, query).json()
        if lines := told(answer):
            print(*lines, "", sep="\n")
        reclaimed += int(answer.get("SpaceReclaimed") or 0)
    print(f"Total reclaimed space: {size(reclaimed, 4)}")


def warning(options: Options, wanted: Mapping[str, Mapping[str, bool]]) -> str:
    """What is about to happen, in Docker's words."""
    everything = options.flag("all")
    lines = ["all stopped containers", "all networks not used by at least one container"]
    lines += ["all anonymous volumes not used by at least one container"] if options.flag("volumes") else []
    lines.append(
        "all images without at least one container associated to them" if everything else "all dangling images"
    )
    lines.append("all build cache" if everything else "unused build cache")
    text = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    names = [f"{name}={value}" for name in ("label", "label!", "until") for value in wanted.get(name, ())]
    if names:
        shown = "".join(f"  - {name}\n" for name in sorted(names, key=natural))
        text += f"\n  Items to be pruned will be filtered with:\n{shown}"
    return text


_Step = tuple[str, _Wanted, "Callable[[Mapping[str, Any]], Sequence[str]]"]


def _steps(options: Options) -> list[_Step]:
    dangling: _Wanted = {"dangling": {"false" if options.flag("all") else "true": True}}
    steps: list[_Step] = [
        ("/containers/prune", {}, _listed("Deleted Containers:", "ContainersDeleted")),
        ("/networks/prune", {}, _listed("Deleted Networks:", "NetworksDeleted")),
        ("/images/prune", dangling, deleted_images),
        ("/build/prune", {}, _listed("Deleted build cache objects:", "CachesDeleted")),
    ]
    if options.flag("volumes"):
        steps.insert(2, ("/volumes/prune", {}, _listed("Deleted Volumes:", "VolumesDeleted")))
    return steps


def _listed(title: str, key: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def told(answer: Mapping[str, Any]) -> list[str]:
        names = [str(name) for name in entries(answer, key)]
        return [title, *names] if names else []

    return told


def deleted_images(answer: Mapping[str, Any]) -> list[str]:
    """What an answer of POST /images/prune tells, line by line."""
    deleted: list[dict[str, str]] = entries(answer, "ImagesDeleted")
    lines = [f"{what.lower()}: {which}" for entry in deleted for what, which in entry.items()]
    return ["Deleted Images:", *lines] if lines else []
