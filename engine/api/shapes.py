"""What the fields of the large bodies must be: containers, endpoints, execs. Pure.

The engine takes Docker's documents apart where it acts on them, and trusts them there to be what they should be. Here,
at the border, they are held against a table, so that a number in place of a list is refused with its place, as
Docker's own decoder does. Null means absent; a field that the table does not know passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from engine.api.decode import kind_of
from engine.model import Json
from netpy.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value must be: in words, as a test that may go further inside, and as a JSON schema."""

    words: str
    check: Callable[[Any, str], bool]
    schema: Json


_SCHEMAS = {str: "string", bool: "boolean", int: "integer"}


def _simple(words: str, kind: type) -> Shape:
    return Shape(words, lambda value, where: type(value) is kind, {"type": _SCHEMAS[kind]})


def _list(inner: Shape) -> Shape:
    def check(value: Any, where: str) -> bool:
        if not isinstance(value, list):
            return False
        for number, item in enumerate(cast("list[Any]", value)):
            _require(item, inner, f"{where}[{number}]")
        return True

    return Shape("a list", check, {"type": "array", "items": inner.schema})


def _table(inner: Shape, *, sparse: bool = False) -> Shape:
    """Any keys; `sparse` allows null for a value."""

    def check(value: Any, where: str) -> bool:
        if not isinstance(value, dict):
            return False
        for key, item in cast("dict[str, Any]", value).items():
            if not (sparse and item is None):
                _require(item, inner, f"{where}[{key!r}]")
        return True

    values = inner.schema | {"nullable": True} if sparse else inner.schema
    return Shape("an object", check, {"type": "object", "additionalProperties": values})


def _fields(known: Mapping[str, Shape]) -> Shape:
    """Fields of these names; in whatever case they came, they are given the one that they have here."""
    folded = {name.lower(): name for name in known}

    def check(value: Any, where: str) -> bool:
        if not isinstance(value, dict):
            return False
        fields = cast("dict[str, Any]", value)
        _spell(fields, known, folded)
        for name, item in fields.items():
            if name in known and item is not None:
                _require(item, known[name], f"{where}.{name}" if where else name)
        return True

    properties = {name: shape.schema | {"nullable": True} for name, shape in known.items()}
    return Shape("an object", check, {"type": "object", "properties": properties})


def _spell(fields: dict[str, Any], known: Mapping[str, Shape], folded: Mapping[str, str]) -> None:
    """Right the case of names, in place. Go's decoder takes names in any case, and clients have come to rely on it."""
    for name in [name for name in fields if name not in known and name.lower() in folded]:
        value = fields.pop(name)
        fields.setdefault(folded[name.lower()], value)


def _require(value: Any, shape: Shape, where: str) -> None:
    if not shape.check(value, where):
        raise InvalidArgument(f"invalid JSON: {where or 'the document'} must be {shape.words}, not {kind_of(value)}")


def _named(shape: Shape, names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), shape)


_TEXT, _FLAG, _NUMBER = _simple("a string", str), _simple("a boolean", bool), _simple("a whole number", int)
_ANY = Shape("anything", lambda value, where: True, {})
_TEXTS, _TEXT_TABLE = _list(_TEXT), _table(_TEXT)
_WORDS = Shape(
    "a list",
    lambda value, where: isinstance(value, str) or _TEXTS.check(value, where),
    {"oneOf": [_TEXTS.schema, _TEXT.schema]},
)

_CONFIG = {
    **_named(_TEXT, "Hostname Domainname User Image WorkingDir StopSignal MacAddress"),
    **_named(_FLAG, "AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce NetworkDisabled"),
    **_named(_TEXTS, "Env OnBuild Shell"),
    **_named(_WORDS, "Cmd Entrypoint"),
    **_named(_table(_ANY, sparse=True), "Volumes ExposedPorts"),
    "Labels": _TEXT_TABLE,
    "StopTimeout": _NUMBER,
    "Healthcheck": _fields({"Test": _TEXTS} | _named(_NUMBER, "Interval Timeout StartPeriod StartInterval Retries")),
}
_BIND_FLAGS = "NonRecursive CreateMountpoint ReadOnlyNonRecursive ReadOnlyForceRecursive"
_MOUNT = _fields(
    {
        **_named(_TEXT, "Type Source Target Consistency"),
        "ReadOnly": _FLAG,
        "BindOptions": _fields({"Propagation": _TEXT} | _named(_FLAG, _BIND_FLAGS)),
        "VolumeOptions": _fields({"NoCopy": _FLAG, "Labels": _TEXT_TABLE, "Subpath": _TEXT}),
        "TmpfsOptions": _fields(_named(_NUMBER, "SizeBytes Mode")),
    }
)
_HOST = {
    **_named(_TEXT, "NetworkMode IpcMode PidMode UTSMode UsernsMode CgroupnsMode Cgroup CgroupParent Runtime"),
    **_named(_TEXT, "CpusetCpus CpusetMems VolumeDriver ContainerIDFile Isolation"),
    **_named(_TEXTS, "Binds VolumesFrom Dns DnsOptions DnsSearch ExtraHosts GroupAdd Links SecurityOpt"),
    **_named(_TEXTS, "MaskedPaths ReadonlyPaths DeviceCgroupRules"),
    **_named(_WORDS, "CapAdd CapDrop"),
    **_named(_FLAG, "AutoRemove Privileged PublishAllPorts ReadonlyRootfs OomKillDisable Init"),
    **_named(_NUMBER, "OomScoreAdj ShmSize CpuShares Memory NanoCpus CpuPeriod CpuQuota CpuRealtimePeriod PidsLimit"),
    **_named(_NUMBER, "CpuRealtimeRuntime MemoryReservation MemorySwap MemorySwappiness BlkioWeight CpuCount"),
    **_named(_TEXT_TABLE, "Tmpfs Sysctls StorageOpt Annotations"),
    "PortBindings": _table(_list(_fields({"HostIp": _TEXT, "HostPort": _TEXT})), sparse=True),
    "RestartPolicy": _fields({"Name": _TEXT, "MaximumRetryCount": _NUMBER}),
    "LogConfig": _fields({"Type": _TEXT, "Config": _TEXT_TABLE}),
    "Devices": _list(_fields(_named(_TEXT, "PathOnHost PathInContainer CgroupPermissions"))),
    "Ulimits": _list(_fields({"Name": _TEXT, "Hard": _NUMBER, "Soft": _NUMBER})),
    "Mounts": _list(_MOUNT),
}
ENDPOINT = _fields(
    {
        "IPAMConfig": _fields({"IPv4Address": _TEXT, "IPv6Address": _TEXT, "LinkLocalIPs": _TEXTS}),
        **_named(_TEXTS, "Links Aliases"),
        "MacAddress": _TEXT,
        "DriverOpts": _TEXT_TABLE,
        "GwPriority": _NUMBER,
    }
)
CONTAINER = _fields(
    {
        **_CONFIG,
        "HostConfig": _fields(_HOST),
        "NetworkingConfig": _fields({"EndpointsConfig": _table(ENDPOINT, sparse=True)}),
    }
)
UPDATE = _fields(_HOST)
EXEC = _fields(
    {
        **_named(_TEXT, "User WorkingDir DetachKeys"),
        **_named(_FLAG, "AttachStdin AttachStdout AttachStderr Tty Privileged"),
        **_named(_TEXTS, "Env Cmd"),
    }
)


def checked(body: Json, shape: Shape, where: str = "") -> Json:
    """The body, when it is what it should be, its names in Docker's case; InvalidArgument names the first misfit."""
    _require(body, shape, where)
    return body
