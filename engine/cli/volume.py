"""`volume` commands: create, ls, rm, prune. (`volume inspect` is with the other inspects.)"""

from __future__ import annotations

import sys

from engine.cli import environment, pruning, rows
from engine.cli.command import Call, CommandError, command, each
from engine.cli.documents import entries
from engine.cli.filters import filters
from engine.cli.flags import flag, many, text
from engine.cli.formatting import Item, Listing, listed
from engine.cli.units import natural
from engine.client import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = ("Driver", "Name")


@command(
    "create",
    "[VOLUME]",
    text("-d", "--driver", help="Driver of the volume", default="local"),
    many("--label", help="Set meta data, key=value"),
    many("-o", "--opt", help="Option of the driver, key=value", kind="map"),
    most=1,
)
def create(call: Call) -> int | None:
    """Create a volume"""
    options = call.options
    body = {
        "Name": call.arguments[0] if call.arguments else "",
        "Driver": options.text("driver"),
        "DriverOpts": environment.pairs(options.many("opt")) or None,
        "Labels": environment.labels(options.many("label")),
    }
    print(call.client.request("POST", "/volumes/create", body=body).json()["Name"])


@command(
    "ls",
    "",
    many("-f", "--filter", help="Keep what matches a condition, such as dangling=true", kind="filter"),
    text("--format", help='Print with a Go template, "table TEMPLATE" for columns, or "json"'),
    flag("-q", "--quiet", help="Print volume names only"),
)
def volumes(call: Call) -> int | None:
    """List volumes"""
    options = call.options
    query = {"filters": filters(options.many("filter")) or None}
    found: list[dict[str, Any]] = entries(call.client.request("GET", "/volumes", query).json(), "Volumes")
    found.sort(key=lambda volume: natural(str(volume["Name"])))
    form, quiet = options.text("format"), options.flag("quiet")
    if quiet and form in ("", "table"):
        sys.stdout.write("".join(f"{volume['Name']}\n" for volume in found))
        return
    items = [Item(rows.volume_row(volume), volume.get("Labels") or {}) for volume in found]
    kind = Listing(kind="volume", columns=_COLUMNS, type_name="*formatter.volumeContext", labels=True)
    sys.stdout.write(listed(kind, items, form))


@command(
    "rm",
    "VOLUME [VOLUME...]",
    flag("-f", "--force", help="Do not mind a volume that does not exist"),
    least=1,
    most=None,
)
def remove(call: Call) -> int | None:
    """Remove one or more volumes"""
    force = call.options.flag("force")

    def act(name: str) -> str | None:
        try:
            call.client.request("DELETE", f"/volumes/{name}", {"force": force or None}).read()
        except ApiError as error:
            if not (force and error.status == 404):
                raise
        return name

    return each(call, act)


@command(
    "prune",
    "",
    flag("-a", "--all", help="Remove all unused volumes, not just anonymous ones"),
    many("--filter", help="Only those that match, such as label=a", kind="filter"),
    pruning.FORCE,
)
def prune(call: Call) -> int | None:
    """Remove unused local volumes"""
    wanted = filters(call.options.many("filter"))
    everything = call.options.flag("all")
    if everything and "all" in wanted:
        raise CommandError("conflicting options: cannot specify both --all and --filter all=1")
    kind = "local volumes" if everything else "anonymous local volumes"
    warning = f"This will remove {'all ' if everything else ''}{kind} not used by at least one container."
    wanted |= {"all": {"true": True}} if everything else {}
    return pruning.prune(call, warning, [pruning.volumes(wanted)])
