"""Log drivers: which there are, what options they take, and what an option comes to. Pure.

    json-file   a file per container, rotated if asked to (`max-size`, `max-file`, `compress`)
    local       the same with limits by default: 20 MB a file, 5 files, compressed
    journald    the system's journal
    none        nothing is kept

Names, options and complaints are Docker's. Options are checked when a container is made, as Docker does; their values
when it is started, with Docker's "failed to initialize logging driver". Files are in conmon's format in either case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from engine.containers.documents import items, table
from engine.model import Container, Json
from engine.runtime.rotation import Limit
from netpy.errors import InvalidArgument, KernelError

DEFAULT = "json-file"
NAMES = ("journald", "json-file", "local")
"""What `docker info` lists."""
_ATTRIBUTES = ("env", "env-regex", "labels", "labels-regex", "tag")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "json-file": (*_ATTRIBUTES, "max-size", "max-file", "compress"),
    "local": ("max-size", "max-file", "compress"),
    "journald": _ATTRIBUTES,
}
_COMMON = ("mode", "max-buffer-size")
_LOCAL_SIZE, _LOCAL_FILES = 20_000_000, 5
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtp])i?b?|b)?", re.IGNORECASE)
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes of the output. `limit` is None for a file that grows; `attributes` are what `--details` shows."""

    driver: str
    limit: Limit | None = None
    attributes: Mapping[str, str]
    tag: str = ""

    @property
    def is_file(self) -> bool:
        return self.driver in ("json-file", "local")


def default(kind: str, options: Sequence[str]) -> Json:
    """The LogConfig of a daemon that was told `key=value` options. InvalidArgument("failed to set log opts: …")."""
    found = dict(option.split("=", 1) for option in options)
    try:
        check(kind, found)
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to set log opts: {error}") from None
    return {"Type": kind, "Config": found}


def settled(asked: Mapping[str, Any], default: Mapping[str, Any]) -> Json:
    """`HostConfig.LogConfig`, completed by the daemon's default and checked. InvalidArgument in Docker's words."""
    kind = str(asked.get("Type") or default["Type"])
    options = {str(key): str(value) for key, value in table(asked, "Config").items()}
    if kind == default["Type"]:
        options = {**default["Config"], **options}
    check(kind, options)
    return {"Type": kind, "Config": options}


def check(kind: str, options: Mapping[str, str]) -> None:
    """InvalidArgument for a driver that does not exist, and for options it does not take."""
    if kind == "none":
        return
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        _refused(_bytes, options["max-buffer-size"], "error parsing option max-buffer-size: ")
    known = _OPTIONS.get(kind)
    if known is None:
        raise InvalidArgument(f"logger: no log driver named '{kind}' is registered")
    for name in options:
        if name not in (*known, *_COMMON):
            where = f"log driver {kind}" if kind == "local" else f"{kind} log driver"
            raise InvalidArgument(f"unknown log opt '{name}' for {where}")


def _refused(read: Callable[[str], object], text: str, lead: str) -> None:
    try:
        read(text)
    except ValueError as error:
        raise InvalidArgument(f"{lead}{error}") from None


def plan(container: Container) -> Plan:
    """What its LogConfig comes to. KernelError("failed to initialize logging driver: …") where a value is wrong."""
    config = table(container.host_config, "LogConfig")
    kind = str(config.get("Type") or DEFAULT)
    options: dict[str, str] = table(config, "Config")
    try:
        attributes = _attributes(container, options)
        tag = _tag(container, options.get("tag", ""))
        limit = {"json-file": _file_limit, "local": _local_limit}.get(kind, _no_limit)(options)
    except (ValueError, re.error) as error:
        raise KernelError(f"failed to initialize logging driver: {error}") from None
    if kind == "journald":
        return Plan(driver=kind, attributes=attributes, tag=tag or container.id[:12])
    return Plan(driver=kind, limit=limit, attributes=attributes | ({"tag": tag} if tag else {}))


def _no_limit(options: Mapping[str, str]) -> Limit | None:
    del options


def _file_limit(options: Mapping[str, str]) -> Limit | None:
    size = _bytes(options["max-size"]) if "max-size" in options else -1
    if not size:
        raise ValueError("max-size must be a positive number")
    files = _whole(options.get("max-file", "1"))
    if files < 1:
        raise ValueError("max-file cannot be less than 1")
    compress = _truth(options.get("compress", "false"))
    if compress and (files == 1 or size < 0):
        raise ValueError("compress cannot be true when max-file is less than 2 or max-size is not set")
    return Limit(size=size, files=files, compress=compress) if size > 0 else None


def _local_limit(options: Mapping[str, str]) -> Limit | None:
    size = _named("max-size", options, _bytes, _LOCAL_SIZE)
    files = _named("max-file", options, _whole, _LOCAL_FILES)
    try:
        compress = _truth(options.get("compress", "true"))
    except ValueError as error:
        raise ValueError(f"invalid boolean value for compress: {error}") from None
    if files < 0:
        raise ValueError("max-file must not be negative")
    if compress and files <= 1:
        raise ValueError("compression cannot be enabled when max file count is 1")
    return Limit(size=size, files=max(files, 1), compress=compress) if size else None


def _named(name: str, options: Mapping[str, str], read: Callable[[str], int], default: int) -> int:
    if name not in options:
        return default
    try:
        return read(options[name])
    except ValueError as error:
        raise ValueError(f"invalid value for {name}: {options[name]}: {error}") from None


def _bytes(text: str) -> int:
    """`10m`: decimal, as Docker has it for logs."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * 1000 ** " kmgtp".index((match[2] or " ").lower()))


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'strconv.Atoi: parsing "{text}": invalid syntax') from None


def _truth(text: str) -> bool:
    if text not in _TRUE + _FALSE:
        raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in _TRUE


def _attributes(container: Container, options: Mapping[str, str]) -> dict[str, str]:
    """The labels and variables of the container that are to be known of its log."""
    labels: dict[str, str] = table(container.config, "Labels")
    variables = {
        name: value for name, equals, value in (e.partition("=") for e in items(container.config, "Env")) if equals
    }
    found: dict[str, str] = {}
    for option, values in (("labels", labels), ("env", variables)):
        names = [name for name in options.get(option, "").split(",") if name]
        pattern = options.get(f"{option}-regex", "")
        search = re.compile(pattern).search if pattern else None
        found |= {k: v for k, v in values.items() if k in names or (search and search(k))}
    return found


def _tag(container: Container, template: str) -> str:
    """`{{.Name}}/{{.ImageName}}`, filled in; the fields are Docker's."""
    fields = {
        "ID": container.id[:12],
        "FullID": container.id,
        "Name": container.name,
        "FullName": f"/{container.name}",
        "ImageID": container.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": container.image_id,
        "ImageName": container.image,
        "DaemonName": "docker",
    }

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in fields:
            raise ValueError(
                f'template: log-tag:1:{match.start() + 2}: executing "log-tag" at <.{name}>: '
                f"can't evaluate field {name} in type *logger.Info"
            )
        return fields[name]

    return _FIELD.sub(value, template)


def details(attributes: Mapping[str, str]) -> str:
    """What `docker logs --details` puts in front of a line, without the blank."""
    return ",".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in sorted(attributes.items()))
