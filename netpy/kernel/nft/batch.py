"""Writes nf_tables over netlink, packed by hand: elements, and the small table that leads a container to its names.

That is all that containers and ports need, and libnftables serves it badly: it reads every element of the interval sets
before it adds one anywhere, parses a text of 60 KB for a thousand ports, and waits with select(2), which ends the
process as soon as it has more than 1024 descriptors open. What has rules of many kinds (the host's table, passages) is
left to it: there is one such transaction in a daemon's life, or few.

A batch is one transaction: the kernel takes all of it or nothing, and has decided when sending returns. Messages and
attributes are those of linux/netfilter/nf_tables.h, a rule's expressions those that `nft --debug=netlink` shows.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from netpy.faults import point
from netpy.firewall.rules import BaseChain, Element, Ruleset, Set
from netpy.kernel.nft.library import Refused
from netpy.kernel.nft.lookup import (
    FAMILY,
    HOOKS,
    NESTED,
    attribute,
    element_parts,
    split,
    text,
)

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 10
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _DELRULE, _NEWSETELEM, _DELSETELEM = 0, 2, 3, 6, 8, 12, 14
_REQUEST, _CREATE, _APPEND = 0x1, 0x400, 0x800
_ERROR = 2
_TOGETHER = 400  # elements in one message: its attribute's length is 16 bits
_SO_SNDBUFFORCE, _SOCKET_BUFFER = 32, 200_000
_RULE = re.compile(r"ip daddr ([\d.]+) (udp|tcp) dport (\d+) dnat to ([\d.]+):(\d+)")
_PROTOCOLS = {"tcp": 6, "udp": 17}
_NETWORK, _TRANSPORT, _L4PROTO, _ACCEPT, _DNAT = 1, 2, 16, 1, 1


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a batch, and in words what it does."""

    kind: int
    flags: int
    family: int
    body: bytes
    what: str


def elements(verb: str, container: Set, group: Sequence[Element]) -> Iterator[Step]:
    """Add or delete these elements of one set or map."""
    kind, flags = (_NEWSETELEM, _CREATE) if verb == "add" else (_DELSETELEM, 0)
    for start in range(0, len(group), _TOGETHER):
        part = group[start : start + _TOGETHER]
        parts = [piece for each in part for piece in _packed(container, each)]
        head = text(1, part[0].table) + text(2, container.name)
        more = f" and {len(part) - 1} more" if len(part) > 1 else ""
        what = (
            f"{verb} element {part[0].family} {part[0].table} {container.name} {{ {' . '.join(part[0].fields)}{more} }}"
        )
        yield Step(kind, flags, FAMILY[part[0].family], head + attribute(3 | NESTED, b"".join(parts)), what)


def _packed(container: Set, element: Element) -> list[bytes]:
    try:
        return element_parts(container, element.fields, element.value)
    except (ValueError, KeyError) as error:
        raise Refused(f"element {element.family} {element.table} {container.name}: {error}") from error


def table(wanted: Ruleset) -> list[Step] | None:
    """Make a table that holds nothing but redirections, whatever is in it now; None for any other table."""
    rules = [(chain, rule, tag) for chain in wanted.chains for rule, tag in zip(chain.rules, chain.tags, strict=True)]
    if wanted.sets or not all(_RULE.fullmatch(rule) for _, rule, _ in rules):
        return None
    family = FAMILY[wanted.family]
    steps = [Step(_NEWTABLE, _CREATE, family, text(1, wanted.table), f"add table {wanted.family} {wanted.table}")]
    for chain in wanted.chains:
        what = f"add chain {wanted.family} {wanted.table} {chain.name}"
        steps.append(Step(_NEWCHAIN, _CREATE, family, _chain(wanted.table, chain), what))
        steps.append(Step(_DELRULE, 0, family, text(1, wanted.table) + text(2, chain.name), f"flush {what[4:]}"))
    for chain, rule, tag in rules:
        body = text(1, wanted.table) + text(2, chain.name) + attribute(4 | NESTED, _expressions(rule))
        body += attribute(7, struct.pack("BB", 0, len(tag) + 1) + tag.encode() + b"\0")
        steps.append(Step(_NEWRULE, _CREATE | _APPEND, family, body, f"add rule {chain.name} {rule}"))
    return steps


def removal(gone: Ruleset) -> list[Step]:
    """Delete a table and all that is in it."""
    what = f"delete table {gone.family} {gone.table}"
    return [Step(_DELTABLE, 0, FAMILY[gone.family], text(1, gone.table), what)]


def opened() -> socket.socket:
    """A socket to send batches through, in the calling thread's namespace."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    made.bind((0, 0))
    return made


def send(writer: socket.socket, steps: Sequence[Step]) -> None:
    """Have the steps carried out in one transaction; Refused says which was not taken."""
    messages = [_message(_BEGIN, 0, 0, struct.pack(">BBH", 0, 0, _SUBSYSTEM))]
    for number, step in enumerate(steps, 1):
        body = struct.pack(">BBH", step.family, 0, 0) + step.body
        messages.append(_message(_SUBSYSTEM << 8 | step.kind, step.flags, number, body))
    messages.append(_message(_END, 0, len(steps) + 1, struct.pack(">BBH", 0, 0, _SUBSYSTEM)))
    data = b"".join(messages)
    if len(data) > _SOCKET_BUFFER // 2:
        writer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(data))
    point("before a transaction of rules")
    writer.send(data)
    point("after a transaction of rules")
    for number, code in _refusals(writer):
        what = steps[number - 1].what if 0 < number <= len(steps) else "the transaction"
        raise Refused(f"{what}: {os.strerror(code)}")


def _refusals(writer: socket.socket) -> list[tuple[int, int]]:
    """Number of the message and error number, for every message that was refused."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            data = writer.recv(1 << 17, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        for kind, _, sequence, payload in split(data):
            code = -struct.unpack_from("i", payload)[0] if kind == _ERROR else 0
            if code:
                found.append((sequence, code))


def _message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    padding = bytes(-len(payload) % 4)
    return struct.pack("IHHII", 16 + len(payload), kind, flags | _REQUEST, sequence, 0) + payload + padding


def _chain(table: str, chain: BaseChain) -> bytes:
    hook = attribute(1, struct.pack(">I", HOOKS[chain.hook])) + attribute(2, struct.pack(">i", chain.priority))
    policy = attribute(5, struct.pack(">I", _ACCEPT))
    return text(1, table) + text(3, chain.name) + attribute(4 | NESTED, hook) + policy + text(7, chain.kind)


def _expressions(rule: str) -> bytes:
    matched = _RULE.fullmatch(rule)
    assert matched
    address, protocol, port, target, target_port = matched.groups()
    return b"".join(
        (
            _expression("payload", (1, 1), (2, _NETWORK), (3, 16), (4, 4)),
            _equals(IPv4Address(address).packed),
            _expression("meta", (1, 1), (2, _L4PROTO)),
            _equals(bytes([_PROTOCOLS[protocol]])),
            _expression("payload", (1, 1), (2, _TRANSPORT), (3, 2), (4, 2)),
            _equals(struct.pack(">H", int(port))),
            _expression("immediate", (1, 1), value=(2, IPv4Address(target).packed)),
            _expression("immediate", (1, 2), value=(2, struct.pack(">H", int(target_port)))),
            _expression("nat", (1, _DNAT), (2, FAMILY["ip"]), (3, 1), (5, 2)),
        )
    )


def _equals(value: bytes) -> bytes:
    return _expression("cmp", (1, 1), (2, 0), value=(3, value))


def _expression(name: str, *numbers: tuple[int, int], value: tuple[int, bytes] | None = None) -> bytes:
    data = b"".join(attribute(kind, struct.pack(">I", number)) for kind, number in numbers)
    if value:
        data += attribute(value[0] | NESTED, attribute(1, value[1]))
    return attribute(1 | NESTED, text(1, name) + attribute(2 | NESTED, data))
