"""Where a repository is asked for: its registry, its mirrors, and how far each of them is trusted.

Decides what `registry-mirrors` and `insecure-registries` of daemon.json mean, in dockerd's terms and with its
complaints. How an endpoint is then spoken to is transports.py's business. No I/O: addresses of names come in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from engine.naming import DEFAULT_DOMAIN

Json = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK = "127.0.0.0/8"
HUB = "https://index.docker.io/v1/"
_PORT = re.compile(r":\d+$")
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A registry to be asked: `host` with its port, whether certificates count there, whether it is a mirror."""

    host: str
    secure: bool = True
    mirror: bool = False

    @property
    def base(self) -> str:
        """The address that messages name."""
        host = "registry-1.docker.io" if self.host == DEFAULT_DOMAIN else self.host
        return f"{'https' if self.secure else 'http'}://{host}/v2/"


def nowhere(_name: str) -> Iterable[str]:
    """The addresses of a name that nobody looks up."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """The registries that were configured. `insecure` are host:port, host or CIDR; `mirrors` are URLs of Docker Hub's.

    `addresses` looks up a host name; it is asked only when there are networks to compare with.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    addresses: Callable[[str], Iterable[str]] = nowhere

    def endpoints(self, domain: str) -> tuple[Endpoint, ...]:
        """Whom to ask for what is in a domain: first its mirrors, at last itself."""
        home = Endpoint(host=domain, secure=self.is_secure(domain))
        if domain != DEFAULT_DOMAIN:
            return (home,)
        return (*(self._mirror(url) for url in self.mirrors), home)

    def home(self, domain: str) -> Endpoint:
        """The registry itself, which alone takes what is pushed."""
        return self.endpoints(domain)[-1]

    def is_secure(self, host: str) -> bool:
        """Whether TLS with a certificate that can be checked is asked for. Loopback addresses need none."""
        if host == DEFAULT_DOMAIN:
            return True
        bare = _bare(host)
        if bare == "localhost" or {host, bare} & set(self.insecure):
            return False
        networks = [ipaddress.ip_network(text) for text in (LOOPBACK, "::1/128", *self.insecure) if is_network(text)]
        literal = _address(bare)
        found = [literal] if literal else [ip for text in self._looked_up(bare) if (ip := _address(text))]
        return not any(address in network for address in found for network in networks)

    def document(self) -> Json:
        """`RegistryConfig` of GET /info."""
        mirrors = [url.rstrip("/") + "/" for url in self.mirrors]
        hosts = [text for text in self.insecure if not is_network(text)]
        configs: Json = {host: {"Name": host, "Mirrors": [], "Secure": False, "Official": False} for host in hosts}
        hub = {"Name": DEFAULT_DOMAIN, "Mirrors": mirrors, "Secure": True, "Official": True}
        networks = [text for text in self.insecure if is_network(text)]
        return {
            "AllowNondistributableArtifactsCIDRs": [],
            "AllowNondistributableArtifactsHostnames": [],
            "InsecureRegistryCIDRs": list(dict.fromkeys([*networks, LOOPBACK])),
            "IndexConfigs": {DEFAULT_DOMAIN: hub, **configs},
            "Mirrors": mirrors,
        }

    def _mirror(self, url: str) -> Endpoint:
        parts = urlsplit(url)
        return Endpoint(host=parts.netloc, secure=parts.scheme == "https" and self.is_secure(parts.netloc), mirror=True)

    def _looked_up(self, bare: str) -> Iterable[str]:
        return self.addresses(bare) if any(is_network(text) for text in self.insecure) else ()


def mirror(value: Any) -> str:
    """A mirror's URL as it was given. ValueError, in dockerd's words, for what is none."""
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.netloc.rpartition("@")[2]):
        raise ValueError(f'invalid mirror: "{value}" is not a valid URI')
    if "@" in parts.netloc:
        raise ValueError(f'invalid mirror: username/password not allowed in URI "{value}"')
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f'invalid mirror: path, query, or fragment at end of the URI "{value}"')
    return str(value)


def insecure(value: Any) -> str:
    """A registry that need not prove who it is: host, host:port or CIDR. Like dockerd it drops a scheme before it."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    text = re.sub(r"^https?://", "", value).rstrip("/")
    if is_network(text):
        return str(ipaddress.ip_network(text, strict=False))
    if text.startswith("-") or text.endswith("-"):
        raise ValueError(f"invalid index name ({text}). Cannot begin or end with a hyphen")
    if not _HOST.fullmatch(text):
        raise ValueError(f"insecure registry {text} is not valid: a host, host:port or CIDR is wanted")
    return text


def is_network(text: str) -> bool:
    """Whether this is a CIDR such as 10.0.0.0/8."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _bare(host: str) -> str:
    return _PORT.sub("", host).strip("[]")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
