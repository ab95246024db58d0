"""`network` commands that change something, and the check of the kernel against what should be."""

from __future__ import annotations

import sys

from engine.cli import environment, pruning
from engine.cli.command import Call, CommandError, command, each
from engine.cli.documents import endpoint_settings
from engine.cli.endpoints import Attach
from engine.cli.filters import filters
from engine.cli.flags import BadValue, Options, flag, listed, many, number, text
from engine.client import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any


@command(
    "create",
    "NETWORK",
    text("-d", "--driver", help="Driver of the network", default="bridge"),
    listed("--subnet", help="Subnet in CIDR form; one for IPv4, one for IPv6"),
    listed("--gateway", help="Gateway of a subnet"),
    listed("--ip-range", help="Part of a subnet that containers get addresses from"),
    many("--aux-address", help="Addresses to leave alone, name=address", kind="map"),
    flag("--internal", help="No way to or from outside"),
    flag("--ipv6", help="Assign IPv6 addresses"),
    flag("--ipv4", help="Assign IPv4 addresses", default=True),
    many("--label", help="Set meta data, key=value"),
    many("-o", "--opt", help="Option of the driver, key=value", kind="map"),
    flag("--attachable", help="Let containers be attached by hand"),
    text("--ipam-driver", help="Driver of the addresses", default="default"),
    many("--ipam-opt", help="Option of that driver, key=value", kind="map"),
    text("--scope", help="Scope of the network"),
    flag("--ingress", help="Not supported: that is for a swarm"),
    flag("--config-only", help="Not supported: create each network with its own flags"),
    text("--config-from", help="Not supported: create each network with its own flags"),
    flag("--dry-run", help="Print the plan and change nothing"),
    flag("--help-options", help="Print the options of the driver, and change nothing"),
    least=1,
    most=1,
)
def create(call: Call) -> int | None:
    """Create a network"""
    if call.options.flag("help_options"):
        from engine.cli.driver import print_options

        return print_options(call.client, call.options.text("driver"), call.options.text("ipam_driver"))
    try:
        body = network_body(call.arguments[0], call.options)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if call.options.flag("dry_run"):
        return _print_plan(call.client.request("POST", "/networks/create", {"dryrun": True}, body).json())
    answer = call.client.request("POST", "/networks/create", body=body).json()
    if warning := answer.get("Warning"):
        print(f"WARNING: {warning}", file=sys.stderr)
    print(answer["Id"])


def _print_plan(answer: dict[str, Any]) -> int:
    sys.stdout.write(str(answer["Plan"]).rstrip("\n") + "\n")
    return 0


def network_body(name: str, options: Options) -> dict[str, Any]:
    """The document of POST /networks/create. Raises ValueError and BadValue."""
    for flag_name in ("config_only", "config_from", "ingress"):
        if options.values.get(flag_name):
            raise ValueError(
                f"--{flag_name.replace('_', '-')} is not supported: netpy networks are local and stand alone"
            )
    body: dict[str, Any] = {
        "Name": name,
        "Driver": options.text("driver"),
        "Scope": options.text("scope"),
        "IPAM": {
            "Driver": options.text("ipam_driver"),
            "Options": _pairs(options, "ipam_opt"),
            "Config": ipam_config(options),
        },
        "Internal": options.flag("internal"),
        "Attachable": options.flag("attachable"),
        "Ingress": False,
        "ConfigOnly": False,
        "ConfigFrom": None,
        "Options": _pairs(options, "opt"),
        "Labels": environment.labels(options.many("label")),
    }
    for flag_name, key in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if options.given(flag_name):
            body[key] = options.flag(flag_name)
    return body


def _pairs(options: Options, name: str) -> dict[str, str]:
    """A map flag; a key alone has an empty value, as in Docker."""
    return {key: value for key, _, value in sorted(text.partition("=") for text in options.many(name))}


def ipam_config(options: Options) -> list[dict[str, Any]]:
    """One entry per subnet, with the range, gateway and auxiliary addresses that lie in it. Raises ValueError."""
    entries: list[dict[str, Any]] = []
    for subnet in options.many("subnet"):
        if any(_overlap(subnet, entry["Subnet"]) for entry in entries):
            raise ValueError("multiple overlapping subnet configuration is not supported")
        entries.append({"Subnet": subnet})
    ranges, gateways = options.many("ip_range"), options.many("gateway")
    if len(entries) < max(len(ranges), len(gateways)):
        raise ValueError("every ip-range or gateway must have a corresponding subnet")
    _place(entries, "IPRange", "range", ranges)
    _place(entries, "Gateway", "gateway", gateways)
    for spec in options.many("aux_address"):
        name, equals, address = spec.partition("=")
        if not equals:
            raise BadValue("aux-address", spec, f"{spec} must be formatted as key=value")
        _home(entries, address, "aux-address").setdefault("AuxiliaryAddresses", {})[name] = address
    return entries


def _place(entries: Sequence[dict[str, Any]], key: str, what: str, values: Sequence[str]) -> None:
    """Put each value into the entry whose subnet holds it."""
    for value in values:
        entry = _home(entries, value, what)
        if key in entry:
            subnet = entry["Subnet"]
            raise ValueError(f"cannot configure multiple {what}s ({value}, {entry[key]}) on the same subnet ({subnet})")
        entry[key] = value


def _overlap(first: str, second: str) -> bool:
    one, other = _network(first), _network(second)
    return one.version == other.version and one.overlaps(other)


def _network(text: str) -> IPv4Network | IPv6Network:
    if "/" not in text:
        raise ValueError(f"invalid subnet {text} : invalid CIDR address: {text}")
    from ipaddress import ip_network

    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"invalid subnet {text} : invalid CIDR address: {text}") from error


def _home(entries: Sequence[dict[str, Any]], value: str, what: str) -> dict[str, Any]:
    """The entry whose subnet holds the address or range."""
    from ipaddress import ip_address

    try:
        address = ip_address(value.partition("/")[0])
    except ValueError as error:
        raise ValueError(f"no matching subnet for {what} {value}") from error
    for entry in entries:
        if address in _network(entry["Subnet"]):
            return entry
    raise ValueError(f"no matching subnet for {what} {value}")


@command(
    "connect",
    "NETWORK CONTAINER",
    listed("--alias", help="Add another name on the network"),
    listed("--driver-opt", help="Option of the driver for this endpoint, key=value"),
    number("--gw-priority", help="The highest provides the default gateway; may be negative", default=0),
    text("--ip", help='IPv4 address (e.g., "172.30.100.104")'),
    text("--ip6", help='IPv6 address (e.g., "2001:db8::33")'),
    many("--link", help="Add a link to another container, name:alias"),
    listed("--link-local-ip", help="Add a link-local address"),
    text("--mac-address", help="MAC address of the container on the network"),
    flag("--dry-run", help="Print the plan and change nothing"),
    least=2,
    most=2,
)
def connect(call: Call) -> int | None:
    """Connect a container to a network"""
    network, container = call.arguments
    body = {"Container": container, "EndpointConfig": connect_settings(call.options)}
    path = f"/networks/{network}/connect"
    if call.options.flag("dry_run"):
        return _print_plan(call.client.request("POST", path, {"dryrun": True}, body).json())
    call.client.request("POST", path, body=body).read()


def connect_settings(options: Options) -> dict[str, Any]:
    """The EndpointSettings of a connect. Raises CommandError for a malformed driver option."""
    wanted = Attach(target="", ip=options.text("ip"), ip6=options.text("ip6"), mac=options.text("mac_address"))
    ipam: dict[str, Any] = {}
    if wanted.ip:
        ipam["IPv4Address"] = wanted.ip
    if wanted.ip6:
        ipam["IPv6Address"] = wanted.ip6
    if options.many("link_local_ip"):
        ipam["LinkLocalIPs"] = options.many("link_local_ip")
    driver_opts: dict[str, str] = {}
    for spec in options.many("driver_opt"):
        name, equals, value = spec.partition("=")
        if not equals or not name:
            raise CommandError("invalid key/value pair format in driver options")
        driver_opts[name] = value
    return endpoint_settings(
        ipam,
        links=options.many("link") or None,
        aliases=options.many("alias"),
        driver_opts=driver_opts,
        extra={"MacAddress": wanted.mac, "GwPriority": options.number("gw_priority")},
    )


@command(
    "disconnect",
    "NETWORK CONTAINER",
    flag("-f", "--force", help="Force the container to disconnect from a network"),
    least=2,
    most=2,
)
def disconnect(call: Call) -> int | None:
    """Disconnect a container from a network"""
    network, container = call.arguments
    body = {"Container": container, "Force": call.options.flag("force")}
    call.client.request("POST", f"/networks/{network}/disconnect", body=body).read()


@command(
    "rm",
    "NETWORK [NETWORK...]",
    flag("-f", "--force", help="Do not mind a network that does not exist"),
    least=1,
    most=None,
)
def remove(call: Call) -> int | None:
    """Remove one or more networks"""
    force = call.options.flag("force")

    def act(name: str) -> str | None:
        try:
            call.client.request("DELETE", f"/networks/{name}").read()
        except ApiError as error:
            if force and error.status == 404:
                return None
            raise
        return name

    return each(call, act)


@command(
    "prune",
    "",
    pruning.FORCE,
    many("--filter", help="Only those that match, such as label=a or until=24h", kind="filter"),
)
def prune(call: Call) -> int | None:
    """Remove all unused networks"""
    warning = "This will remove all custom networks not used by at least one container."
    return pruning.prune(call, warning, [pruning.networks(filters(call.options.many("filter")))], sized=False)


@command("check", "", flag("--repair", help="Mend what differs"))
def check(call: Call) -> int | None:
    """Compare the kernel with what should be, and name every difference"""
    if call.options.flag("repair"):
        for line in call.client.request("POST", "/netpy/repair").json()["Repaired"]:
            print(f"repaired {line}")
        return 0
    drift: list[str] = call.client.request("GET", "/netpy/check").json()["Drift"]
    for line in drift:
        print(line)
    return 1 if drift else 0
