"""`ps`, `images` and `network ls`: ask, filter, and print a list. What the columns say is in `rows`."""

from __future__ import annotations

import sys
import time

from engine.cli import rows
from engine.cli.command import Call, command
from engine.cli.filters import filters
from engine.cli.flags import flag, many, number, text
from engine.cli.formatting import Item, Listing, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = 'Print with a Go template, "table TEMPLATE" for columns, or "json"'


@command(
    "ps",
    "",
    flag("-a", "--all", help="Show all containers (default shows just running)"),
    many("-f", "--filter", help="Keep what matches a condition, such as name=web or status=exited", kind="filter"),
    text("--format", help=_FORMAT),
    number("-n", "--last", help="Show the n last created containers, in any state", default=-1),
    flag("-l", "--latest", help="Show the latest created container, in any state"),
    flag("--no-trunc", help="Don't cut anything short"),
    flag("-q", "--quiet", help="Print container IDs only"),
    flag("-s", "--size", help="Show file sizes"),
)
def ps(call: Call) -> int | None:
    """List containers"""
    options = call.options
    last = 1 if options.flag("latest") else options.number("last", -1)
    sized = options.flag("size") or ".Size" in options.text("format")
    query = {
        "all": options.flag("all") or last > 0 or None,
        "limit": last if last > 0 else None,
        "size": sized or None,
        "filters": filters(options.many("filter")) or None,
    }
    found: list[dict[str, Any]] = call.client.request("GET", "/containers/json", query).json()
    trunc, now = not options.flag("no_trunc"), time.time()
    items = [Item(rows.container_row(each, now, trunc=trunc), each.get("Labels") or {}) for each in found]
    columns = (*rows.CONTAINER_COLUMNS, "Size") if options.flag("size") else rows.CONTAINER_COLUMNS
    kind = Listing(kind="container", columns=columns, type_name="*formatter.ContainerContext", labels=True)
    form, quiet = options.text("format"), options.flag("quiet")
    if quiet and form:
        print("WARNING: Ignoring custom format, because both --format and --quiet are set.", file=sys.stderr)
        form = ""
    sys.stdout.write(listed(kind, items, form, quiet=quiet))


@command(
    "ls",
    "",
    many("-f", "--filter", help="Keep what matches a condition, such as driver=bridge", kind="filter"),
    text("--format", help=_FORMAT),
    flag("--no-trunc", help="Don't cut anything short"),
    flag("-q", "--quiet", help="Print network IDs only"),
)
def networks(call: Call) -> int | None:
    """List networks"""
    options = call.options
    query = {"filters": filters(options.many("filter")) or None}
    found: list[dict[str, Any]] = call.client.request("GET", "/networks", query).json()
    ordered = sorted(found, key=lambda network: str(network["Name"]))
    trunc = not options.flag("no_trunc")
    items = [Item(rows.network_row(each, trunc=trunc), each.get("Labels") or {}) for each in ordered]
    kind = Listing(kind="network", columns=rows.NETWORK_COLUMNS, type_name="*network.networkContext", labels=True)
    sys.stdout.write(listed(kind, items, options.text("format"), quiet=options.flag("quiet")))


@command(
    "images",
    "[REPOSITORY[:TAG]]",
    flag("-a", "--all", help="Show all images (default hides intermediate images)"),
    flag("--digests", help="Show digests"),
    many("-f", "--filter", help="Keep what matches a condition, such as dangling=true", kind="filter"),
    text("--format", help=_FORMAT),
    flag("--no-trunc", help="Don't cut anything short"),
    flag("-q", "--quiet", help="Print image IDs only"),
    most=1,
)
def images(call: Call) -> int | None:
    """List images"""
    options = call.options
    wanted = filters(options.many("filter"))
    if call.arguments:
        wanted.setdefault("reference", {})[call.arguments[0]] = True
    query = {"all": options.flag("all") or None, "filters": wanted or None}
    found: list[dict[str, Any]] = call.client.request("GET", "/images/json", query).json()
    digests = options.flag("digests") or ".Digest" in options.text("format")
    shown = rows.image_rows(found, time.time(), trunc=not options.flag("no_trunc"), digests=digests)
    columns: list[str] = list(rows.IMAGE_COLUMNS)
    if options.flag("digests"):
        columns.insert(2, "Digest")
    kind = Listing(kind="image", columns=columns, type_name="*formatter.imageContext")
    items = [Item(row, {}) for row in shown]
    sys.stdout.write(listed(kind, items, options.text("format"), quiet=options.flag("quiet")))
