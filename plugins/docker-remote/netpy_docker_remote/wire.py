"""One request to a plugin: connect, ask, read the answer, all within a time limit.

Decides what a connection failure is, which alone may be tried again since nothing has been asked then, and that an
answer has an end: a plugin that drips bytes is cut off like one that says nothing. What the answer means is left to
`plugin`. Does I/O on sockets.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from netpy_docker_remote.places import Address, Tls

ACCEPT = "application/vnd.docker.plugins.v1.2+json"
HOST = "plugin.moby.localhost"
LARGEST = 4 * 1024 * 1024


class Unreachable(Exception):
    """There is no connection: nothing was asked."""


class Broken(Exception):
    """The plugin was asked, and gave no whole answer: whether it acted is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: for one answer, and for trying to connect again, with growing pauses; less when giving back."""

    answer: float = 30.0
    retry: float = 8.0
    farewell: float = 1.0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Limits:
        """NETPY_PLUGIN_TIMEOUT and NETPY_PLUGIN_RETRY, in seconds, where they are set."""
        usual = cls()
        return cls(
            answer=_seconds(environment.get("NETPY_PLUGIN_TIMEOUT", ""), usual.answer),
            retry=_seconds(environment.get("NETPY_PLUGIN_RETRY", ""), usual.retry),
        )


class Answer(NamedTuple):
    """What came back, unread."""

    status: int
    kind: str
    body: bytes


def post(address: Address, path: str, body: bytes, timeout: float) -> Answer:
    """Ask and read. Unreachable before, Broken after the request has gone out; `timeout` is for all of it."""
    connection = _Connection(address, timeout)
    try:
        connection.connect()
    except (OSError, ValueError) as error:
        connection.close()
        raise Unreachable(_said(error)) from error
    over = threading.Timer(timeout, connection.cut)
    over.daemon = True
    over.start()
    try:
        connection.request("POST", path, body, {"Accept": ACCEPT, "Host": HOST})
        with connection.getresponse() as response:
            content = response.read(LARGEST + 1)
        if connection.is_cut:
            raise TimeoutError
        if len(content) > LARGEST:
            raise Broken(f"the answer is longer than {LARGEST} bytes")
        return Answer(response.status, response.headers.get("Content-Type", ""), content)
    except (OSError, http.client.HTTPException) as error:
        late = connection.is_cut or isinstance(error, TimeoutError)
        raise Broken(f"no answer within {timeout:g} s" if late else f"no answer: {_said(error)}") from error
    finally:
        over.cancel()
        connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over whatever the address says."""

    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__(address.host or HOST, address.port or None, timeout=timeout)
        self._address = address
        self.is_cut = False

    def connect(self) -> None:
        address = self._address
        if address.path:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(address.path)
        else:
            self.sock = socket.create_connection((address.host, address.port), timeout=self.timeout)
            if address.tls:
                self.sock = _context(address.tls).wrap_socket(self.sock, server_hostname=address.host)
        self._line = self.sock  # the base class forgets it as soon as an answer says that it is the last

    def cut(self) -> None:
        """End it now, from another thread."""
        self.is_cut = True  # before the reader wakes up, who is to know why
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.authority or None)
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None)
    return context


def _seconds(text: str, usual: float) -> float:
    try:
        return max(0.05, float(text)) if text else usual
    except ValueError:
        return usual


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
