"""The daemon's settings: flags and `daemon.json`, under dockerd's names and with dockerd's complaints.

Every directive is declared once, in DIRECTIVES; flags, file keys, checks and defaults come from there. A key of the
file that is no directive is an error, and so is a directive given both as a flag and in the file, with no way to
tell which one was meant. Reads the configuration file; changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, Literal, NoReturn

from engine.images import endpoints
from engine.model import Json
from netpy.dns import TTL
from netpy.errors import InvalidArgument

DATA_ROOT, CONFIG_FILE = "/var/lib/netpy", "/etc/netpy/daemon.json"
FirewallBackend = Literal["auto", "iptables", "nftables"]
_LONGEST_TTL = (1 << 31) - 1  # seconds, RFC 2181, section 8
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPool:
    """`--default-address-pool base=10.10.0.0/16,size=24`."""

    base: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be told to the daemon. Empty text and empty tuples mean: the built-in default."""

    data_root: Path = Path(DATA_ROOT)
    exec_root: Path = Path("/run/netpy")
    hosts: tuple[str, ...] = ()
    pidfile: Path = Path("/run/netpy/netpy.pid")
    config_file: Path = Path(CONFIG_FILE)
    group: str = ""
    bridge: str = ""
    bip: str = ""
    default_address_pools: tuple[AddressPool, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_ttl: int = TTL
    icc: bool = True
    iptables: bool = True
    ip_forward: bool = True
    ip: str = "0.0.0.0"
    ip_masq: bool = True
    mtu: int = 1500
    host_gateway_ips: tuple[str, ...] = ()
    allow_direct_routing: bool = False
    firewall_backend: FirewallBackend = "auto"
    runtime: str = ""
    labels: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    log_level: str = "info"
    default_shm_size: int = 64 << 20
    shutdown_timeout: int = 15
    experimental: bool = False
    log_driver: str = "json-file"
    log_opts: tuple[str, ...] = ()
    salvage: bool = False  # a flag alone: it is for one start

    @property
    def instance(self) -> str:
        """What marks everything of this daemon in the kernel: other daemons of the machine have other roots."""
        if self.data_root == Path(DATA_ROOT):
            return "netpy"
        return f"netpy-{hashlib.sha256(str(self.data_root).encode()).hexdigest()[:6]}"

    @property
    def default_bridge(self) -> str:
        """The bridge of the network `bridge`: `netpy0`, or one that names the instance."""
        return self.bridge or ("netpy0" if self.instance == "netpy" else self.instance)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the API is served, as URLs."""
        return self.hosts or (f"unix://{self.exec_root / 'netpy.sock'}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One setting: `read` turns its text or JSON value into what Settings holds; ValueError says what is wrong.

    In the file, a `mapping` is a JSON object of texts; elsewhere it is a list of `key=value`.
    """

    name: str
    attribute: str
    help: str
    read: Callable[[Any], Any]
    flags: tuple[str, ...] = ()
    many: bool = False
    boolean: bool = False
    mapping: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        return self.flags or (f"--{self.name}",)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _path(value: Any) -> Path:
    if not _text(value):
        raise ValueError("must not be empty")
    return Path(value).absolute()


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    try:
        number = int(value)
    except ValueError:
        raise ValueError("must be a number") from None
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _mtu(value: Any) -> int:
    number = _whole(value)
    if number and not 68 <= number <= 65535:
        raise ValueError("must be between 68 and 65535")
    return number or 1500


def _ttl(value: Any) -> int:
    seconds = _whole(value)
    if seconds > _LONGEST_TTL:
        raise ValueError(f"must not be more than {_LONGEST_TTL}")
    return seconds


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    lowered = str(value).lower()
    if lowered not in ("true", "false", "1", "0", "t", "f"):
        raise ValueError("must be true or false")
    return lowered in ("true", "1", "t")


def _one_of(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(n for n in names if n)}")
        return value

    return read


def _address(value: Any) -> str:
    return str(ip_address(_text(value)))


def _interface(value: Any) -> str:
    if "/" not in _text(value):
        raise ValueError("must be an address with its prefix length, such as 192.168.1.5/24")
    return str(ip_interface(value))


def _label(value: Any) -> str:
    if "=" not in _text(value):
        raise ValueError("bad attribute format: must be key=value")
    return value


def _option(value: Any) -> str:
    if "=" not in _text(value):
        raise ValueError("must be key=value")
    return value


def _host(value: Any) -> str:
    if _text(value) == "fd://":
        return value
    path = value.removeprefix("unix://")
    if path == value or not path.startswith("/"):
        raise ValueError("only unix:///absolute/path and fd:// are served")
    return value


def _pool(value: Any) -> AddressPool:
    pairs: Any = value.items() if isinstance(value, dict) else [p.partition("=")[::2] for p in _text(value).split(",")]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    named: dict[str, Any] = {str(key): part for key, part in pairs}
    if set(named) != {"base", "size"}:
        raise ValueError("must be base=SUBNET,size=PREFIXLENGTH")
    base, size = ip_network(str(named["base"])), int(named["size"])
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise ValueError(f"size {size} does not fit in {base}")
    return AddressPool(base=str(base), size=size)


def _runtime(value: Any) -> str:
    return _one_of("", "crun", "runc")(value)


def _bridge(value: Any) -> str:
    if not 0 < len(_text(value)) <= 15 or any(c.isspace() or c in "/:%" for c in value) or value in (".", ".."):
        raise ValueError("an interface name has 1 to 15 characters, without blanks, '/', ':' or '%'")
    return value


def _directive(name: str, help: str, read: Callable[[Any], Any], attribute: str = "", **more: Any) -> Directive:
    return Directive(name=name, attribute=attribute or name.replace("-", "_"), help=help, read=read, **more)


DIRECTIVES: tuple[Directive, ...] = (
    _directive("data-root", "where containers, images and the database live", _path),
    _directive("exec-root", "where sockets, namespaces and mounts live while containers run", _path),
    _directive("hosts", "where to serve the API (unix://PATH or fd://)", _host, flags=("-H", "--host"), many=True),
    _directive("pidfile", "path of the daemon's pid file", _path, flags=("-p", "--pidfile")),
    _directive("group", "group that owns the API's socket", _text, flags=("-G", "--group")),
    _directive("bridge", "name of the default network's bridge", _bridge, flags=("-b", "--bridge")),
    _directive("bip", "address and prefix of the default bridge", _interface),
    _directive(
        "default-address-pools",
        "base=SUBNET,size=PREFIXLENGTH to take networks' subnets from",
        _pool,
        flags=("--default-address-pool",),
        many=True,
    ),
    _directive("dns", "name server for containers", _address, many=True),
    _directive("dns-search", "search domain for containers", _text, many=True),
    _directive(
        "dns-opts", "resolver option for containers", _text, "dns_options", flags=("--dns-opt", "--dns-opts"), many=True
    ),
    _directive("dns-ttl", "seconds that containers may keep an answer of the embedded name server", _ttl),
    _directive("icc", "let containers of the default network talk to each other", _boolean, boolean=True),
    _directive("iptables", "write firewall rules", _boolean, boolean=True),
    _directive("ip-forward", "turn on the kernel's IP forwarding", _boolean, boolean=True),
    _directive("ip", "address that published ports bind to", _address),
    _directive("ip-masq", "hide the default network's containers behind the host's address", _boolean, boolean=True),
    _directive("mtu", "MTU of the containers' networks", _mtu),
    _directive(
        "host-gateway-ips",
        "address that host-gateway stands for in --add-host",
        _address,
        flags=("--host-gateway-ip",),
        many=True,
    ),
    _directive("allow-direct-routing", "let other hosts route to containers' addresses", _boolean, boolean=True),
    _directive("firewall-backend", "auto, iptables or nftables", _one_of("auto", "iptables", "nftables")),
    _directive("default-runtime", "crun or runc", _runtime, "runtime", flags=("--runtime", "--default-runtime")),
    _directive("labels", "label of this daemon", _label, flags=("--label",), many=True),
    _directive(
        "insecure-registries",
        "registry (host:port or CIDR) that needs no TLS",
        endpoints.insecure,
        flags=("--insecure-registry",),
        many=True,
    ),
    _directive(
        "registry-mirrors", "mirror of Docker Hub (URL)", endpoints.mirror, flags=("--registry-mirror",), many=True
    ),
    _directive("log-level", "debug, info, warn, error or fatal", _one_of(*LOG_LEVELS), flags=("-l", "--log-level")),
    _directive("experimental", "tell clients that experimental features are there", _boolean, boolean=True),
    _directive("default-shm-size", "bytes of /dev/shm in containers", _whole),
    _directive("log-driver", "what keeps the output of containers: json-file, local, journald or none", _text),
    _directive("log-opts", "option of that driver, key=value", _option, flags=("--log-opt",), many=True, mapping=True),
    _directive("shutdown-timeout", "seconds that open requests get when the daemon stops", _whole),
)
# What dockerd also takes and what would change nothing here: accepted from files written for it.
IGNORED = frozenset({"live-restore", "userland-proxy", "storage-driver", "exec-opts"})
RELOADED = ("labels", "log-level", "insecure-registries", "registry-mirrors")
BY_NAME: Mapping[str, Directive] = {d.name: d for d in DIRECTIVES}


def load(flags: Mapping[str, Any], config_file: Path | str = "") -> Settings:
    """Settings from flags (by directive name: text, or a list of texts) and the configuration file.

    A file that was not asked for by name may be missing. InvalidArgument, in dockerd's words, for what is wrong.
    """
    path = Path(config_file or CONFIG_FILE)
    document = _read(path, required=bool(config_file))
    _refuse_unknown(path, document)
    _refuse_doubles(path, document, flags)
    values: dict[str, Any] = {}
    for directive in DIRECTIVES:
        if directive.name in flags:
            values[directive.attribute] = _value(directive, flags[directive.name], f"--{directive.name}")
        elif directive.name in document:
            values[directive.attribute] = _value(directive, document[directive.name], f"{path}: {directive.name}")
    settings = Settings(config_file=path, **values)
    if "pidfile" not in values and "exec_root" in values:
        settings = replace(settings, pidfile=settings.exec_root / "netpy.pid")
    return settings


def reloaded(settings: Settings) -> Settings:
    """The settings after SIGHUP: what RELOADED names is taken from the file; the others need a restart."""
    fresh = _read(settings.config_file, required=False)
    _refuse_unknown(settings.config_file, fresh)
    values = {
        BY_NAME[name].attribute: _value(BY_NAME[name], fresh[name], f"{settings.config_file}: {name}")
        for name in RELOADED
        if name in fresh
    }
    return replace(settings, **values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message)


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from a command line. InvalidArgument where it is wrong; `--help` prints and exits."""
    parser = _Parser(prog="netpy daemon", allow_abbrev=False)
    parser.add_argument("--config-file", default="", help=f"configuration file (default {CONFIG_FILE})")
    parser.add_argument("--salvage", action="store_true", help="keep what can be read of damaged records; once")
    for directive in DIRECTIVES:
        options: dict[str, Any] = {"dest": directive.name, "help": directive.help, "default": None}
        if directive.many:
            options["action"] = "append"
        elif directive.boolean:
            options |= {"nargs": "?", "const": "true"}
        parser.add_argument(*directive.options, **options)
    given = vars(parser.parse_args(arguments))
    config_file, salvage = given.pop("config_file"), given.pop("salvage")
    settings = load({name: value for name, value in given.items() if value is not None}, config_file)
    return replace(settings, salvage=salvage)


def _read(path: Path, *, required: bool) -> Json:
    try:
        document = json.loads(path.read_text() or "{}")
    except FileNotFoundError:
        if required:
            raise _unreadable(path, "no such file or directory") from None
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(document, dict):
        raise _unreadable(path, "the file must hold a JSON object")
    return document  # pyright: ignore[reportUnknownVariableType]


def _unreadable(path: Path, why: str) -> InvalidArgument:
    return InvalidArgument(f"unable to configure the netpy daemon with file {path}: {why}")


def _refuse_unknown(path: Path, document: Json) -> None:
    unknown = sorted(set(document) - set(BY_NAME) - IGNORED)
    if unknown:
        reason = f"the following directives don't match any configuration option: {', '.join(unknown)}"
        raise _unreadable(path, reason)


def _refuse_doubles(path: Path, document: Json, flags: Mapping[str, Any]) -> None:
    doubles = [
        f"{n}: (from flag: {_shown(flags[n])}, from file: {_shown(document[n])})" for n in flags if n in document
    ]
    if doubles:
        reason = "the following directives are specified both as a flag and in the configuration file: "
        raise _unreadable(path, reason + ", ".join(doubles))


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{' '.join(str(part) for part in value)}]"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(directive: Directive, given: Any, where: str) -> Any:
    try:
        if not directive.many:
            return directive.read(given)
        if directive.mapping and isinstance(given, dict):
            given = [f"{name}={_text(text)}" for name, text in given.items()]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(given, list | tuple):
            raise ValueError("must be an object" if directive.mapping else "must be a list")
        return tuple(directive.read(part) for part in given)  # pyright: ignore[reportUnknownVariableType]
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"invalid value for {where}: {_shown(given)}: {error}") from error
