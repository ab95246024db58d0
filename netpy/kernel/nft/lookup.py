"""Reads nf_tables over netlink: elements by their keys, chains and rules by table. Changes nothing.

libnftables can look up an element too, but it first reads every element of the table into a cache: 88 ms at 20,000
published ports. The kernel's own request takes a key and answers in 5 µs, whatever the size, and many requests travel
in one datagram. So libnftables writes (it knows the language), and this reads. Only what netpy puts there is
understood: addresses, interface names, protocols and ports, and of a rule only its handle and its comment.

A `Reader` is one socket and belongs to the namespace of the thread that opened it. Not thread-safe.
Equivalent: `nft get element`, `nft -a list chain`, without expressions.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from itertools import islice

from netpy.errors import KernelError
from netpy.firewall.rules import Set

FAMILY = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_WIDTH = {"ipv4_addr": 4, "ipv6_addr": 16, "ether_addr": 6, "ifname": 16, "inet_proto": 1, "inet_service": 2}
_NETLINK_NETFILTER = 12
_GETCHAIN, _GETRULE, _GETSET, _GETSETELEM = 4, 7, 10, 13
_REQUEST, _DUMP, _INTERRUPTED, NESTED = 0x1, 0x300, 0x10, 0x8000
_ERROR, _DONE = 2, 3
_INTERVAL_END = 1
_ANONYMOUS = 1
_ZERO = b"\0\0\0\0"
_ATTRIBUTE = struct.Struct("HH")
_PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")
# Half the answers that fit a receive buffer of the default size, were each to take a whole page.
_IN_FLIGHT = 24

Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class RuleSeen:
    chain: str
    handle: int
    comment: str


@dataclass(frozen=True, slots=True)
class ChainSeen:
    """`hook` is -1 for a regular chain."""

    kind: str = ""
    hook: int = -1
    priority: int = 0


Found = tuple[tuple[str, ...], tuple[str, ...]]


class Reader:
    """One netlink socket, for questions. `with Reader() as reader: …`"""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def sets(self, family: str, table: str) -> dict[str, tuple[int, int]]:
        """Name, then length of key and of value in bytes, of every set and map of the table."""
        found = self._dump(_GETSET, family, text(1, table))
        return {
            _name(each[2]): (_u32(each[5]), _u32(each.get(7, _ZERO)))
            for each in found
            if not _u32(each.get(3, _ZERO)) & _ANONYMOUS  # `{ established, related }` in a rule
        }

    def chains(self, family: str, table: str, names: Sequence[str]) -> dict[str, ChainSeen]:
        """Those of the named chains that exist."""
        answers = self._ask(_GETCHAIN, family, [text(1, table) + text(3, name) for name in names])
        return {name: _chain(answer) for name, answer in zip(names, answers, strict=True) if answer is not None}

    def rules(self, family: str, table: str, chain: str = "") -> list[RuleSeen]:
        """The rules of a table, or of one chain of it, in order; none when there is no such chain."""
        body = text(1, table) + (text(2, chain) if chain else b"")
        found = self._dump(_GETRULE, family, body)
        return [
            RuleSeen(_name(each[2]), int.from_bytes(each[3], "big"), _comment(each.get(7, b"")))
            for each in found
            if 3 in each
        ]

    def values(self, family: str, table: str, container: Set, keys: Sequence[tuple[str, ...]]) -> list[Found | None]:
        """For each key its element, as key and value texts, or None. Costs the same whatever the table holds."""
        head = text(1, table) + text(2, container.name)
        start = self._ask(_GETSETELEM, family, [head + _element(container, key) for key in keys])
        seen = [_only(container, answer) for answer in start]
        ends = [key for key in keys if container.interval and len(container.fields) == 1 and _after(key[0])]
        closing = self._ask(_GETSETELEM, family, [head + _element_end(container, key) for key in ends])
        unclosed = {key for key, answer in zip(ends, closing, strict=True) if answer is None}
        return [
            (key, value) if value is not None and key not in unclosed else None
            for key, value in zip(keys, seen, strict=True)
        ]

    def dump(self, family: str, table: str, container: Set) -> list[Found]:
        """Every element of a set. `nft list set`; for full checks only."""
        messages = self._dump(_GETSETELEM, family, text(1, table) + text(2, container.name))
        elements = [each for message in messages for each in _elements(message)]
        if container.interval and len(container.fields) == 1:
            return list(_intervals(container, elements))
        return [(_decode_key(container, each), _decode_value(container, each)) for each in elements]

    def _ask(self, kind: int, family: str, bodies: Sequence[bytes]) -> list[Attributes | None]:
        """One answer for each request; None where the kernel says that there is no such thing."""
        answers: list[Attributes | None] = []
        todo = iter(bodies)
        while batch := list(islice(todo, _IN_FLIGHT)):
            first = self._sequence + 1
            self._socket.send(b"".join(self._message(kind, _REQUEST, family, body) for body in batch))
            waiting = range(first, first + len(batch))
            got: dict[int, Attributes | None] = {}
            while len(got) < len(waiting):
                for type_, _, sequence, payload in split(self._socket.recv(1 << 16)):
                    if sequence in waiting:  # not the rest of an answer that ended in an error
                        got[sequence] = None if _is_missing(type_, payload) else _parse(payload[4:])
            answers += [got[sequence] for sequence in waiting]
        return answers

    def _dump(self, kind: int, family: str, body: bytes) -> list[Attributes]:
        while True:
            found, whole = self._dump_once(kind, family, body)
            if whole:
                return found

    def _dump_once(self, kind: int, family: str, body: bytes) -> tuple[list[Attributes], bool]:
        """The objects, and False if somebody changed them while they were being read."""
        self._socket.send(self._message(kind, _REQUEST | _DUMP, family, body))
        found: list[Attributes] = []
        whole = True
        while True:
            for type_, flags, sequence, payload in split(self._socket.recv(1 << 17)):
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & _INTERRUPTED
                if type_ == _DONE or _is_missing(type_, payload):
                    return found, whole
                found.append(_parse(payload[4:]))

    def _message(self, kind: int, flags: int, family: str, body: bytes) -> bytes:
        self._sequence += 1
        payload = struct.pack("BBH", FAMILY[family], 0, 0) + body
        return struct.pack("IHHII", 16 + len(payload), 10 << 8 | kind, flags, self._sequence, 0) + payload


def width(fields: Sequence[str]) -> int:
    """Bytes of a key or value of these types in the kernel: in a concatenation each part fills whole words."""
    if len(fields) == 1:
        return _WIDTH[fields[0]]
    return sum(-(-_WIDTH[each] // 4) * 4 for each in fields)


def split(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(datagram):
        length, type_, flags, sequence, _ = struct.unpack_from("IHHII", datagram, offset)
        yield type_, flags, sequence, datagram[offset + 16 : offset + length]
        offset += length + 3 & ~3


def _is_missing(type_: int, payload: bytes) -> bool:
    if type_ != _ERROR:
        return False
    code = -struct.unpack_from("i", payload)[0]
    if code in {errno.ENOENT, errno.EINVAL}:  # EINVAL: a set that bears our set's name, with keys of another length
        return True
    raise KernelError(f"reading nf_tables: {os.strerror(code)}")


def _parse(data: bytes) -> Attributes:
    found: Attributes = {}
    offset = 0
    while offset + 4 <= len(data):
        length, type_ = struct.unpack_from("HH", data, offset)
        found[type_ & 0x3FFF] = data[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found


def attribute(type_: int, data: bytes) -> bytes:
    length = len(data)
    return _ATTRIBUTE.pack(4 + length, type_) + data + _PADDING[-length % 4]


def text(type_: int, text: str) -> bytes:
    return attribute(type_, text.encode() + b"\0")


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode()


def _u32(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _chain(found: Attributes) -> ChainSeen:
    if 4 not in found:
        return ChainSeen()
    hook = _parse(found[4])
    return ChainSeen(_name(found[7]), _u32(hook[1]), int.from_bytes(hook[2], "big", signed=True))


def _comment(userdata: bytes) -> str:
    """The comment among a rule's user data, which are of type, length and value, a byte each for the first two."""
    offset = 0
    while offset + 2 <= len(userdata):
        type_, length = userdata[offset], userdata[offset + 1]
        if type_ == 0:
            return _name(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


# ---- elements: (key, end of key, value, flags) on the wire -------------------------------------------------------


def element_parts(container: Set, key: Sequence[str], value: Sequence[str] = ()) -> list[bytes]:
    """The element as it is asked for, added or deleted; in a set of plain intervals, and the end of its subnet."""
    bounds = list(map(_bounds, container.fields, key))
    inside = attribute(1 | NESTED, attribute(1, _pack([low for low, _ in bounds])))
    if container.interval and len(bounds) > 1:
        inside += attribute(10 | NESTED, attribute(1, _pack([high for _, high in bounds])))
    if value:
        inside += attribute(2 | NESTED, attribute(1, _pack([low for low, _ in map(_bounds, container.value, value)])))
    parts = [attribute(1 | NESTED, inside)]
    if container.interval and len(container.fields) == 1 and (after := _after(key[0])):
        parts.append(_end(after))
    return parts


def _element(container: Set, key: Sequence[str]) -> bytes:
    return attribute(3 | NESTED, element_parts(container, key)[0])


def _element_end(container: Set, key: Sequence[str]) -> bytes:
    return attribute(3 | NESTED, _end(_after(key[0])))


def _end(after: bytes) -> bytes:
    """The upper end of a subnet in a set of plain intervals: the first address after it, flagged as an end."""
    inside = attribute(3, struct.pack(">I", _INTERVAL_END)) + attribute(1 | NESTED, attribute(1, after))
    return attribute(1 | NESTED, inside)


def _after(subnet: str) -> bytes:
    """The address after the last of a subnet; empty when the subnet ends with the address space."""
    network = ip_network(subnet)
    last = int(network.broadcast_address)
    return b"" if last + 1 >> network.max_prefixlen else (last + 1).to_bytes(network.max_prefixlen // 8, "big")


@lru_cache(maxsize=4096)
def _bounds(kind: str, text: str) -> tuple[bytes, bytes]:
    match kind:
        case "ifname":
            value = text.encode().ljust(16, b"\0")
        case "ether_addr":
            value = bytes.fromhex(text.replace(":", ""))
        case "inet_proto":
            value = bytes([_PROTOCOLS[text]])
        case "inet_service":
            value = int(text).to_bytes(2, "big")
        case _:
            network = ip_network(text)
            return network.network_address.packed, network.broadcast_address.packed
    return value, value


def _pack(parts: Sequence[bytes]) -> bytes:
    if len(parts) == 1:
        return parts[0]
    return b"".join([part + _PADDING[-len(part) % 4] for part in parts])


def _unpack(fields: Sequence[str], data: bytes) -> list[bytes]:
    parts: list[bytes] = []
    offset = 0
    for kind in fields:
        parts.append(data[offset : offset + _WIDTH[kind]])
        offset += -(-_WIDTH[kind] // 4) * 4
    return parts


def _shown(kind: str, data: bytes) -> str:
    match kind:
        case "ifname":
            return _name(data)
        case "ether_addr":
            return data.hex(":")
        case "inet_proto":
            return _PROTOCOL_NAMES.get(data[0], str(data[0]))
        case "inet_service":
            return str(int.from_bytes(data, "big"))
        case _:
            return str(ip_address(data))


def _elements(message: Attributes) -> Iterator[Attributes]:
    data = message.get(3, b"")
    offset = 0
    while offset + 4 <= len(data):
        length = struct.unpack_from("H", data, offset)[0]
        yield _parse(data[offset + 4 : offset + length])
        offset += length + 3 & ~3


def _only(container: Set, answer: Attributes | None) -> tuple[str, ...] | None:
    """The value of the one element of an answer: an empty tuple in a set."""
    if answer is None:
        return None
    return _decode_value(container, next(_elements(answer)))


def _decode_key(container: Set, element: Attributes) -> tuple[str, ...]:
    low = _unpack(container.fields, _parse(element[1])[1])
    high = _unpack(container.fields, _parse(element[10])[1]) if 10 in element else low
    return tuple(
        _subnet(first, last) if container.interval and kind.startswith("ip") else _shown(kind, first)
        for kind, first, last in zip(container.fields, low, high, strict=True)
    )


def _decode_value(container: Set, element: Attributes) -> tuple[str, ...]:
    if not container.value or 2 not in element:
        return ()
    return tuple(map(_shown, container.value, _unpack(container.value, _parse(element[2])[1])))


def _subnet(first: bytes, last: bytes) -> str:
    span = int.from_bytes(last, "big") - int.from_bytes(first, "big") + 1
    return f"{ip_address(first)}/{len(first) * 8 - (span.bit_length() - 1)}"


def _intervals(container: Set, elements: Sequence[Attributes]) -> Iterator[Found]:
    """Pairs the beginnings and ends of a set of plain intervals, which arrive as elements of their own."""
    size = _WIDTH[container.fields[0]]
    marks = [(int.from_bytes(_parse(each[1])[1], "big"), not _is_end(each), each) for each in elements]
    open_: tuple[int, Attributes] | None = None
    for at, begins, element in [*sorted(marks, key=lambda mark: mark[:2]), (1 << size * 8, False, {})]:
        if open_ is not None:
            first = open_[0].to_bytes(size, "big")
            key = _subnet(first, (at - 1).to_bytes(size, "big"))
            yield (key,), _decode_value(container, open_[1])
        open_ = (at, element) if begins else None


def _is_end(element: Attributes) -> bool:
    return bool(_u32(element.get(3, _ZERO)) & _INTERVAL_END)
