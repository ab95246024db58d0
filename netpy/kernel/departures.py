"""Deleting a link without waiting for the kernel to forget it.

A link is off every list a millisecond after the request: nobody sees it, its name is free, its addresses and routes
are gone. The kernel then waits some 20 to 30 ms, without its lock, until no processor can hold a reference, and only
then answers. So the request goes out from a thread of its own, and whoever asked goes on when the kernel announces that
the link is gone (RTM_DELLINK), or when the answer is a refusal. Both sockets belong to the caller's namespace.
Equivalent: `ip link delete NAME`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading

from netpy.kernel import rtnetlink as rt
from netpy.kernel.rtnetlink import Channel, Message

_RTMGRP_LINK = 1
_HEADER, _INDEX = struct.Struct("=IHHII"), struct.Struct("=BxHi")
_GONE = (errno.ENODEV, errno.ENOENT)


def delete(name: str) -> None:
    """Delete the link `name` of the calling thread's namespace, if there is one. OSError when refused."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as news:
        news.bind((0, _RTMGRP_LINK))
        departure = _Departure(index)
        try:
            departure.begin()
            departure.wait(news)
        finally:
            departure.leave()
    if departure.refusal is not None and departure.refusal.errno not in _GONE:
        raise departure.refusal


class _Departure:
    """One request under way. The answer wakes `wait` through an eventfd, which whoever comes last closes."""

    def __init__(self, index: int) -> None:
        self.refusal: OSError | None = None
        self._index = index
        self._channel = Channel()  # made here: a socket stays in the namespace where it was opened
        self._answered = os.eventfd(0, os.EFD_CLOEXEC)
        self._left = threading.Lock()
        self._parties = 1

    def begin(self) -> None:
        self._parties = 2
        try:
            threading.Thread(target=self._request, name="link-departure", daemon=True).start()
        except RuntimeError:  # no more threads to be had: then this one waits to the end
            self._request()

    def wait(self, news: socket.socket) -> None:
        """Return when the link is gone, or when the kernel has answered."""
        poll = select.poll()
        poll.register(news, select.POLLIN)
        poll.register(self._answered, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._answered in ready:
                return
            try:
                if self._is_told(news.recv(1 << 16)):
                    return
            except OSError:  # more news than the buffer holds: the answer will tell
                poll.unregister(news)

    def leave(self) -> None:
        with self._left:
            self._parties -= 1
            last = self._parties == 0
        if last:
            os.close(self._answered)

    def _is_told(self, data: bytes) -> bool:
        offset = 0
        while offset + _HEADER.size + _INDEX.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, offset)
            if kind == rt.DELLINK and _INDEX.unpack_from(data, offset + _HEADER.size)[2] == self._index:
                return True
            offset += max(length + (-length % 4), _HEADER.size)
        return False

    def _request(self) -> None:
        try:
            with self._channel as channel:
                body = struct.pack("=BxHiII", 0, 0, self._index, 0, 0)
                self.refusal = channel.request([Message(rt.DELLINK, 0, body)])[0]
        except OSError as error:
            self.refusal = error
        finally:
            os.eventfd_write(self._answered, 1)
            self.leave()
