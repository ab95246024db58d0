"""Sends what recipes say: netlink datagrams as they stand, settings below /proc/sys, elements of nftables' maps.

Loads next to nothing, and knows next to nothing: what the bytes mean is `recipe`'s, which is netpy's, to know. The
marks are numbers that stand in a recipe for what is known only when it is followed. A process that cannot come back
from a namespace ends there and then.
"""

from __future__ import annotations

import _socket
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

NAMESPACE, MASTER, LINK = 0x7A3B9C1D, 0x6B5A4938, 0x5C4D3E2F  # a descriptor, the bridge's index, the link's index
_NETLINK, _ROUTE, _NETFILTER = 16, 0, 12
_CLOSE_ON_EXEC, _RAW, _NEWNET = 0o2000000, 3, 0x40000000
_ERROR, _DONE, _DELLINK, _GETCHAIN, _INET = 2, 3, 17, 0xA04, 1
_REQUEST_AND_ACK, _SOL_NETLINK, _CAP_ACK = 5, 270, 10
_NEW_ELEMENT, _DELETE_ELEMENT, _BEGIN, _END, _NF_TABLES = 0xA0C, 0xA0E, 0x10, 0x11, 10
_CREATE, _EXCLUSIVE = 0x400, 0x200
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_GONE = (2, 3, 19)  # ENOENT, ESRCH, ENODEV
_LINK_NEWS = 1  # RTMGRP_LINK


def filled(step: bytes, recipe: dict[str, Any], id: str, addresses: Mapping[str, bytes]) -> bytes:
    """A step with an identifier and addresses (packed, by family) in place of the stand-in's."""
    stand_in = recipe["id"]
    step = step.replace(stand_in.encode(), id[:12].encode()).replace(stand_in[:7].encode(), id[:7].encode())
    for family, address in recipe["addresses"].items():
        step = step.replace(packed(address.partition("/")[0]), addresses[family])
    return step


def packed(address: str) -> bytes:
    return _socket.inet_pton(_socket.AF_INET6 if ":" in address else _socket.AF_INET, address)


def number(value: int) -> bytes:
    return struct.pack("=I", value)


class Channel:
    """A netlink socket of the namespace in which it is made."""

    def __init__(self, protocol: int = _ROUTE) -> None:
        self._socket = _socket.socket(_NETLINK, _RAW | _CLOSE_ON_EXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.bind((0, 0))

    def close(self) -> None:
        self._socket.close()

    def send(self, datagram: bytes, answers: int = 0) -> None:
        """Send messages and wait for an answer to each, or for so many. OSError at the first refusal."""
        if not datagram:
            return
        self._socket.send(datagram)
        awaited = answers or sum(1 for _ in _messages(datagram))
        failure = 0
        while awaited:
            for kind, body in _messages(self._socket.recv(1 << 16)):
                if kind == _ERROR:
                    awaited -= 1
                    failure = failure or -struct.unpack_from("=i", body)[0]
            if failure and answers:
                break  # a transaction that is refused as a whole may have fewer answers
        if failure:
            raise OSError(failure, os.strerror(failure))

    def has(self, message: bytes) -> bool:
        """Whether what the message asks for is there."""
        try:
            self.send(message)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        return True


def _messages(data: bytes) -> Any:
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        yield kind, data[offset + 16 : offset + length]
        offset += length + (-length % 4)


def has_chain(table: str, chain: str) -> bool:
    """Whether the chain of a table of the family inet is there."""
    body = struct.pack(">BBH", _INET, 0, 0) + _text(1, table) + _text(3, chain)
    message = struct.pack("=IHHII", 16 + len(body), _GETCHAIN, _REQUEST_AND_ACK, 1, 0) + body
    channel = Channel(_NETFILTER)
    try:
        return channel.has(message)
    finally:
        channel.close()


def delete_link(name: str) -> None:
    """Delete a link of this namespace and return when it is gone; that it was gone is no error.

    The kernel takes the link off every list at once and answers some 20 ms later, when no processor can see it any
    more. So a child of ours asks and waits for the answer, and we go when the kernel tells everybody of it.
    """
    try:
        index = index_of(name)
    except OSError:
        return
    news = _socket.socket(_NETLINK, _RAW | _CLOSE_ON_EXEC, _ROUTE)
    news.bind((0, _LINK_NEWS))
    answered, answering = os.pipe()
    if os.fork() == 0:
        _ask_to_delete(index, answering)
    os.close(answering)
    failure = _departed(news, index, answered)
    news.close()
    os.close(answered)
    if failure and failure not in _GONE:
        raise OSError(failure, os.strerror(failure))


def _ask_to_delete(index: int, answering: int) -> None:
    """The child: nobody who waits for our output is to wait for it."""
    failure = 5
    try:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        Channel().send(_message(_DELLINK, _REQUEST_AND_ACK, 0, struct.pack("=BxHiII", 0, 0, index, 0, 0)))
        failure = 0
    except OSError as error:
        failure = error.errno or failure
    finally:
        os.write(answering, bytes([failure]))
        os._exit(0)


def _departed(news: Any, index: int, answered: int) -> int:
    """Wait for the news or for the answer. The answer's error, 0 where there is none."""
    from select import POLLIN, poll

    waiting = poll()
    waiting.register(news, POLLIN)
    waiting.register(answered, POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in waiting.poll()}
        if answered in ready:
            said = os.read(answered, 1)
            return said[0] if said else 5
        try:
            told = list(_messages(news.recv(1 << 16)))
        except OSError:  # more news than the socket holds: the answer will tell
            waiting.unregister(news)
            continue
        if any(kind == _DELLINK and struct.unpack_from("=i", body, 4)[0] == index for kind, body in told):
            return 0


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def index_of(name: str) -> int:
    """The index of a link of this namespace; OSError where there is none."""
    return _socket.if_nametoindex(name)


class Inside:
    """A block in another network namespace. The descriptor is the caller's."""

    def __init__(self, descriptor: int) -> None:
        self._there = descriptor

    def __enter__(self) -> None:
        self._here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if _setns(self._there) != 0:
            raise OSError(22, "this is no network namespace")

    def __exit__(self, *_: object) -> None:
        if _setns(self._here) != 0:
            os.abort()
        os.close(self._here)


def _setns(descriptor: int) -> int:
    """setns(2), which Python has from 3.12. The package ctypes takes longer to load than all else here."""
    if hasattr(os, "setns"):
        try:
            os.setns(descriptor, _NEWNET)  # pyright: ignore
        except OSError:
            return -1
        return 0
    import _ctypes

    address = _ctypes.dlsym(_ctypes.dlopen(None, 0), "setns")  # pyright: ignore
    return _ctypes.call_function(address, (descriptor, _NEWNET))  # pyright: ignore


def write_settings(settings: Sequence[Sequence[str]]) -> None:
    for name, value in settings:
        descriptor = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)


def change_elements(table: str, elements: Sequence[Any], *, removal: bool = False) -> None:
    """Add elements of maps to a table of the family inet, or remove them: [map, key, value] each, in one transaction.

    Parts of a key or a value are addresses, names of protocols and ports. OSError when one is there already, or is not.
    """
    if not elements:
        return
    kind, flags = (_DELETE_ELEMENT, 0) if removal else (_NEW_ELEMENT, _CREATE | _EXCLUSIVE)
    header = struct.pack(">BBH", _INET, 0, 0)
    body = [_message(_BEGIN, 1, 0, struct.pack(">BBH", 0, 0, _NF_TABLES))]
    for place, key, value in elements:
        entry = _nested(
            1, _nested(1, _attribute(1, _concatenated(key))), _nested(2, _attribute(1, _concatenated(value)))
        )
        element = _text(1, table) + _text(2, place) + _nested(3, entry)
        body.append(_message(kind, _REQUEST_AND_ACK, flags, header + element))
    body.append(_message(_END, 1, 0, struct.pack(">BBH", 0, 0, _NF_TABLES)))
    channel = Channel(_NETFILTER)
    try:
        channel.send(b"".join(body), len(elements))
    finally:
        channel.close()


def _concatenated(parts: Sequence[Any]) -> bytes:
    """A key or a value in the kernel's form: each part padded to four bytes, numbers in network order."""
    found = b""
    for part in parts:
        if isinstance(part, int):
            data = struct.pack(">H", part)
        elif part in _PROTOCOLS:
            data = bytes([_PROTOCOLS[part]])
        else:
            data = packed(part)
        found += data + b"\0" * (-len(data) % 4)
    return found


def _message(kind: int, flags: int, more: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags | more, 1, 0) + body


def _nested(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | 0x8000, b"".join(parts))


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def is_free(protocol: str, host: str, port: int) -> bool:
    """Whether nobody has the host's port; unknown where the kernel lacks the protocol, which counts as free."""
    kind, family = (
        (2 if protocol == "udp" else 1, _PROTOCOLS[protocol]),
        _socket.AF_INET6 if ":" in host else _socket.AF_INET,
    )
    try:
        opened = _socket.socket(family, kind[0] | _CLOSE_ON_EXEC, kind[1])
    except OSError:
        return True
    try:
        if family == _socket.AF_INET6:
            opened.setsockopt(41, 26, 1)  # IPV6_V6ONLY
        opened.bind((host, port))
    except OSError:
        return False
    finally:
        opened.close()
    return True
