"""Which host ports published container ports get: the table of what is given, and the choice from it.

Pure bookkeeping, no I/O: whether another program sits on a port is found out by whoever binds it, and comes back here
as a port to leave out (`tried`). The rules are Docker's. Exact host ports are served before ranges, a range gives its
first free port, "any port" goes on from the last one given within the ephemeral range of the host. An unspecified
address conflicts with every specific one of its family. The addresses of one mapping get the same port, or none of
them gets one.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from netpy.errors import Conflict, Exhausted
from netpy.model import Family, PortBinding, Protocol

ANY: Mapping[Family, str] = {4: "0.0.0.0", 6: "::"}
_ORDER: Mapping[Protocol, int] = {"tcp": 0, "udp": 1, "sctp": 2}
_LAST_PORT = 65535


def problems(requests: Iterable[PortBinding]) -> Iterator[str]:
    """What is wrong with the requests, a line each."""
    for request in requests:
        if request.protocol not in _ORDER:
            yield f"invalid protocol {request.protocol}: must be tcp, udp or sctp"
        if not 1 <= request.container_port <= _LAST_PORT:
            yield f"invalid container port {request.container_port}: must be between 1 and {_LAST_PORT}"
        if not 0 <= request.host_port <= _LAST_PORT:
            yield f"invalid host port {request.host_port}: must be between 0 and {_LAST_PORT}"
        end = request.host_port_end
        if end and not request.host_port <= end <= _LAST_PORT:
            yield f"invalid port range: {request.host_port}-{end}"
        if request.host_ip and not _is_address(request.host_ip):
            yield f"invalid host address {request.host_ip}: invalid address"


def ordered(requests: Iterable[PortBinding]) -> list[PortBinding]:
    """The requests in the order in which they are to be served; one that is stated twice counts once."""
    return sorted(dict.fromkeys(requests), key=lambda r: (_is_open(r), r.container_port, _ORDER[r.protocol]))


def host_ips(request: PortBinding, families: Collection[Family], default: str) -> tuple[str, ...]:
    """The host addresses to publish a request on, given the families that the endpoint has addresses in.

    No address stated means `default`; where that is the unspecified one, every address of the host in each
    family. An address of a family that the endpoint lacks cannot be translated to it and is left out.
    """
    if not request.host_ip and default in ("", *ANY.values()):
        return tuple(ANY[family] for family in sorted(families))
    address = ip_address(request.host_ip or default)
    return (str(address),) if family_of(str(address)) in families else ()


def family_of(host_ip: str) -> Family:
    return 6 if ":" in host_ip else 4


class Ports:
    """The host ports that are given. Not thread-safe: whoever decides holds a lock."""

    def __init__(self, ephemeral: tuple[int, int]) -> None:
        self._first, self._last = ephemeral
        self._cursor = self._first
        self._given: dict[tuple[Protocol, Family, int], set[str]] = {}

    def choose(self, request: PortBinding, host_ips: Sequence[str], tried: Container[int] = ()) -> int:
        """A host port that is free on all `host_ips` and not in `tried`. It is not yet given: see `give`.

        Conflict when the one port asked for is taken, Exhausted when all of a range, or all ephemeral ones, are.
        """
        for port in self._candidates(request):
            if port not in tried and not any(self._is_given(request.protocol, ip, port) for ip in host_ips):
                return port
        where = _bracketed(host_ips[0])
        if not _is_open(request):
            raise Conflict(f"Bind for {where}:{request.host_port} failed: port is already allocated")
        asked = f"{request.host_port}-{request.host_port_end}" if request.host_port else "0"
        raise Exhausted(f"Bind for {where}:{asked} failed: all ports are allocated")

    def give(self, protocol: Protocol, host_ip: str, port: int) -> None:
        """Note the port as given."""
        self._given.setdefault((protocol, family_of(host_ip), port), set()).add(host_ip)
        if self._first <= port <= self._last:
            self._cursor = port + 1 if port < self._last else self._first

    def take_back(self, protocol: Protocol, host_ip: str, port: int) -> None:
        """Note the port as free; nothing happens when it is."""
        key = (protocol, family_of(host_ip), port)
        holders = self._given.get(key, set())
        holders.discard(host_ip)
        if not holders:
            self._given.pop(key, None)

    @property
    def cursor(self) -> int:
        """Where the next search for an ephemeral port begins."""
        return self._cursor

    @cursor.setter
    def cursor(self, value: int) -> None:
        self._cursor = value

    def _candidates(self, request: PortBinding) -> Iterator[int]:
        if request.host_port:
            yield from range(request.host_port, max(request.host_port, request.host_port_end) + 1)
            return
        yield from range(self._cursor, self._last + 1)
        yield from range(self._first, self._cursor)

    def _is_given(self, protocol: Protocol, host_ip: str, port: int) -> bool:
        holders = self._given.get((protocol, family_of(host_ip), port))
        if not holders:
            return False
        unspecified = ANY[family_of(host_ip)]
        return host_ip in holders or host_ip == unspecified or unspecified in holders


def _is_open(request: PortBinding) -> bool:
    """Whether there is more than one port to choose from."""
    return not request.host_port or request.host_port_end > request.host_port


def _bracketed(host_ip: str) -> str:
    return f"[{host_ip}]" if ":" in host_ip else host_ip


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
