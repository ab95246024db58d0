"""What `ps`, `images`, `network ls` and `history` show of the API's documents: one dict of texts per object.

The keys are the fields that --format may name; the callers choose columns. Pure, and light: it is on the fast path.
`now` is seconds since 1970.
"""

from __future__ import annotations

from engine.cli.documents import entries, section
from engine.cli.units import age, quoted, short_id, shortened, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

Row = dict[str, str]
CONTAINER_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
NETWORK_COLUMNS = ("ID", "Name", "Driver", "Scope")
IMAGE_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
HEADERS = {
    "ID": "ID",
    "RunningFor": "CREATED",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "LocalVolumes": "LOCAL VOLUMES",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "TotalCount": "TOTAL",
    "CacheType": "CACHE TYPE",
    "LastUsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "UniqueSize": "UNIQUE SIZE",
    "SharedSize": "SHARED SIZE",
    "VirtualSize": "SIZE",
}
_ID_HEADERS = {
    "container": "CONTAINER ID",
    "network": "NETWORK ID",
    "image": "IMAGE ID",
    "history": "IMAGE",
    "cache": "CACHE ID",
}


def header(field: str, kind: str) -> str:
    """The heading of a column; `kind` is container, network, image, history, volume or usage."""
    if (field, kind) == ("Name", "volume"):
        return "VOLUME NAME"
    if field == "ID":
        return _ID_HEADERS.get(kind, "ID")
    return HEADERS.get(field, field.upper())


def labels(found: Mapping[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((found or {}).items()))


def container_row(found: Mapping[str, Any], now: float, *, trunc: bool = True) -> Row:
    """A container of GET /containers/json."""
    command = str(found.get("Command") or "")
    names = [str(name).removeprefix("/") for name in entries(found, "Names")]
    mounts = [str(mount.get("Name") or mount.get("Source") or "") for mount in entries(found, "Mounts")]
    networks = section(section(found, "NetworkSettings"), "Networks")
    return {
        "Command": quoted(shortened(command, 20) if trunc else command),
        "CreatedAt": moment(found.get("Created") or 0),
        "ID": short_id(found["Id"]) if trunc else found["Id"],
        "Image": _image_name(found, trunc=trunc),
        "Labels": labels(found.get("Labels")),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in entries(found, "Mounts"))),
        "Mounts": ",".join(shortened(mount, 15) if trunc else mount for mount in mounts),
        "Names": ",".join(name for name in names if not trunc or "/" not in name),
        "Networks": ",".join(sorted(networks)),
        "Ports": ports(entries(found, "Ports")),
        "RunningFor": age(now - (found.get("Created") or 0)) + " ago",
        "Size": _container_size(found),
        "State": str(found.get("State") or ""),
        "Status": str(found.get("Status") or ""),
    }


def moment(seconds: float) -> str:
    """A local time as Go prints it: `2024-03-18 09:00:33 +0000 UTC`."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def _image_name(found: Mapping[str, Any], *, trunc: bool) -> str:
    name, identifier = str(found.get("Image") or ""), str(found.get("ImageID") or "")
    if not name:
        return "<no image>"
    if not trunc:
        return name
    short = short_id(identifier)
    if short and short == short_id(name):
        return short
    return name.partition("@")[0]


def _container_size(found: Mapping[str, Any]) -> str:
    text = size(found.get("SizeRw") or 0)
    return f"{text} (virtual {size(found['SizeRootFs'])})" if found.get("SizeRootFs") else text


def ports(found: list[dict[str, Any]]) -> str:
    """Docker's PORTS: neighbouring ports that keep their number are joined, mapped ones come last."""
    groups: dict[str, tuple[int, int]] = {}
    closed: list[str] = []
    mapped: list[str] = []
    for port in sorted(found, key=_port_order):
        private, kind, address = port["PrivatePort"], port["Type"], port.get("IP") or ""
        if address and port.get("PublicPort") != private:
            mapped.append(f"{joined(address, port.get('PublicPort') or 0)}->{private}/{kind}")
            continue
        key = f"{address}/{kind}" if address else kind
        first, last = groups.get(key, (private, private - 1))
        if private == last + 1:
            groups[key] = (first, private)
        else:
            closed.append(_port_group(key, first, last))
            groups[key] = (private, private)
    return ", ".join([*closed, *(_port_group(key, *span) for key, span in groups.items()), *mapped])


def _port_order(port: Mapping[str, Any]) -> tuple[int, str, int, str]:
    return port["PrivatePort"], port.get("IP") or "", port.get("PublicPort") or 0, port["Type"]


def _port_group(key: str, first: int, last: int) -> str:
    address, _, kind = key.rpartition("/")
    span = str(first) if first == last else f"{first}-{last}"
    return f"{joined(address, span)}->{span}/{kind}" if address else f"{span}/{kind}"


def joined(address: str, port: object) -> str:
    """`address:port`, with brackets around IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def network_row(found: Mapping[str, Any], *, trunc: bool = True) -> Row:
    """A network of GET /networks."""
    return {
        "ID": short_id(found["Id"]) if trunc else found["Id"],
        "Name": found["Name"],
        "Driver": found["Driver"],
        "Scope": found["Scope"],
        "IPv4": str(bool(found.get("EnableIPv4", True))).lower(),
        "IPv6": str(bool(found.get("EnableIPv6"))).lower(),
        "Internal": str(bool(found.get("Internal"))).lower(),
        "Labels": labels(found.get("Labels")),
        "CreatedAt": str(found.get("Created") or "").replace("T", " ").replace("Z", " +0000 UTC"),
    }


def network_rows(found: list[dict[str, Any]], *, trunc: bool = True) -> list[Row]:
    """All networks, by name."""
    return [network_row(network, trunc=trunc) for network in sorted(found, key=lambda network: str(network["Name"]))]


def image_rows(found: list[dict[str, Any]], now: float, *, trunc: bool = True, digests: bool = False) -> list[Row]:
    """The images of GET /images/json, newest first, one row per tag (and digest)."""
    rows: list[Row] = []
    for image in found:
        for repository, tag, digest in _names(image, digests=digests):
            rows.append(_image_row(image, now, trunc) | {"Repository": repository, "Tag": tag, "Digest": digest})
    return rows


def _image_row(image: Mapping[str, Any], now: float, trunc: bool) -> Row:
    return {
        "ID": short_id(image["Id"]) if trunc else image["Id"],
        "CreatedSince": age(now - image["Created"]) + " ago" if image["Created"] > 0 else "N/A",
        "CreatedAt": moment(image["Created"]),
        "Size": size(image["Size"]),
        "Containers": _known(image.get("Containers", -1)),
        "SharedSize": _known_size(image.get("SharedSize", -1)),
        "UniqueSize": _known_size(-1),
        "VirtualSize": size(image["Size"], 4),
    }


def _known(count: int) -> str:
    return "N/A" if count < 0 else str(count)


def _known_size(count: int) -> str:
    return "N/A" if count < 0 else size(count)


def _names(image: Mapping[str, Any], *, digests: bool) -> list[tuple[str, str, str]]:
    """(repository, tag, digest) of every name of an image, with `<none>` where there is none."""
    tags = sorted(name for name in entries(image, "RepoTags") if name != "<none>:<none>")
    known = dict(name.split("@", 1) for name in entries(image, "RepoDigests") if "<none>" not in name)
    found = [(*_split_tag(name), known.get(_split_tag(name)[0], "<none>")) for name in tags]
    tagged = {repository for repository, _, _ in found}
    if digests or not found:
        found += [(repository, "<none>", digest) for repository, digest in known.items() if repository not in tagged]
    return found or [("<none>", "<none>", "<none>")]


def _split_tag(name: str) -> tuple[str, str]:
    repository, _, tag = name.rpartition(":")
    return repository, tag


def volume_row(found: Mapping[str, Any]) -> Row:
    """A volume of GET /volumes, or of GET /system/df, which also knows how large it is and who uses it."""
    usage = section(found, "UsageData")
    return {
        "Availability": "N/A",
        "Driver": str(found["Driver"]),
        "Group": "N/A",
        "Labels": labels(found.get("Labels")),
        "Links": str(usage["RefCount"]) if usage else "N/A",
        "Mountpoint": str(found.get("Mountpoint") or ""),
        "Name": str(found["Name"]),
        "Scope": str(found.get("Scope") or ""),
        "Size": size(usage["Size"], 4) if usage else "N/A",
        "Status": "N/A",
    }


def history_row(found: Mapping[str, Any], now: float, *, trunc: bool = True, human: bool = True) -> Row:
    """A layer of GET /images/{name}/history."""
    created = str(found.get("CreatedBy") or "").replace("\t", " ")
    ago = age(now - found["Created"]) + " ago" if found["Created"] > 0 else "N/A"
    return {
        "ID": short_id(found["Id"]) if trunc and found["Id"] != "<missing>" else found["Id"],
        "CreatedBy": shortened(created, 45) if trunc else created,
        "CreatedSince": ago if human else _stamp(found["Created"]),
        "CreatedAt": _stamp(found["Created"]),
        "Size": size(found["Size"]) if human else str(found["Size"]),
        "Comment": str(found.get("Comment") or ""),
    }


def _stamp(seconds: float) -> str:
    import time

    zone = time.strftime("%z", time.localtime(seconds))
    suffix = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) + suffix


def rendered(rows: list[Row], columns: tuple[str, ...], kind: str) -> str:
    """The default table."""
    from engine.cli.tables import table

    return table([[header(column, kind) for column in columns], *([row[column] for column in columns] for row in rows)])
