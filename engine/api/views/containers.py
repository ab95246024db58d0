"""Containers as `docker inspect` and `docker ps` show them. Pure.

A Scene holds what a container's document draws on besides its record: its endpoints, its networks, and places on
disk. Collecting it is the routes' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine.api.views.status import status, unix_time
from engine.containers import links
from engine.containers.ports import keys as port_keys
from engine.model import NEVER, Attachment, Container, Health, Json
from netpy.model import Endpoint, Family, Network, PortBinding

NO_SHORT_ID = (1, 45)
"""From this version on, `Aliases` are what was asked for; before, the short id was among them."""
DNS_NAMES = (1, 44)
"""From this version on, endpoints tell the names by which the name server knows them."""
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """`networks` by name. `sizes` are bytes: the container's own layer, and all layers."""

    container: Container
    endpoints: Sequence[Endpoint] = ()
    networks: Mapping[str, Network] = field(default_factory=dict[str, Network])
    data_root: str = ""
    exec_root: str = ""
    layers: Sequence[str] = ()
    exec_ids: Sequence[str] = ()
    image_name: str = ""
    linked_as: Sequence[str] = ()
    sizes: tuple[int, int] | None = None
    version: tuple[int, int] = (1, 47)


def inspect(scene: Scene) -> Json:
    """The document of one container; key order is Docker's."""
    container = scene.container
    home = f"{scene.data_root}/containers/{container.id}"
    return {
        "Id": container.id,
        "Created": container.created,
        "Path": container.path,
        "Args": list(container.args),
        "State": _state(container),
        "Image": container.image_id,
        "ResolvConfPath": f"{home}/resolv.conf",
        "HostnamePath": f"{home}/hostname",
        "HostsPath": f"{home}/hosts",
        "LogPath": container.facts.get("log_path", "") if container.state.started_at != NEVER else "",
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(scene.exec_ids) or None,
        "HostConfig": container.host_config | {"Links": link_names(container) or None},
        "GraphDriver": _graph_driver(scene),
        **_sizes(scene),
        "Mounts": [_mount(mount) for mount in container.mounts],
        "Config": container.config,
        "NetworkSettings": network_settings(scene),
    }


def summary(scene: Scene, now: datetime) -> Json:
    """One line of `docker ps`, as JSON."""
    container = scene.container
    return {
        "Id": container.id,
        "Names": [f"/{container.name}", *scene.linked_as],
        "Image": scene.image_name or container.image,
        "ImageID": container.image_id,
        "Command": command(container),
        "Created": unix_time(container.created),
        "Ports": port_list(scene),
        **_sizes(scene),
        "Labels": container.config.get("Labels") or {},
        "State": container.state.status,
        "Status": status(container.state, now),
        "HostConfig": {"NetworkMode": container.host_config.get("NetworkMode") or "default"},
        "NetworkSettings": {"Networks": networks(scene)},
        "Mounts": [_mount(mount) for mount in container.mounts],
    }


def link_names(container: Container) -> list[str]:
    """Its links on the default bridge, as `/TARGET:/CONTAINER/ALIAS`."""
    return [f"/{target}:/{container.name}/{alias}" for target, alias in links.asked(container.host_config)]


def command(container: Container) -> str:
    """Program and arguments in one line; those with blanks in quotes, as Docker does it."""
    return " ".join([container.path, *(f"'{arg}'" if " " in arg else arg for arg in container.args)])


def network_settings(scene: Scene) -> Json:
    """`NetworkSettings`. The fields of one network alone are the default bridge's, kept for old clients."""
    container = scene.container
    live = container.state.running and not container.host_config.get("NetworkMode", "").startswith("container:")
    return {
        "Bridge": "",
        "SandboxID": container.id if live else "",
        "SandboxKey": _sandbox_key(scene) if live else "",
        "Ports": port_map(scene),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **_legacy(scene),
        "Networks": networks(scene),
    }


def networks(scene: Scene) -> Json:
    """`NetworkSettings.Networks`: every network the container is to be in, with its endpoint where it runs."""
    return {
        attachment.network: endpoint_settings(scene, attachment)
        for attachment in sorted(scene.container.attachments, key=lambda a: a.network)
    }


def endpoint_settings(scene: Scene, attachment: Attachment) -> Json:
    """Docker's EndpointSettings: what was asked for, and what became of it."""
    network = scene.networks.get(attachment.network)
    endpoint = _endpoint(scene, network)
    asked = attachment.settings
    named = network is not None and not network.predefined
    priority = attachment.spec.gateway_priority
    names = (endpoint.spec if endpoint else attachment.spec).names
    return {
        "IPAMConfig": asked.get("IPAMConfig"),
        "Links": asked.get("Links"),
        "Aliases": _aliases(scene, asked, named=named),
        "MacAddress": endpoint.mac if endpoint else asked.get("MacAddress") or "",
        "NetworkID": network.id if network else "",
        "EndpointID": endpoint.id if endpoint else "",
        **_addresses(network, endpoint),
        "DriverOpts": asked.get("DriverOpts"),
        **({"GwPriority": priority} if priority else {}),
        **({"DNSNames": list(names) if named else None} if scene.version >= DNS_NAMES else {}),
    }


def port_map(scene: Scene) -> dict[str, list[Json] | None]:
    """`80/tcp` to its bindings, or to null where it is not published; empty while the container does not run.

    Empty too in the modes that have no network of their own: nothing is published there, and Docker shows nothing.
    """
    container = scene.container
    if not container.state.running or not any(endpoint.addresses for endpoint in scene.endpoints):
        return {}
    ports: dict[str, list[Json] | None] = dict.fromkeys(port_keys(container.config, container.host_config))
    for binding in _bindings(scene):
        key = f"{binding.container_port}/{binding.protocol}"
        ports[key] = [*(ports.get(key) or []), {"HostIp": binding.host_ip, "HostPort": str(binding.host_port)}]
    return {key: ports[key] for key in sorted(ports)}


def port_list(scene: Scene) -> list[Json]:
    """The ports of a line of `docker ps`."""
    found: list[Json] = []
    for key, bindings in sorted(port_map(scene).items(), key=lambda item: _port_order(item[0])):
        number, kind = _port_order(key)
        protocol = _PROTOCOLS[kind]
        found += [
            {"IP": b["HostIp"], "PrivatePort": number, "PublicPort": int(b["HostPort"]), "Type": protocol}
            for b in bindings or []
        ]
        if not bindings:
            found.append({"PrivatePort": number, "Type": protocol})
    return found


def _port_order(key: str) -> tuple[int, int]:
    number, _, protocol = key.partition("/")
    return int(number.partition("-")[0]), _PROTOCOLS.index(protocol or "tcp")


def _state(container: Container) -> Json:
    state = container.state
    return {
        "Status": state.status,
        "Running": state.running or state.status == "restarting",
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
        **({"Health": _health(state.health)} if state.health else {}),
    }


def _health(health: Health) -> Json:
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {"Start": probe.start, "End": probe.end, "ExitCode": probe.exit_code, "Output": probe.output}
            for probe in health.log
        ],
    }


def _graph_driver(scene: Scene) -> Json:
    upper = f"{scene.data_root}/overlay/{scene.container.id}"
    return {
        "Data": {
            "LowerDir": ":".join(scene.layers),
            "MergedDir": f"{scene.exec_root}/containers/{scene.container.id}/rootfs",
            "UpperDir": f"{upper}/upper",
            "WorkDir": f"{upper}/work",
        },
        "Name": "overlay2",
    }


def _sizes(scene: Scene) -> Json:
    return {} if scene.sizes is None else {"SizeRw": scene.sizes[0], "SizeRootFs": scene.sizes[1]}


def _mount(mount: Json) -> Json:
    keys = ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation")
    return {key: mount[key] for key in keys if key in mount}


def _sandbox_key(scene: Scene) -> str:
    if scene.container.host_config.get("NetworkMode") == "host":
        return "/proc/1/ns/net"
    return f"{scene.exec_root}/netns/{scene.container.id[:12]}"


def _legacy(scene: Scene) -> Json:
    network = scene.networks.get("bridge")
    endpoint = _endpoint(scene, network)
    addresses = _addresses(network, endpoint)
    return {
        "EndpointID": endpoint.id if endpoint else "",
        "Gateway": addresses["Gateway"],
        "GlobalIPv6Address": addresses["GlobalIPv6Address"],
        "GlobalIPv6PrefixLen": addresses["GlobalIPv6PrefixLen"],
        "IPAddress": addresses["IPAddress"],
        "IPPrefixLen": addresses["IPPrefixLen"],
        "IPv6Gateway": addresses["IPv6Gateway"],
        "MacAddress": endpoint.mac if endpoint else "",
    }


def _addresses(network: Network | None, endpoint: Endpoint | None) -> Json:
    return {
        "Gateway": _gateway(network, endpoint, 4),
        "IPAddress": endpoint.address_of(4) if endpoint else "",
        "IPPrefixLen": _prefix_length(endpoint, 4),
        "IPv6Gateway": _gateway(network, endpoint, 6),
        "GlobalIPv6Address": endpoint.address_of(6) if endpoint else "",
        "GlobalIPv6PrefixLen": _prefix_length(endpoint, 6),
    }


def _gateway(network: Network | None, endpoint: Endpoint | None, family: Family) -> str:
    if network is None or endpoint is None or network.spec.internal or not endpoint.address_of(family):
        return ""
    router = endpoint.next_hop(family, network.subnet_of(family))
    return "" if router in ("0.0.0.0", "::") else router


def _prefix_length(endpoint: Endpoint | None, family: Family) -> int:
    addresses = endpoint.addresses if endpoint else ()
    found = next((a for a in addresses if (":" in a) == (family == 6)), "")
    return int(found.rpartition("/")[2] or 0) if found else 0


def _aliases(scene: Scene, asked: Json, *, named: bool) -> list[str] | None:
    aliases = list(asked.get("Aliases") or [])
    if named and scene.version < NO_SHORT_ID and scene.container.id[:12] not in aliases:
        aliases.append(scene.container.id[:12])
    return aliases or None


def _endpoint(scene: Scene, network: Network | None) -> Endpoint | None:
    if network is None:
        return None
    return next((e for e in scene.endpoints if e.network_id == network.id), None)


def _bindings(scene: Scene) -> list[PortBinding]:
    return list(dict.fromkeys(binding for endpoint in scene.endpoints for binding in endpoint.ports))
