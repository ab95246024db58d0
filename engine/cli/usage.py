"""`system df`: how much room images, containers, volumes and the build cache take, and what of it could go."""

from __future__ import annotations

import sys
import time

from engine.cli import rows
from engine.cli.command import Call, command
from engine.cli.documents import entries, section
from engine.cli.flags import flag, text
from engine.cli.formatting import Item, Listing, listed
from engine.cli.units import age, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

Found = "Mapping[str, Any]"
_COLUMNS = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
_IMAGES = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
_CONTAINERS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
_VOLUMES = ("Name", "Links", "Size")
_CACHE = ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared")


@command(
    "df",
    "",
    text("--format", help='Print with a Go template, "table TEMPLATE" for columns, or "json"'),
    flag("-v", "--verbose", help="List every image, container and volume"),
)
def disk_usage(call: Call) -> int | None:
    """Show disk usage"""
    found: dict[str, Any] = call.client.request("GET", "/system/df").json()
    form = call.options.text("format")
    if call.options.flag("verbose"):
        sys.stdout.write(_verbose(found, form))
        return
    kind = Listing(kind="usage", columns=_COLUMNS, type_name="*formatter.diskUsageContext")
    sys.stdout.write(listed(kind, [Item(row, {}) for row in usage_rows(found)], form))


def usage_rows(found: Mapping[str, Any]) -> list[rows.Row]:
    """One row per kind: how many, how many in use, how large, how much could be reclaimed."""
    images, containers, volumes = (entries(found, name) for name in ("Images", "Containers", "Volumes"))
    cache = entries(found, "BuildCache")
    used = [image for image in images if image.get("Containers", 0) > 0]
    layers = int(found.get("LayersSize") or 0)
    kept = sum(int(image["Size"]) - image["SharedSize"] for image in used if image.get("SharedSize", -1) >= 0)
    running = [each for each in containers if each.get("State") in ("running", "paused", "restarting")]
    linked = [each for each in volumes if section(each, "UsageData").get("RefCount", 0) > 0]
    idle_cache = sum(int(each["Size"]) for each in cache if not each.get("InUse") and not each.get("Shared"))
    return [
        _usage_row("Images", (len(images), len(used)), (layers, layers - kept)),
        _usage_row("Containers", (len(containers), len(running)), _idle(_written, containers, running)),
        _usage_row("Local Volumes", (len(volumes), len(linked)), _idle(_stored, volumes, linked)),
        _usage_row("Build Cache", (len(cache), sum(bool(each.get("InUse")) for each in cache)), (
            sum(int(each["Size"]) for each in cache if not each.get("Shared")), idle_cache), percent=False),
    ]  # fmt: skip


def _written(containers: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(each.get("SizeRw") or 0) for each in containers)


def _stored(volumes: Sequence[Mapping[str, Any]]) -> int:
    return sum(max(0, int(section(each, "UsageData").get("Size") or 0)) for each in volumes)


def _idle(total: Any, everything: Sequence[Mapping[str, Any]], used: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    whole = int(total(everything))
    return whole, whole - int(total(used))


def _usage_row(kind: str, counts: tuple[int, int], sizes: tuple[int, int], *, percent: bool = True) -> rows.Row:
    total, idle = sizes
    share = f" ({idle * 100 // total}%)" if total > 0 and percent else ""
    return {
        "Active": str(counts[1]),
        "Reclaimable": size(idle, 4) + share,
        "Size": size(total, 4),
        "TotalCount": str(counts[0]),
        "Type": kind,
    }


def _verbose(found: Mapping[str, Any], form: str) -> str:
    now, trunc = time.time(), form in ("", "table")
    parts = {
        "Images": [_image(each, now, trunc) for each in entries(found, "Images")],
        "Containers": [
            rows.container_row({**each, "SizeRootFs": 0}, now, trunc=trunc) for each in entries(found, "Containers")
        ],
        "Volumes": [rows.volume_row(each) for each in entries(found, "Volumes")],
        "BuildCache": [_cached(each, now) for each in entries(found, "BuildCache")],
    }
    if not trunc:
        return _formatted(parts, form)
    builder = sum(int(each["Size"]) for each in entries(found, "BuildCache") if not each.get("Shared"))
    shown = (
        ("Images space usage:", "image", _IMAGES, parts["Images"]),
        ("Containers space usage:", "container", _CONTAINERS, parts["Containers"]),
        ("Local Volumes space usage:", "volume", _VOLUMES, parts["Volumes"]),
        (f"Build cache usage: {size(builder, 4)}", "cache", _CACHE, parts["BuildCache"]),
    )
    return "\n".join(f"{title}\n\n{rows.rendered(table, columns, kind)}" for title, kind, columns, table in shown)


def _formatted(parts: Mapping[str, list[rows.Row]], form: str) -> str:
    from engine.cli.formatting import parsed, unescaped
    from engine.cli.templates.values import Struct, encoded

    document = Struct({name: [Struct(row) for row in table] for name, table in parts.items()})
    if form == "json":
        return encoded(document) + "\n"
    return parsed(unescaped(form)).render(document)


def _image(found: Mapping[str, Any], now: float, trunc: bool) -> rows.Row:
    row = rows.image_rows([dict(found)], now, trunc=trunc)[0]
    shared = int(found.get("SharedSize", -1))
    unique = size(int(found["Size"]) - shared, 4) if shared >= 0 else "N/A"
    return row | {"SharedSize": size(shared, 4) if shared >= 0 else "N/A", "UniqueSize": unique}


def _cached(found: Mapping[str, Any], now: float) -> rows.Row:
    def since(key: str) -> str:
        from datetime import datetime

        moment = str(found.get(key) or "")
        return f"{age(now - datetime.fromisoformat(moment).timestamp())} ago" if moment else ""

    return {
        "ID": str(found["ID"])[:12] + ("*" if found.get("InUse") else ""),
        "CacheType": str(found.get("Type") or ""),
        "Size": size(found.get("Size") or 0),
        "CreatedSince": since("CreatedAt"),
        "LastUsedSince": since("LastUsedAt"),
        "UsageCount": str(found.get("UsageCount") or 0),
        "Shared": str(bool(found.get("Shared"))).lower(),
    }
