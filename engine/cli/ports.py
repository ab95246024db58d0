"""Port specifications: `-p` and `--expose` into the documents the API takes. Pure; the rules and errors are Docker's.

8800:80   127.0.0.1:5353:53/udp   8000-8010:8000-8010   9000   [::1]:80:80   127.0.0.1::80   8000-9000:80
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PROTOCOLS = ("tcp", "udp", "sctp")
Bindings = dict[str, list[dict[str, str]]]


def bindings(specs: Sequence[str]) -> Bindings:
    """`{"80/tcp": [{"HostIp": "", "HostPort": "8800"}]}` of all -p together. Raises ValueError."""
    found: Bindings = {}
    for spec in specs:
        for port, address, host_port in published(_plain(spec)):
            found.setdefault(port, []).append({"HostIp": address, "HostPort": host_port})
    return {port: found[port] for port in sorted(found)}


def exposed(specs: Sequence[str], published_ports: Bindings) -> dict[str, Any]:
    """ExposedPorts: what --expose names and what is published. Raises ValueError."""
    found = set(published_ports)
    for spec in specs:
        if ":" in spec:
            raise ValueError(f"invalid port format for --expose: {spec}")
        protocol, ports = _protocol(spec)
        try:
            first, last = port_range(ports)
        except ValueError as error:
            raise ValueError(f"invalid range format for --expose: {spec}, error: {error}") from error
        if protocol not in PROTOCOLS:
            raise ValueError(f"invalid proto: {protocol}")
        found |= {f"{port}/{protocol}" for port in range(first, last + 1)}
    return {port: {} for port in sorted(found)}


def published(spec: str) -> list[tuple[str, str, str]]:
    """(port/protocol, host address, host port or "") of one -p. Raises ValueError with Docker's words."""
    address, host, container = _split(spec)
    protocol, container = _protocol(container)
    address = _address(address)
    if not container:
        raise ValueError(f"no port specified: {spec}<empty>")
    first, last = _range(container, "containerPort")
    host_first, host_last = _range(host, "hostPort") if host else (0, 0)
    if host and last - first != host_last - host_first and first != last:
        raise ValueError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    if protocol.lower() not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    found: list[tuple[str, str, str]] = []
    for offset in range(last - first + 1):
        host_port = str(host_first + offset) if host else ""
        if first == last and host_first != host_last:
            host_port = f"{host_first}-{host_last}"  # one of these: the daemon chooses
        found.append((f"{first + offset}/{protocol.lower()}", address, host_port))
    return found


def _split(spec: str) -> tuple[str, str, str]:
    parts = spec.split(":")
    if len(parts) < 3:
        return "", "" if len(parts) == 1 else parts[0], parts[-1]
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _protocol(text: str) -> tuple[str, str]:
    """Protocol and port of `53/udp`; tcp if it says none."""
    port, *rest = text.split("/")
    return (rest[0] if rest and rest[0] else "tcp") if port else "tcp", port


def _address(text: str) -> str:
    if not text:
        return ""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    import ipaddress

    try:
        ipaddress.ip_address(bare.partition("%")[0])
    except ValueError as error:
        raise ValueError(f"invalid IP address: {bare}") from error
    return bare


def _range(text: str, what: str) -> tuple[int, int]:
    try:
        return port_range(text)
    except ValueError as error:
        raise ValueError(f"invalid {what}: {text}") from error


def port_range(text: str) -> tuple[int, int]:
    """First and last of `80` or `8000-8010`. ValueError carries Go's words."""
    if not text:
        raise ValueError("empty string specified for ports")
    first, dash, last = text.partition("-")
    low = _port(first)
    high = _port(last) if dash else low
    if high < low:
        raise ValueError(f"invalid range specified for port: {text}")
    return low, high


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _plain(spec: str) -> str:
    """The short form of `published=8800,target=80,protocol=tcp`; short forms are left alone."""
    if "=" not in spec:
        return spec
    import csv

    fields = {"protocol": "tcp", "published": "", "target": ""}
    for field in next(csv.reader([spec])):
        name, equals, value = field.partition("=")
        if not equals:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{field}')")
        fields[name.strip().lower()] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}".removeprefix(":")
