"""What a container may ask for at its border: capabilities, security options, namespaces of the host or of others.

Checked when it is made, in Docker's words, so that a mistake does not wait for the start. Pure; `find` and `names` come
in as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from engine.containers.documents import items, table
from engine.model import Json
from engine.oci import capabilities
from engine.oci.spec import security_options
from netpy.dns.files import extra_host
from netpy.errors import InvalidArgument, NotFound

_IPC = re.compile(r"|none|host|private|shareable|container:.+")


def check(host_config: Json) -> None:
    """InvalidArgument for what cannot be, whatever else there is on this host."""
    capabilities.check(add=items(host_config, "CapAdd"), drop=items(host_config, "CapDrop"))
    security_options(host_config)
    score = int(host_config.get("OomScoreAdj") or 0)
    ipc, cgroup = str(host_config.get("IpcMode") or ""), str(host_config.get("CgroupnsMode") or "")
    isolation = str(host_config.get("Isolation") or "")
    problems = {
        f"Invalid value {score}, range for oom score adj is [-1000, 1000]": not -1000 <= score <= 1000,
        "SHM size can not be less than 0": int(host_config.get("ShmSize") or 0) < 0,
        f"Invalid IPC mode: {ipc}": not _IPC.fullmatch(ipc),
        f"invalid cgroup namespace mode: {cgroup}": cgroup not in ("", "host", "private"),
        f"Invalid isolation: \"{isolation}\" - linux only supports 'default'": isolation not in ("", "default"),
        "volumes-from specification cannot be an empty string": "" in items(host_config, "VolumesFrom"),
        **_storage(table(host_config, "StorageOpt")),
    }
    for message, wrong in problems.items():
        if wrong:
            raise InvalidArgument(message)
    for entry in items(host_config, "ExtraHosts"):
        extra_host(entry)


def check_references(host_config: Json, find: Callable[[str], object], links: list[tuple[str, str]]) -> None:
    """NotFound when a container that is named by a namespace or a link is not there."""
    for key in ("PidMode", "IpcMode"):
        kind, _, name = str(host_config.get(key) or "").partition(":")
        if kind == "container":
            find(name)
    # Elsewhere than on the default network a link is but another name, and may be there before its container.
    for name, _ in links if host_config.get("NetworkMode") == "bridge" else ():
        try:
            find(name)
        except NotFound as error:
            raise NotFound(f"could not get container for {name}: {error}") from None


def _storage(options: Mapping[str, Any]) -> dict[str, bool]:
    sized = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
    unknown = next((name for name in options if name.lower() != "size"), "")
    return {f"Unknown option {unknown}": bool(unknown), sized: bool(options)}


def warnings(host_config: Json) -> list[str]:
    """What is possible but unwise, as Docker answers a create."""
    if host_config.get("OomKillDisable") and not host_config.get("Memory"):
        return [
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        ]
    return []


def gpu_refusal(host_config: Json) -> str:
    """Why the devices that are asked for by what they can do cannot be had; empty when none are asked for."""
    for request in items(host_config, "DeviceRequests"):
        groups: list[list[str]] = request.get("Capabilities") or []
        wanted = " ".join(f"[{' '.join(group)}]" for group in groups)
        return f'could not select device driver "{request.get("Driver") or ""}" with capabilities: [{wanted}]'
    return ""


def platform_refusal(name: str, wanted: str, image: Mapping[str, Any]) -> str:
    """Why an image is not for the platform that is asked for (`linux/arm64`); empty when it is, or none is."""
    if not wanted:
        return ""
    system, _, rest = wanted.lower().partition("/")
    machine = _MACHINES.get(rest.partition("/")[0], rest.partition("/")[0])
    have = str(image.get("os") or "linux"), str(image.get("architecture") or "")
    if system == have[0] and machine in ("", have[1]):
        return ""
    return (
        f"image with reference {name} was found but does not match the specified platform: "
        f"wanted {wanted}, actual: {have[0]}/{have[1]}"
    )


_MACHINES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm"}
