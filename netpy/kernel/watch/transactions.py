"""Reads the events of nf_tables: has a process other than ours changed a table that matters to us?

Every event bears the netlink port of the socket that caused it. Which ports are ours the kernel says too, in
/proc/net/netlink: those whose inode is among our own descriptors. That is looked up only when a port is new, and only
for tables that matter: our own, those of iptables-nft in which our passages stand, and firewalld's, which is made anew
when it forgets in which zones our bridges are. `nft monitor`.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

logger = logging.getLogger(__name__)
_HEADER = struct.Struct("=IHHII")
_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES = 12, 270, 1, 7
_SO_RCVBUFFORCE, _BUFFER = 33, 1 << 20


class Transactions:
    """A socket that hears of every transaction. Without nf_tables in the kernel it hears nothing."""

    def __init__(self, instance: str) -> None:
        self._tables = tuple(name.encode() + b"\0" for name in (instance, "filter", "firewalld"))
        self._ours: set[int] = set()
        self._socket: socket.socket | None = None
        try:
            self._socket = _listening()
        except OSError as error:
            logger.warning("changes of nf_tables go unnoticed: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def foreign(self) -> bool:
        """Whether somebody else touched one of our tables since the last time, or may have."""
        senders: set[int] = set()
        while self._socket is not None:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                break
            except OSError as error:  # ENOBUFS: more happened than fits
                logger.debug("events of nf_tables were lost: %s", error)
                return True
            # What a container's start costs is this line: nothing is decoded as long as the name is not in it.
            if any(table in data for table in self._tables):
                senders |= set(_senders(data))
        if senders - self._ours:
            self._ours |= set(_own_ports())
        return bool(senders - self._ours)


def _listening() -> socket.socket:
    listening = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        listening.bind((0, 0))
        listening.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
    except OSError:
        listening.close()
        raise
    return listening


def _senders(data: bytes) -> Iterator[int]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, _, _, _, port = _HEADER.unpack_from(data, offset)
        yield port
        offset += max(length + (-length % 4), _HEADER.size)


def _own_ports() -> Iterator[int]:
    """The netlink ports of this process's netfilter sockets in the present namespace."""
    inodes: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == str(_NETLINK_NETFILTER) and fields[-1] in inodes:
            yield int(fields[2])
