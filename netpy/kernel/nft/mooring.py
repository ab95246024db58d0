"""Keeps existing connections translated while somebody flushes the rules, until these are mended.

When the last rule that needs it goes, the kernel stops tracking connections and translating addresses, also for those
connections that it has translated so far: their packets arrive somewhere that knows nothing of them, which answers with
a reset. A moment is enough for that, however quickly the rules come back. So the daemon holds one more table, empty but
for what makes the kernel go on: a chain of kind nat (one keeps the translation at all hooks) and a rule, in a chain
that nobody jumps to, which asks about a connection. The table belongs to a socket (flag `owner`, kernel 5.12): nobody
else can remove it, `flush ruleset` passes it by, and it is gone with the daemon. It decides nothing about any packet.

Packed by hand, because libnftables of Debian 12 cannot say who owns a table. Older kernels have no such flag: there the
mooring is left out. Equivalent: `add table inet NAME { flags owner; }`.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Sequence

from netpy.kernel.rtnetlink import attribute, nested

logger = logging.getLogger(__name__)
_NETLINK_NETFILTER, _SUBSYSTEM, _INET = 12, 10, 1
_BEGIN, _END = 16, 17
_NEWTABLE, _NEWCHAIN, _NEWRULE = (_SUBSYSTEM << 8 | number for number in (0, 3, 6))
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_OWNER, _POSTROUTING, _SRCNAT, _REGISTER, _DIRECTION = 2, 4, 100, 1, 1
_HEADER = struct.Struct("=IHHII")


class Mooring:
    """The table `inet NAME`, as long as this is open, in the namespace in which it is made."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        try:
            self._make(name)
        except OSError as error:
            logger.info("connections may break when somebody flushes nf_tables: %s", error.strerror)

    def close(self) -> None:
        """The kernel removes the table of a socket that is closed."""
        self._socket.close()

    def _make(self, name: str) -> None:
        messages = _messages(name)
        self._socket.send(b"".join(messages))
        for _ in messages[1:-1]:
            code = -struct.unpack_from("=i", self._socket.recv(1 << 13), _HEADER.size)[0]
            if code:
                raise OSError(code, os.strerror(code))


def _messages(name: str) -> Sequence[bytes]:
    table, kept, asking = attribute(1, name), "kept", "asking"
    hook = nested(4, attribute(1, _number(_POSTROUTING)), attribute(2, _number(_SRCNAT)))
    ask = _expression("ct", attribute(1, _number(_REGISTER)), attribute(2, _number(_DIRECTION)))
    original = _expression(
        "cmp", attribute(1, _number(_REGISTER)), attribute(2, _number(0)), nested(3, attribute(1, b"\0"))
    )
    bodies = (
        (_BEGIN, 0, 0, b""),
        (_NEWTABLE, _ACK | _CREATE, _INET, table + attribute(2, _number(_OWNER))),
        (_NEWCHAIN, _ACK | _CREATE, _INET, table + attribute(3, kept) + hook + attribute(7, "nat")),
        (_NEWCHAIN, _ACK | _CREATE, _INET, table + attribute(3, asking)),
        (_NEWRULE, _ACK | _CREATE | _APPEND, _INET, table + attribute(2, asking) + nested(4, ask, original)),
        (_END, 0, 0, b""),
    )
    return [_packed(number, *each) for number, each in enumerate(bodies)]


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, attribute(1, name), nested(2, *data))


def _packed(sequence: int, kind: int, flags: int, family: int, body: bytes) -> bytes:
    resource = _SUBSYSTEM if kind in (_BEGIN, _END) else 0
    payload = struct.pack(">BBH", family, 0, resource) + body
    return _HEADER.pack(_HEADER.size + len(payload), kind, _REQUEST | flags, sequence, 0) + payload


def _number(value: int) -> bytes:
    return struct.pack(">I", value)
