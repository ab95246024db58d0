"""Tells the neighbours of an address: gratuitous ARP for IPv4, unsolicited neighbour advertisement for IPv6.

An address that is used again would otherwise stay unreachable until the neighbours' caches have aged. Packets are
sent from inside the sandbox: one at once, and two more, since the first may fall into a bridge port that is not
forwarding yet. One thread sends for all: closing a packet socket costs the kernel 10 ms, which nobody should wait for.
Equivalent: `arping -U`, `ndsend`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import socket
import struct
import threading
import time
from ipaddress import ip_address

from netpy.errors import KernelError, NetpyError
from netpy.kernel import Announce, netns
from netpy.threads import started

logger = logging.getLogger(__name__)
AFTER = (0.0, 1.0, 2.0)  # seconds
_ALL_NODES = "ff02::1"
_OVERRIDE = 0x20000000


class Announcer:
    """Sends announcements when they are due. Thread-safe; its thread ends when there is nothing left to send."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Announce]] = []
        self._count = itertools.count()
        self._working = False

    def announce(self, action: Announce) -> None:
        """Send now and again later, without waiting for it."""
        now = time.monotonic()
        with self._changed:
            for delay in AFTER:
                heapq.heappush(self._due, (now + delay, next(self._count), action))
            if not self._working:
                with contextlib.suppress(KernelError):  # no room for a thread: the next one sends these as well
                    started(self._work, "announcer")
                    self._working = True
            self._changed.notify()

    def _work(self) -> None:
        while (action := self._next()) is not None:
            send(action)

    def _next(self) -> Announce | None:
        with self._changed:
            while self._due:
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            self._working = False
            return None


def send(action: Announce) -> None:
    """Send once. A sandbox or an interface that has gone meanwhile is no error."""
    try:
        netns.run_in(action.netns, lambda: _send(action))
    except (OSError, NetpyError) as error:
        logger.debug("announcing %s on %s: %s", action.address, action.link, error)


def _send(action: Announce) -> None:
    mac = bytes.fromhex(action.mac.replace(":", ""))
    address = ip_address(action.address)
    if address.version == 4:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as raw:
            raw.bind((action.link, 0))
            raw.send(arp_frame(mac, address.packed))
        return
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        raw.sendto(advertisement(mac, address.packed), (_ALL_NODES, 0, 0, socket.if_nametoindex(action.link)))


def arp_frame(mac: bytes, address: bytes) -> bytes:
    """A broadcast ARP request for the sender's own address (RFC 5227 §3 calls it an announcement)."""
    ethernet = b"\xff" * 6 + mac + struct.pack(">H", 0x0806)
    return ethernet + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + bytes(6) + address


def advertisement(mac: bytes, address: bytes) -> bytes:
    """An unsolicited neighbour advertisement with the override flag (RFC 4861 §7.2.6); the kernel sums it."""
    return struct.pack(">BBHI", 136, 0, 0, _OVERRIDE) + address + struct.pack(">BB", 2, 1) + mac
