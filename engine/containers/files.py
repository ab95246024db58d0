"""The three files that every container gets from the engine: /etc/hosts, /etc/hostname and /etc/resolv.conf.

What they say is decided by `netpy.dns.files`; here is when they are written, and where. They are bind mounts, so they
are changed in place. A resolv.conf that its user has edited is left alone (a hash beside it tells), and of an edited
hosts file only our own lines are touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine.containers.documents import items
from engine.model import Container
from netpy.dns import files as texts
from netpy.faults import point

HOSTS, HOSTNAME, RESOLV_CONF = "hosts", "hostname", "resolv.conf"
Mode = Literal["embedded", "bridge", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the networks mean for the files: the container's bare addresses, who resolves names, linked hosts.

    `dns` and `search` are what drivers brought; the user's own words and the daemon's come before them.
    """

    addresses: tuple[str, ...] = ()
    mode: Mode = "bridge"
    links: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    @property
    def ipv6(self) -> bool:
        return any(":" in address for address in self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the daemon says of containers that say nothing themselves. `gateways` is what host-gateway stands for."""

    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    gateways: Callable[[], Sequence[str]] = tuple
    etc: Path = Path("/etc")


class Files:
    """Writes the files of containers, each in the directory `home(container id)`."""

    def __init__(self, home: Callable[[str], Path], defaults: Defaults) -> None:
        self._home = home
        self._defaults = defaults

    def paths(self, container_id: str) -> dict[str, Path]:
        """Where the files are, by their place in the container."""
        return {f"/etc/{name}": self._home(container_id) / name for name in (HOSTNAME, HOSTS, RESOLV_CONF)}

    def wishes(self, container: Container) -> texts.Wishes:
        """What the user wants of name resolution: the container's own words, else the daemon's."""
        host, ours = container.host_config, self._defaults
        return texts.Wishes(
            servers=tuple(host.get("Dns") or ours.dns) or None,
            search=tuple(host.get("DnsSearch") or ours.search) or None,
            options=tuple(host.get("DnsOptions") or ours.options) or None,
        )

    def ndots(self, container: Container) -> int:
        """The ndots that its resolv.conf will have on a network with a name server; 0 where nobody asked for one."""
        return texts.ndots(self._host_settings("embedded")[0], self.wishes(container))

    def write(self, container: Container, wiring: Wiring) -> None:
        """All three, anew: before a start."""
        home = self._home(container.id)
        home.mkdir(parents=True, exist_ok=True)
        _overwrite(home / HOSTNAME, texts.hostname(container.config["Hostname"]))
        _overwrite(home / HOSTS, self._hosts(container, wiring))
        self._resolv_conf(container, wiring, anew=True)

    def plugged(self, container: Container, wiring: Wiring, addresses: Sequence[str]) -> None:
        """A network has been added to a running container, with these addresses of its own."""
        path = self._home(container.id) / HOSTS
        lines = _own_lines(container, addresses)
        text = path.read_text()
        _overwrite(path, text + "".join(f"{line}\n" for line in lines if f"{line}\n" not in text))
        self._resolv_conf(container, wiring, anew=False)

    def unplugged(self, container: Container, wiring: Wiring, addresses: Sequence[str]) -> None:
        """A network has been taken from a running container, and with it these addresses."""
        path = self._home(container.id) / HOSTS
        gone = set(_own_lines(container, addresses))
        kept = [line for line in path.read_text().splitlines() if line not in gone]
        _overwrite(path, "".join(f"{line}\n" for line in kept))
        self._resolv_conf(container, wiring, anew=False)

    def settle(self, container: Container, wiring: Wiring) -> None:
        """After a crash: the lines of its own addresses are those of its networks, whatever was being changed."""
        path = self._home(container.id) / HOSTS
        wanted = _own_lines(container, wiring.addresses)
        names = wanted[0].partition("\t")[2] if wanted else ""
        lines = path.read_text().splitlines()
        kept = [line for line in lines if line in wanted or not _is_own(line, names)]
        kept += [line for line in wanted if line not in lines]
        if kept != lines:
            _overwrite(path, "".join(f"{line}\n" for line in kept))
        self._resolv_conf(container, wiring, anew=False)

    def _hosts(self, container: Container, wiring: Wiring) -> str:
        extra = [str(entry) for entry in items(container.host_config, "ExtraHosts")]
        if wiring.mode == "host" and not extra:
            with contextlib.suppress(OSError):
                return (self._defaults.etc / HOSTS).read_text(errors="replace")
        config = container.config
        text = texts.hosts(
            addresses=wiring.addresses,
            names=texts.own_names(config["Hostname"], config.get("Domainname") or ""),
            extra=extra,
            host_gateways=tuple(self._defaults.gateways()) if any("host-gateway" in e for e in extra) else (),
            ipv6=wiring.ipv6 or wiring.mode == "host",
        )
        return text + "".join(f"{line}\n" for line in wiring.links)

    def _resolv_conf(self, container: Container, wiring: Wiring, *, anew: bool) -> None:
        path = self._home(container.id) / RESOLV_CONF
        mark = path.with_suffix(".conf.hash")
        if not anew and path.exists() and mark.exists() and _digest(path.read_bytes()) not in mark.read_text().split():
            return
        host, source = self._host_settings(wiring.mode)
        wishes = self.wishes(container)
        servers, search = wishes.servers or wiring.dns or None, wishes.search or wiring.search or None
        given = replace(wishes, servers=servers, search=search)
        text = texts.resolv_conf(wiring.mode, host, given, ipv6=wiring.ipv6, path=str(source))
        new = _digest(text.encode())
        if path.exists() and not anew:
            if _digest(path.read_bytes()) == new:
                return
            _replace(mark, f"{mark.read_text()} {new}" if mark.exists() else new)  # either may be found after a crash
        _overwrite(path, text)
        _replace(mark, new)

    def _host_settings(self, mode: Mode) -> tuple[texts.ResolvConf, Path]:
        source = self._defaults.etc / RESOLV_CONF
        host = _parsed(source)
        if mode == "bridge" and texts.only_stub(host) and Path(texts.RESOLVED_PATH).exists():
            source = Path(texts.RESOLVED_PATH)
            host = _parsed(source)
        return host, source


def host_name() -> str:
    """The machine's own name, which a container in the host's network bears."""
    return socket.gethostname()


def _own_lines(container: Container, addresses: Sequence[str]) -> list[str]:
    """The lines of /etc/hosts that these addresses stand in."""
    config = container.config
    names = texts.own_names(config["Hostname"], config.get("Domainname") or "")
    return texts.hosts(addresses=addresses, names=names).removeprefix(texts.hosts()).splitlines()


def _parsed(path: Path) -> texts.ResolvConf:
    try:
        return texts.parse(path.read_text(errors="replace"))
    except OSError:
        return texts.ResolvConf()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_own(line: str, names: str) -> bool:
    """Whether a line of a hosts file is one of ours for an address of the container."""
    address, _, rest = line.partition("\t")
    return bool(names) and rest == names and not address.startswith("127.")


def _replace(path: Path, text: str) -> None:
    """Change the content at once, whatever happens meanwhile."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def _overwrite(path: Path, text: str) -> None:
    """Change the content and keep the inode, which may be mounted; a reader never finds the file empty.

    Empty lines cover what is to be cut off, so that a crash in between leaves nothing of the old text.
    """
    data = text.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        point("before writing a file")
        os.write(descriptor, data.ljust(os.fstat(descriptor).st_size, b"\n"))
        point("between writing a file and cutting it")
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)
