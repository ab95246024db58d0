"""The OCI configuration of a container, from Docker's own documents.

Pure: everything that has to be asked of the host (control groups, capabilities, limits, devices) comes in with
`HostFacts`; everything that depends on the image or on other containers (the final arguments, the user's numbers, the
namespaces to share) with `SpecRequest`. The same request always gives the same config.json.

Rules worth knowing: a resource limit (rlimit) is never set unless asked for, because a host may forbid to raise it and
the runtime then refuses the whole container; `oomScoreAdj` likewise. The defaults (capabilities, masked paths, mounts,
devices, seccomp) are Docker's, so that what runs there runs here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from engine.model import Json
from engine.oci import capabilities, mounts, seccomp
from engine.oci.mounts import Mount
from engine.oci.resources import Device, Support, resources, rlimits
from netpy.errors import InvalidArgument, Unsupported

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_PATH = "/sbin/docker-init"
STDIN_ONCE = "netpy.stdin-once"
"""The annotation by which the runtime knows that standard input ends with its first client (Docker's StdinOnce)."""
_MASKED = """
    /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
    /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
"""
_READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"
MASKED_PATHS: tuple[str, ...] = tuple(_MASKED.split())
READONLY_PATHS: tuple[str, ...] = tuple(_READONLY.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host is. `init` is a static init program for --init, empty without one. `ceilings` are the hard rlimits
    that cannot be exceeded, `former_limits` those that containers get although the daemon has others by now, soft and
    hard. `private_cgroup` is whether containers get a cgroup namespace by default (v2: yes)."""

    machine: str = "x86_64"
    capabilities: frozenset[str] = frozenset(capabilities.NAMES)
    support: Support = field(default_factory=Support)
    ceilings: Mapping[str, int] = field(default_factory=dict[str, int])
    former_limits: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    private_cgroup: bool = True
    init: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whom the process runs as, in numbers, with the home directory for HOME."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRequest:
    """Everything a configuration is made of.

    `args` are final (entrypoint and command, resolved); `config` and `host_config` Docker's Config and HostConfig.
    `netns` is the path of the network namespace, empty for the host's. `namespaces` maps pid, ipc, uts to "host" or
    to the path of a namespace to join; a kind that is missing gets a namespace of its own. `mounts` are put in besides
    the HostConfig's Tmpfs. `devices` are the nodes that were asked for, looked up. `cgroup` is the group's path.
    `shm` is the directory of the host to be /dev/shm, where that is shared.
    """

    id: str
    rootfs: str
    args: tuple[str, ...]
    config: Json
    host_config: Json
    cgroup: str
    shm: str = ""
    hostname: str = ""
    domainname: str = ""
    netns: str = ""
    namespaces: Mapping[str, str] = field(default_factory=dict[str, str])
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    user: User = User()
    env: tuple[str, ...] = ()
    cwd: str = ""
    facts: HostFacts = HostFacts()


def oci_spec(request: SpecRequest) -> Json:
    """The config.json. Raises InvalidArgument for wishes that contradict each other or cannot be.

    `env` and `cwd` of the request, where given, stand for those of the Config.
    """
    host_config = request.host_config
    all_mounts = [*request.mounts, *mounts.tmpfs(host_config)]
    spec: Json = {
        "ociVersion": "1.0.2",
        "process": _process(request),
        "root": {"path": request.rootfs, "readonly": bool(host_config.get("ReadonlyRootfs"))},
        "mounts": mounts.combined(_kernel_mounts(request), [*_init_mount(request), *all_mounts]),
        "linux": _linux(request, all_mounts),
    }
    # A terminal stays: whoever detaches from it wants to come back.
    if request.config.get("StdinOnce") and not request.config.get("Tty"):
        spec["annotations"] = {STDIN_ONCE: "true"}
    if _namespace(request, "uts") != "host":
        spec["hostname"] = request.hostname or request.id[:12]
    return spec


def _kernel_mounts(request: SpecRequest) -> list[Json]:
    return mounts.kernel_mounts(
        request.host_config, shm=_shared_memory(request), private_cgroup=_private_cgroup(request)
    )


def _shared_memory(request: SpecRequest) -> str | None:
    """What /dev/shm is: the directory that is bound there, empty for a file system of its own, None for nothing."""
    if request.host_config.get("IpcMode") == "none":
        return None
    return "/dev/shm" if _namespace(request, "ipc") == "host" else request.shm


def _private_cgroup(request: SpecRequest) -> bool:
    mode = str(request.host_config.get("CgroupnsMode") or "")
    # A privileged container on v1 and every one with --cgroupns=host sees the host's groups.
    return mode == "private" or (not mode and request.facts.private_cgroup)


def _process(request: SpecRequest) -> Json:
    config, host_config = request.config, request.host_config
    tty = bool(config.get("Tty"))
    process: Json = {
        "terminal": tty,
        "user": _user(request.user),
        "args": _arguments(request),
        "env": environment(
            request.env or tuple(config.get("Env") or ()),
            hostname=request.hostname or request.id[:12],
            tty=tty,
            home=request.user.home,
        ),
        "cwd": request.cwd or str(config.get("WorkingDir") or "") or "/",
        "capabilities": _capability_sets(_granted(request)),
        "noNewPrivileges": security_options(host_config).get("no-new-privileges") == "true",
    }
    rows, columns = _console_size(host_config)
    if tty and rows and columns:
        process["consoleSize"] = {"height": rows, "width": columns}
    if limits := rlimits(host_config, request.facts.ceilings, request.facts.former_limits):
        process["rlimits"] = limits
    if score := int(host_config.get("OomScoreAdj") or 0):
        process["oomScoreAdj"] = score
    return process


def _console_size(host_config: Json) -> tuple[int, int]:
    size = cast("list[int]", host_config.get("ConsoleSize") or [0, 0])
    return size[0], size[1]


def _user(user: User) -> Json:
    # The first group is among the supplementary ones too: else a process could drop it, and with it what the group
    # is refused (CVE-2022-36109).
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(dict.fromkeys([user.gid, *user.groups]))}


def _arguments(request: SpecRequest) -> list[str]:
    if not request.args:
        raise InvalidArgument("no command specified")
    if not request.host_config.get("Init"):
        return list(request.args)
    return [INIT_PATH, "--", *request.args]


def _init_mount(request: SpecRequest) -> list[Mount]:
    if not request.host_config.get("Init"):
        return []
    if not request.facts.init:
        raise Unsupported("no static init program for --init on this host: install the package tini")
    return [Mount(source=request.facts.init, destination=INIT_PATH, read_only=True)]


def environment(env: Iterable[str], *, hostname: str, tty: bool, home: str) -> list[str]:
    """The process's variables: Docker's own first, each replaced by the user's of the same name.

    A user's entry without `=` removes the variable.
    """
    defaults = [PATH, *([f"HOSTNAME={hostname}"] if hostname else []), *(["TERM=xterm"] if tty else [])]
    found: dict[str, str | None] = {}
    for entry in [*defaults, *env]:
        name, separator, _ = entry.partition("=")
        found[name] = entry if separator else None
    found.setdefault("HOME", f"HOME={home}")
    return [entry for entry in found.values() if entry is not None]


def _granted(request: SpecRequest) -> frozenset[str]:
    host_config = request.host_config
    return capabilities.granted(
        add=host_config.get("CapAdd") or (),
        drop=host_config.get("CapDrop") or (),
        privileged=bool(host_config.get("Privileged")),
        available=request.facts.capabilities,
    )


def _capability_sets(granted: frozenset[str]) -> Json:
    # No inheritable set: it would let file capabilities raise a process that dropped its own (CVE-2022-24769).
    names = [name for name in capabilities.NAMES if name in granted]
    return {"bounding": names, "effective": names, "permitted": names}


def _linux(request: SpecRequest, user_mounts: Iterable[Mount]) -> Json:
    host_config = request.host_config
    linux: Json = {
        "cgroupsPath": request.cgroup,
        "namespaces": _namespaces(request),
        "resources": resources(host_config, request.facts.support, request.devices),
        "devices": [_device(device) for device in request.devices],
        "maskedPaths": _paths(host_config, "MaskedPaths", MASKED_PATHS),
        "readonlyPaths": _paths(host_config, "ReadonlyPaths", READONLY_PATHS),
        "sysctl": _sysctls(request),
    }
    if profile := _seccomp(request):
        linux["seccomp"] = profile
    if propagation := mounts.rootfs_propagation(user_mounts):
        linux["rootfsPropagation"] = propagation
    return {key: value for key, value in linux.items() if value or key == "resources"}


def _paths(host_config: Json, key: str, default: tuple[str, ...]) -> list[str]:
    given = cast("list[str] | None", host_config.get(key))
    if host_config.get("Privileged"):
        return []
    return list(default) if given is None else given


def _device(device: Device) -> Json:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


_MODES = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode"}


def _namespace(request: SpecRequest, kind: str) -> str:
    """ "host", the path of one to join, or empty for one of its own."""
    asked = str(request.host_config.get(_MODES[kind]) or "")
    return request.namespaces.get(kind, "host" if asked == "host" else "")


def _namespaces(request: SpecRequest) -> list[Json]:
    found: list[Json] = [{"type": "mount"}]
    if request.netns:
        found.append({"type": "network", "path": request.netns})
    for kind in _MODES:
        place = _namespace(request, kind)
        if place != "host":
            found.append({"type": kind, "path": place} if place else {"type": kind})
    if _private_cgroup(request):
        found.append({"type": "cgroup"})
    return found


def _sysctls(request: SpecRequest) -> Json:
    asked = dict(cast("Mapping[str, str]", request.host_config.get("Sysctls") or {}))
    defaults: Json = {}
    if request.netns:
        # As Docker: low ports and ping need no privilege in a network namespace of the container's own.
        defaults |= {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    if request.domainname and _namespace(request, "uts") == "":
        defaults["kernel.domainname"] = request.domainname
    return defaults | asked


def security_options(host_config: Json) -> dict[str, str]:
    """`SecurityOpt` by name. InvalidArgument for an option that does not exist."""
    found: dict[str, str] = {}
    for option in cast("list[str]", host_config.get("SecurityOpt") or []):
        # The separator was a colon once; a seccomp profile comes inline, as JSON.
        separator = "=" if "=" in option.split("{", 1)[0] else ":"
        name, given, value = option.partition(separator)
        if name not in ("no-new-privileges", "seccomp", "apparmor", "label", "systempaths", "writable-cgroups"):
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
        found[name] = value if given else "true"
    return found


def _seccomp(request: SpecRequest) -> Json | None:
    wanted = security_options(request.host_config).get("seccomp", "")
    if wanted == "unconfined" or (not wanted and request.host_config.get("Privileged")):
        return None
    held = _granted(request)
    if wanted in ("", "builtin", "default"):
        return seccomp.default(request.facts.machine, held)
    return seccomp.custom(wanted, request.facts.machine, held)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """One more process for a running container. `options` is the body of Docker's exec create; `container` its
    configuration, `user` whom the process runs as."""

    options: Json
    container: Json
    host_config: Json
    hostname: str
    user: User = User()
    facts: HostFacts = HostFacts()
    console: tuple[int, int] = (0, 0)


def exec_process(request: ExecRequest) -> Json:
    """The OCI process of an exec: environment, directory and privileges are the container's, but for what is asked."""
    options = request.options
    tty = bool(options.get("Tty"))
    command = [str(word) for word in cast("list[object]", options.get("Cmd") or [])]
    if not command:
        raise InvalidArgument("No exec command specified")
    host_config = request.host_config
    held = capabilities.granted(
        add=host_config.get("CapAdd") or (),
        drop=host_config.get("CapDrop") or (),
        privileged=bool(host_config.get("Privileged") or options.get("Privileged")),
        available=request.facts.capabilities,
    )
    env = [entry for given in (request.container, options) for entry in cast("list[str]", given.get("Env") or [])]
    process: Json = {
        "terminal": tty,
        "user": _user(request.user),
        "args": command,
        "env": environment(env, hostname=request.hostname, tty=tty, home=request.user.home),
        "cwd": str(options.get("WorkingDir") or request.container.get("WorkingDir") or "/"),
        "capabilities": _capability_sets(held),
        "noNewPrivileges": security_options(host_config).get("no-new-privileges") == "true",
    }
    if limits := rlimits(host_config, request.facts.ceilings, request.facts.former_limits):
        process["rlimits"] = limits
    rows, columns = request.console
    if tty and rows and columns:
        process["consoleSize"] = {"height": rows, "width": columns}
    return process
