"""The document of POST /containers/create, made of run's flags: Docker's own, field by field.

It decides how flags go together; what each value means is in the modules beside. Pure, but for the files that flags
name (env files, label files, a seccomp profile) and for the caller's Surroundings, which come in as a value.
"""

from __future__ import annotations

from engine.cli import endpoints, environment, mounts, ports, resources, throttles
from engine.cli.flags import BadValue, Options
from engine.cli.records import record
from engine.client.codec import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_STREAMS = ("stdin", "stdout", "stderr")


@record
class Surroundings:
    """What the document takes from where the command is typed. `size` is (rows, columns) of the terminal."""

    variables: Mapping[str, str]
    directory: str
    size: tuple[int, int] = (0, 0)


def create_body(image: str, command: Sequence[str], options: Options, around: Surroundings) -> dict[str, Any]:
    """Config, HostConfig and NetworkingConfig. Raises BadValue and ValueError in Docker's words."""
    attached = endpoints.attachments(options)
    published = ports.bindings(options.many("publish"))
    binds, anonymous = mounts.volumes(options.many("volume"), around.directory)
    if options.flag("rm") and options.text("restart") not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    config = _config(image, command, options, around)
    config["Volumes"] = anonymous
    if exposed := ports.exposed(options.many("expose"), published):
        config["ExposedPorts"] = exposed
    host_config = _host_config(options, around)
    host_config |= {
        "Binds": binds or None,
        "PortBindings": published,
        "NetworkMode": attached[0].target,
        "Links": [_link(text) for text in options.many("link")] or None,
    }
    return config | {
        "HostConfig": host_config,
        "NetworkingConfig": {"EndpointsConfig": endpoints.endpoints_config(attached, named=options.given("network"))},
    }


def _link(text: str) -> str:
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise BadValue("link", text, f"bad format for links: {text}")
    return text


def _streams(options: Options) -> dict[str, bool]:
    """Which streams run attaches to: those of -a, else all that make sense; none when detached."""
    wanted = options.many("attach")
    for name in wanted:
        if name.lower() not in _STREAMS:
            raise BadValue("attach", name, "valid streams are STDIN, STDOUT and STDERR")
    if options.flag("detach"):
        return dict.fromkeys(_STREAMS, False)
    if wanted:
        return {name: name in [each.lower() for each in wanted] for name in _STREAMS}
    return {"stdin": options.flag("interactive"), "stdout": True, "stderr": True}


def _config(image: str, command: Sequence[str], options: Options, around: Surroundings) -> dict[str, Any]:
    streams = _streams(options)
    interactive = options.flag("interactive")
    variables = environment.variables(options.many("env"), options.many("env_file"), around.variables)
    found: dict[str, Any] = {
        "Hostname": options.text("hostname"),
        "Domainname": options.text("domainname"),
        "User": options.text("user"),
        "AttachStdin": streams["stdin"],
        "AttachStdout": streams["stdout"],
        "AttachStderr": streams["stderr"],
        "Tty": options.flag("tty"),
        "OpenStdin": interactive,
        "StdinOnce": interactive and streams["stdin"],
        "Env": variables or None,
        "Cmd": list(command) or None,
        "Image": image,
        "WorkingDir": options.text("workdir"),
        "Entrypoint": [options.text("entrypoint")] if options.given("entrypoint") else None,
        "OnBuild": None,
        "Labels": environment.labels(options.many("label"), options.many("label_file")),
    }
    if health := resources.healthcheck(options):
        found["Healthcheck"] = health
    if options.given("stop_signal"):
        found["StopSignal"] = options.text("stop_signal")
    if options.given("stop_timeout"):
        found["StopTimeout"] = options.number("stop_timeout")
    return found


def _host_config(options: Options, around: Surroundings) -> dict[str, Any]:
    return {
        **_process_part(options, around),
        **_name_part(options),
        **_security_part(options),
        **_limits_part(options),
        **_optional_part(options),
        "MaskedPaths": None,
        "ReadonlyPaths": None,
    }


def _process_part(options: Options, around: Surroundings) -> dict[str, Any]:
    log = environment.pairs(options.many("log_opt"))
    if log and options.text("log_driver") == "none":
        raise ValueError("invalid logging opts for driver none")
    return {
        "ContainerIDFile": options.text("cidfile"),
        "LogConfig": {"Type": options.text("log_driver"), "Config": log},
        "RestartPolicy": resources.restart_policy(options.text("restart")),
        "AutoRemove": options.flag("rm"),
        "VolumeDriver": options.text("volume_driver"),
        "VolumesFrom": options.many("volumes_from") or None,
        "ConsoleSize": list(around.size) if options.flag("tty") else [0, 0],
    }


def _name_part(options: Options) -> dict[str, Any]:
    return {
        "Dns": [_address(text) for text in options.many("dns")],
        "DnsOptions": options.many("dns_option"),
        "DnsSearch": [_domain(text) for text in options.many("dns_search")],
        "ExtraHosts": [_extra_host(text) for text in options.many("add_host")] or None,
    }


def _storage_options(given: Sequence[str]) -> dict[str, str]:
    if any("=" not in text for text in given):
        raise ValueError("invalid storage option")
    return environment.pairs(given)


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError as error:
        raise BadValue("dns", text, f"IP address is not correctly formatted: {text}") from error


def _domain(text: str) -> str:
    plain = text.strip()
    if plain != "." and (not plain.strip(".") or any(not c.isalnum() and c not in "-._" for c in plain)):
        raise BadValue("dns-search", text, f"{plain} is not a valid domain")
    return plain


def _extra_host(text: str) -> str:
    """`host:ip` (or `host=ip`, or host-gateway) as the API has it."""
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name:
        raise BadValue("add-host", text, f'bad format for add-host: "{text}"')
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if bare != "host-gateway":
        import ipaddress

        try:
            ipaddress.ip_address(bare)
        except ValueError as error:
            raise BadValue("add-host", text, f'invalid IP address in add-host: "{address}"') from error
    return f"{name}:{bare}"


def _security_part(options: Options) -> dict[str, Any]:
    return {
        "CapAdd": _capabilities(options.many("cap_add")),
        "CapDrop": _capabilities(options.many("cap_drop")),
        "CgroupnsMode": options.text("cgroupns"),
        "GroupAdd": options.many("group_add") or None,
        "IpcMode": options.text("ipc"),
        "Cgroup": "",
        "OomScoreAdj": options.number("oom_score_adj"),
        "PidMode": options.text("pid"),
        "Privileged": options.flag("privileged"),
        "PublishAllPorts": options.flag("publish_all"),
        "ReadonlyRootfs": options.flag("read_only"),
        "SecurityOpt": [_security_option(text) for text in options.many("security_opt")] or None,
        "UTSMode": options.text("uts"),
        "UsernsMode": options.text("userns"),
    }


def _capabilities(names: Sequence[str]) -> list[str] | None:
    """In capitals with their CAP_ prefix, each once, sorted; ALL stands alone."""
    found = {name.strip().upper().removeprefix("CAP_") for name in names if name.strip()}
    if "ALL" in found:
        return ["ALL"]
    return sorted(f"CAP_{name}" for name in found) or None


def _security_option(text: str) -> str:
    """The option, with the file of a seccomp profile replaced by what is in it."""
    name, separator, value = text.partition("=")
    if not separator:
        name, separator, value = text.partition(":")
    if name == "no-new-privileges" or not separator:
        if text.partition(":")[0].partition("=")[0] != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{text}"')
        return text
    if name != "seccomp" or value in ("unconfined", "builtin"):
        return text
    try:
        with open(value) as stream:
            profile = loads(stream.read())
    except OSError as error:
        raise ValueError(
            f"opening seccomp profile ({value}) failed: open {value}: {(error.strerror or str(error)).lower()}"
        ) from error
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({value}) failed: {error}") from error
    return "seccomp=" + dumps(profile).decode()


def _limits_part(options: Options) -> dict[str, Any]:
    return {
        "ShmSize": resources.size_of(options, "shm-size"),
        "Isolation": options.text("isolation"),
        "CpuShares": options.number("cpu_shares"),
        "Memory": resources.size_of(options, "memory"),
        "NanoCpus": resources.nano_cpus(options.text("cpus")),
        "CgroupParent": options.text("cgroup_parent"),
        "BlkioWeight": options.number("blkio_weight"),
        **throttles.throttles(options),
        "CpuPeriod": options.number("cpu_period"),
        "CpuQuota": options.number("cpu_quota"),
        "CpuRealtimePeriod": options.number("cpu_rt_period"),
        "CpuRealtimeRuntime": options.number("cpu_rt_runtime"),
        "CpusetCpus": options.text("cpuset_cpus"),
        "CpusetMems": options.text("cpuset_mems"),
        "Devices": resources.devices(options.many("device")),
        "DeviceCgroupRules": options.many("device_cgroup_rule") or None,
        "DeviceRequests": throttles.device_requests(options.text("gpus")),
        "MemoryReservation": resources.size_of(options, "memory-reservation"),
        "MemorySwap": resources.size_of(options, "memory-swap", unlimited=True),
        "MemorySwappiness": options.number("memory_swappiness", -1),
        "OomKillDisable": options.flag("oom_kill_disable"),
        "PidsLimit": options.number("pids_limit"),
        "Ulimits": resources.ulimits(options.many("ulimit")),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _optional_part(options: Options) -> dict[str, Any]:
    """Fields that Docker's client leaves out when they are empty."""
    found: dict[str, Any] = {
        "Tmpfs": mounts.tmpfs(options.many("tmpfs")),
        "Mounts": mounts.mounts(options.many("mount")),
        "Sysctls": resources.sysctls(options.many("sysctl")),
        "StorageOpt": _storage_options(options.many("storage_opt")),
        "Annotations": environment.pairs(options.many("annotation")),
        "Runtime": options.text("runtime"),
    }
    kept = {name: value for name, value in found.items() if value}
    return kept | ({"Init": options.flag("init")} if options.given("init") else {})
