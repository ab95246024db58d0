"""Networks on the command line: `--network name=front,ip=10.9.0.7,alias=web` into the API's EndpointsConfig.

Pure; the rules and errors are Docker's. Flags not tied to a network (`--ip`, `--network-alias`, …) belong to the first.
"""

from __future__ import annotations

from engine.cli.documents import endpoint_settings
from engine.cli.flags import BadValue, Options
from engine.cli.records import changed, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_LONG = r"\w+=\w+(,\w+=\w+)*"
_MAC = r"[0-9a-fA-F]{2}(?P<sep>[:-])[0-9a-fA-F]{2}(?:(?P=sep)[0-9a-fA-F]{2}){4}|[0-9a-fA-F]{4}(?:\.[0-9a-fA-F]{4}){2}"
_PLAIN_MODES = ("default", "bridge", "host", "none")


@record
class Attach:
    """One network that a container shall be plugged into. `driver_opts` None is Go's nil, which the API tells apart."""

    target: str
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    link_local: tuple[str, ...] = ()
    mac: str = ""
    driver_opts: Mapping[str, str] | None = None
    priority: int = 0


class _Draft:
    """The fields of a long specification while it is read."""

    def __init__(self) -> None:
        self.single: dict[str, str] = {}
        self.aliases: list[str] = []
        self.link_local: list[str] = []
        self.driver_opts: dict[str, str] = {}


def attach(spec: str) -> Attach:
    """A `--network` value. Raises ValueError with Docker's words."""
    if "=" not in spec:
        return Attach(target=spec)
    import csv
    import re

    if not re.search(_LONG, spec):
        return Attach(target=spec)
    draft = _Draft()
    for text in next(csv.reader([spec])):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"invalid field {text}")
        _read(draft, name.strip().lower(), value.strip())
    single = draft.single
    if not single.get("name"):
        raise ValueError("network name/id is not specified")
    return Attach(
        target=single["name"],
        aliases=tuple(draft.aliases),
        ip=single.get("ip", ""),
        ip6=single.get("ip6", ""),
        link_local=tuple(draft.link_local),
        mac=single.get("mac-address", ""),
        driver_opts=draft.driver_opts or None,
        priority=_priority(single.get("gw-priority", "0")),
    )


def _read(draft: _Draft, name: str, value: str) -> None:
    match name:
        case "name" | "ip" | "ip6" | "mac-address" | "gw-priority":
            draft.single[name] = value
        case "alias":
            draft.aliases.append(value)
        case "link-local-ip":
            draft.link_local.append(value)
        case "driver-opt":
            key, equals, setting = value.partition("=")
            if not equals or not key:
                raise ValueError("invalid key value pair format in driver options")
            draft.driver_opts[key.strip().lower()] = setting.strip()
        case _:
            raise ValueError(f"invalid field key {name}")


def _priority(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f'invalid gw-priority ({text}): strconv.Atoi: parsing "{text}": invalid syntax') from error


def user_defined(mode: str) -> bool:
    """Whether a network mode names a network that a user made."""
    return mode not in _PLAIN_MODES and not mode.startswith("container:")


def attachments(options: Options) -> list[Attach]:
    """The networks that run's flags ask for, in order; `default` if they name none. Raises BadValue and ValueError."""
    found: list[Attach] = []
    for spec in options.many("network"):
        try:
            found.append(attach(spec))
        except ValueError as error:
            raise BadValue("network", spec, str(error)) from error
    found = found or [Attach(target="default")]
    found[0] = _with_flags(found[0], options)
    kinds = {user_defined(each.target) for each in found}
    if len(kinds) > 1:
        raise ValueError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    names = [each.target for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'network "{name}" is specified multiple times')
    return [_checked(each) for each in found]


def _with_flags(first: Attach, options: Options) -> Attach:
    for flag, value, own, what in (
        ("network-alias", options.many("network_alias"), first.aliases, "alias"),
        ("link", options.many("link"), first.links, "links"),
        ("ip", options.text("ip"), first.ip, "IPv4 address"),
        ("ip6", options.text("ip6"), first.ip6, "IPv6 address"),
        ("mac-address", options.text("mac_address"), first.mac, "MAC address"),
        ("link-local-ip", options.many("link_local_ip"), first.link_local, "link-local IP addresses"),
    ):
        if value and own:
            raise ValueError(f"conflicting options: cannot specify both --{flag} and per-network {what}")
    return changed(
        first,
        aliases=first.aliases or tuple(options.many("network_alias")),
        links=first.links or (tuple(options.many("link")) if user_defined(first.target) else ()),
        ip=first.ip or options.text("ip"),
        ip6=first.ip6 or options.text("ip6"),
        mac=first.mac or options.text("mac_address"),
        link_local=first.link_local or tuple(options.many("link_local_ip")),
    )


def _checked(found: Attach) -> Attach:
    if not found.target.strip():
        raise ValueError("no name set for network")
    if not user_defined(found.target):
        if found.aliases:
            raise ValueError("network-scoped aliases are only supported for user-defined networks")
        if found.links:
            raise ValueError("network-scoped links are only supported for user-defined networks")
    if found.mac:
        _check_mac(found.mac.strip())
    return found


def _check_mac(mac: str) -> None:
    import re

    if not re.fullmatch(_MAC, mac):
        raise ValueError(f"{mac} is not a valid mac address")


def settings(found: Attach) -> dict[str, Any]:
    """The EndpointSettings document."""
    ipam: dict[str, Any] = {}
    if found.ip:
        ipam["IPv4Address"] = found.ip
    if found.ip6:
        ipam["IPv6Address"] = found.ip6
    if found.link_local:
        ipam["LinkLocalIPs"] = list(found.link_local)
    return endpoint_settings(
        ipam or None,
        links=list(found.links) or None,
        aliases=list(found.aliases) or None,
        driver_opts=None if found.driver_opts is None else dict(found.driver_opts),
        extra={"MacAddress": found.mac.strip(), "GwPriority": found.priority},
    )


def endpoints_config(found: Sequence[Attach], *, named: bool) -> dict[str, Any]:
    """EndpointsConfig; like Docker's client, empty for a single network that was named and nothing said about."""
    if named and len(found) == 1 and found[0] == Attach(target=found[0].target):
        return {}
    return {each.target: settings(each) for each in found}
