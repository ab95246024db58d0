"""`system prune`: everything that is not in use, each kind as its own `prune` would, after one question."""

from __future__ import annotations

from engine.cli import pruning
from engine.cli.command import Call, CommandError, command
from engine.cli.filters import filters
from engine.cli.flags import flag, many
from engine.cli.units import natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.cli.flags import Options

_Wanted = dict[str, dict[str, bool]]


@command(
    "prune",
    "",
    flag("-a", "--all", help="Remove all unused images, not just dangling ones"),
    many("--filter", help="Only what matches, such as label=a or until=24h", kind="filter"),
    pruning.FORCE,
    flag("--volumes", help="Prune anonymous volumes"),
)
def prune(call: Call) -> int | None:
    """Remove unused data"""
    options, wanted = call.options, filters(call.options.many("filter"))
    if options.flag("volumes") and "until" in wanted:
        raise CommandError('ERROR: The "until" filter is not supported with "--volumes"')
    return pruning.prune(call, warning(options, wanted), _steps(options, wanted))


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


def _steps(options: Options, wanted: _Wanted) -> list[pruning.Step]:
    return [
        pruning.containers(wanted),
        pruning.networks(wanted),
        *([pruning.volumes(wanted)] if options.flag("volumes") else []),
        pruning.images(wanted, everything=options.flag("all")),
        pruning.build_cache(wanted, everything=True),
    ]
