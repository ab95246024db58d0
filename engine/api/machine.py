"""What `docker info` and `docker version` tell of the machine. Reads /proc, /etc and uname; changes nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.oci.resources import Support
from engine.runtime import cgroups, host

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def netpy_version() -> str:
    """The version that is installed; `dev` in a checkout that is not."""
    try:
        return version("netpy")
    except PackageNotFoundError:
        return "dev"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine, at one moment. `memory` is in bytes."""

    hostname: str
    kernel: str
    system: str
    system_version: str
    machine: str
    architecture: str
    cpus: int
    memory: int
    cgroup_version: str
    support: Support
    ipv4_forwarding: bool
    bridge_nf: bool
    bridge_nf6: bool
    descriptors: int


def look() -> Machine:
    """The machine now."""
    names = os.uname()
    release = _release()
    hierarchy = cgroups.detect()
    return Machine(
        hostname=names.nodename,
        kernel=names.release,
        system=release.get("PRETTY_NAME", names.sysname),
        system_version=release.get("VERSION_ID", ""),
        machine=names.machine,
        architecture=architecture(),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cgroup_version="2" if hierarchy.version == "v2" else "1",
        support=host.support(hierarchy),
        ipv4_forwarding=_sysctl("ipv4/ip_forward"),
        bridge_nf=_sysctl("bridge/bridge-nf-call-iptables"),
        bridge_nf6=_sysctl("bridge/bridge-nf-call-ip6tables"),
        descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - counts names, wants no paths
    )


def architecture() -> str:
    """The processor in Go's words, as image manifests have it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _sysctl(name: str) -> bool:
    try:
        return Path("/proc/sys/net", name).read_text().strip() == "1"
    except OSError:
        return False
