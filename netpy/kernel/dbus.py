"""As much of D-Bus as a question to another daemon takes: a method is called with texts, and answers.

The messages are packed here rather than with a library because texts, lists of texts and booleans are all that is ever
sent or read. Nothing is started by asking: who does not run is not there. `man dbus-daemon`, D-Bus Specification 0.38.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import Self

from netpy.errors import KernelError, NotFound

_DEFAULT = "unix:path=/run/dbus/system_bus_socket"
_CALL, _RETURN, _ERROR, _NO_AUTO_START = 1, 2, 3, 2
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_HEAD = struct.Struct("<BBBBIII")
_ABSENT = ("ServiceUnknown", "NameHasNoOwner", "UnknownMethod")
PATIENCE = 10.0  # seconds


class Bus:
    """A connection to the system bus. `with Bus() as bus: …`; NotFound where there is none."""

    def __init__(self, address: str = "") -> None:
        where = address or os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "") or _DEFAULT
        path = next((part[10:] for part in where.split(",")[0].split(";") if part.startswith("unix:path=")), "")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(PATIENCE)
        self._serial = 0
        try:
            self._socket.connect(path)
            self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
            if not self._socket.recv(4096).startswith(b"OK"):
                raise NotFound("the system bus does not know us")
            self._socket.sendall(b"BEGIN\r\n")
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Hello")
        except OSError as error:
            self._socket.close()
            raise NotFound(f"no system bus at {path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, destination: str, path: str, method: str, *arguments: str) -> bytes:
        """The body of the answer. NotFound when nobody has that name, KernelError for a refusal."""
        self._serial += 1
        interface, _, member = method.rpartition(".")
        body = b""
        for text in arguments:
            body = _padded(body, 4) + _text(text)
        fields = [(_PATH, "o", path), (_INTERFACE, "s", interface), (_MEMBER, "s", member)]
        fields += [(_DESTINATION, "s", destination), (_SIGNATURE, "g", "s" * len(arguments))]
        packed = b""
        for code, kind, value in fields:
            packed = _padded(packed, 8) + bytes([code, 1]) + kind.encode() + b"\0"
            packed += bytes([len(value)]) + value.encode() + b"\0" if kind == "g" else _text(value)
        head = _HEAD.pack(ord("l"), _CALL, _NO_AUTO_START, 1, len(body), self._serial, len(packed))
        try:
            self._socket.sendall(_padded(head + packed, 8) + body)
            return self._answer()
        except OSError as error:
            raise KernelError(f"D-Bus: {destination} does not answer: {error}") from error

    def _answer(self) -> bytes:
        while True:
            _, kind, _, _, length, _, fields = _HEAD.unpack(self._receive(_HEAD.size))
            header = self._receive(fields + -fields % 8)[:fields]
            body = self._receive(length)
            found = _fields(header)
            if kind not in (_RETURN, _ERROR) or found.get(_REPLY_TO) != str(self._serial):
                continue
            if kind == _RETURN:
                return body
            name = found.get(_ERROR_NAME, "")
            if name.endswith(_ABSENT):
                raise NotFound(name)
            raise KernelError(text(body) or name)

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._socket.recv(length - len(data))
            if not piece:
                raise ConnectionResetError("the bus hung up")
            data += piece
        return data


def text(body: bytes) -> str:
    """The text that an answer begins with, or an empty one."""
    if len(body) < 4:
        return ""
    return body[4 : 4 + struct.unpack_from("<I", body)[0]].decode(errors="replace")


def texts(body: bytes) -> list[str]:
    """The list of texts that an answer consists of."""
    found: list[str] = []
    end = 4 + struct.unpack_from("<I", body)[0]
    at = 4
    while at < end:
        at += -at % 4
        length = struct.unpack_from("<I", body, at)[0]
        found.append(body[at + 4 : at + 4 + length].decode(errors="replace"))
        at += 4 + length + 1
    return found


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<I", len(encoded)) + encoded + b"\0"


def _padded(data: bytes, to: int) -> bytes:
    return data + b"\0" * (-len(data) % to)


def _fields(header: bytes) -> dict[int, str]:
    """The fields of an answer, as text; what is of no use here is left out."""
    found: dict[int, str] = {}
    at = 0
    with suppress(struct.error, IndexError):
        while at < len(header):
            at += -at % 8
            code, kind = header[at], chr(header[at + 2])
            at += 4
            if kind == "g":
                at += header[at] + 2
            elif kind == "u":
                found[code] = str(struct.unpack_from("<I", header, at)[0])
                at += 4
            else:
                length = struct.unpack_from("<I", header, at)[0]
                found[code] = header[at + 4 : at + 4 + length].decode(errors="replace")
                at += 4 + length + 1
    return found
