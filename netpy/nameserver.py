"""The embedded name server: the daemon's handle on it, and the program itself (`python -m netpy.nameserver`).

It is a process of its own, so that names are answered while the daemon restarts, and without its interpreter lock. It
has a session of its own and ends only when told to, or when it serves nobody and nobody is connected. A lock file
makes it the only one of its exec root. Sockets inside sandboxes are made here, in the daemon, and handed over; should
the process die, its end is seen through a pidfd, another is started, and everything is opened again on the same ports.

`Nameserver` decides when to start, reconnect and restore. What is said on the control socket is `netpy.dns.control`'s,
what is answered to queries is `netpy.dns.resolver`'s. `main` is the process's composition root: it lends the DNS room,
which knows nothing of namespaces, a way to reach servers from inside them. I/O: processes, sockets, files.

Under `exec_root`: `dns.sock` (control, 0600), `dns.lock`, `dns.log` (standard error of the process).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from netpy.dns import Record, View, control, process
from netpy.dns.control import Message
from netpy.dns.files import EMBEDDED
from netpy.dns.forwarder import Dial, Places
from netpy.dns.hostfile import HostFile
from netpy.dns.loop import Loop
from netpy.dns.process import Link
from netpy.dns.resolver import TTL, Resolver
from netpy.dns.server import Server, World
from netpy.dns.service import Service
from netpy.dns.upstream import Transport
from netpy.errors import Conflict, KernelError, NetpyError, NotFound
from netpy.kernel import descriptors, netns, privileges
from netpy.model import Sandbox

T = TypeVar("T")
_RESTLESS = 1.0  # seconds that a process must have lived for its successor to be started without delay
_ATTEMPTS = 16  # to find a port that is free for UDP and TCP alike
_IP_FREEBIND = 15
_DNS_PORT = 53
_IN_FLIGHT = 16384  # forwarded queries: half of the ports that Linux gives to those who ask for any
_log = logging.getLogger(__name__)


class Nameserver:
    """`netpy.dns.NameService` over a process of its own. Nothing is started before the first call that needs it.

    `ttl` is that of our own answers, in seconds. Thread-safe; raises only NetpyError.
    """

    def __init__(self, exec_root: Path, *, host_resolv_conf: Path = Path("/etc/resolv.conf"), ttl: int = TTL) -> None:
        self._root = exec_root
        self._settings = process.settings(host_resolv_conf, ttl)
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._watcher: threading.Thread | None = None
        self._left = threading.Event()  # set while we want no process: before the first call, after the last
        self._records: dict[str, Record] = {}
        self._views: dict[str, View] = {}
        self._served: dict[str, tuple[Sandbox, int]] = {}

    def open(self, sandbox: Sandbox, port: int = 0) -> int:
        """See `NameService.open`. Conflict when `port` is taken in the sandbox, NotFound without its namespace."""
        with self._lock:
            port = self._asked(lambda link: _opened(link, sandbox, port))
            self._served[sandbox.id] = (sandbox, port)
            return port

    def close(self, sandbox_id: str) -> None:
        with self._lock:
            self._served.pop(sandbox_id, None)
            self._views.pop(sandbox_id, None)
            if self._linked(start=False):
                self._asked(lambda link: link.request({"op": "close", "sandbox": sandbox_id}))

    def update(self, *, put: Iterable[Record] = (), drop: Iterable[str] = (), views: Iterable[View] = ()) -> None:
        records, dropped, seen = list(put), list(drop), list(views)
        if not (records or dropped or seen):
            return
        message = {
            "op": "update",
            "drop": dropped,
            "put": [control.record_body(record) for record in records],
            "views": [control.view_body(view) for view in seen],
        }
        with self._lock:
            self._asked(lambda link: link.request(message))
            for endpoint_id in dropped:
                self._records.pop(endpoint_id, None)
            self._records.update({record.endpoint_id: record for record in records})
            self._views.update({view.sandbox_id: view for view in seen})

    def replace(self, records: Iterable[Record], views: Iterable[View]) -> None:
        known = {record.endpoint_id: record for record in records}
        seen = {view.sandbox_id: view for view in views}
        with self._lock:
            self._asked(lambda link: _replace(link, known, seen))
            self._records, self._views = known, seen

    def served(self) -> dict[str, int]:
        """The sandboxes that are being served and their ports, also by a process that an earlier daemon started."""
        with self._lock:
            if self._linked(start=False) is None:
                return {}
            places: dict[str, Message] = self._asked(lambda link: link.request({"op": "list"}))["places"]
            return {sandbox_id: place["port"] for sandbox_id, place in places.items()}

    @property
    def pid(self) -> int:
        """The process's id; 0 where none is connected."""
        with self._lock:
            return self._link.pid if self._link else 0

    def disconnect(self) -> None:
        """Let go of the process, which goes on answering. A later call connects again."""
        with self._lock:
            self._left.set()
            self._unlink()
        self._join()

    def shutdown(self) -> None:
        """End the process, whoever started it; returns when it is gone. Names and sandboxes are forgotten."""
        with self._lock:
            self._records, self._views, self._served = {}, {}, {}
            link = self._linked(start=False)
            self._left.set()
            if link is not None:
                link.end()
            self._unlink()
        self._join()

    # -- the connection

    def _asked(self, work: Callable[[Link], T]) -> T:
        """What `work` gives on the connection; tried with another process if the one we talked to is gone."""
        for _ in range(2):
            link = self._linked()
            assert link is not None
            try:
                return work(link)
            except OSError as error:
                self._lose(link, error)
        raise KernelError(f"the name server of {self._root} does not answer")

    def _lose(self, link: Link, error: OSError) -> None:
        _log.warning("name server %d does not answer: %s", link.pid, error)
        if isinstance(error, TimeoutError):
            link.kill()  # it hangs: nobody is served by it
        self._unlink()

    def _linked(self, *, start: bool = True) -> Link | None:
        """The connection; made, and the process started and told all that we know, where there is none."""
        if self._link is not None:
            return self._link
        link = process.suitable(self._root, self._settings)
        if link is None and start:
            link = process.started(self._root, self._settings)
        if link is None:
            return None
        self._link = link
        self._left.clear()
        self._watcher = threading.Thread(target=self._watch, args=(link, link.end_watch()), daemon=True)
        self._watcher.start()
        try:
            self._restore(link)
        except OSError as error:
            self._lose(link, error)
            raise KernelError(f"the name server of {self._root} ended when told its names") from error
        return link

    def _restore(self, link: Link) -> None:
        """Tell a process that may be new what we know. What cannot be opened any more is left out."""
        if self._records or self._views:
            _replace(link, self._records, self._views)
        for sandbox, port in tuple(self._served.values()):
            try:
                _opened(link, sandbox, port)
            except NetpyError as error:
                _log.warning("names for sandbox %s: %s", sandbox.id, error)

    def _unlink(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _join(self) -> None:
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()

    def _watch(self, link: Link, ended: Callable[[], bool]) -> None:
        """Waits, in a thread, for the end of the process, and sees to its successor."""
        if not ended():
            return
        pause = max(0.0, link.born + _RESTLESS - time.monotonic())
        while not self._left.wait(pause):
            with self._lock:
                if self._link not in (None, link) or self._left.is_set():
                    return
                self._unlink()
                _log.warning("name server %d has ended: starting another", link.pid)
                try:
                    self._linked()
                    return
                except NetpyError as error:
                    _log.error("starting the name server: %s", error)
            pause = _RESTLESS


def _replace(link: Link, records: Mapping[str, Record], views: Mapping[str, View]) -> None:
    for message in control.replacement(records.values(), views.values()):
        link.request(message)


def _opened(link: Link, sandbox: Sandbox, port: int) -> int:
    """The port at which the sandbox is served: already, or from now on."""
    inode = _inode(sandbox.netns)
    place = link.request({"op": "find", "sandbox": sandbox.id})["place"]
    if place and place["inode"] == inode:
        return place["port"]
    sockets = netns.run_in(sandbox.netns, lambda: _listeners(port))
    try:
        chosen: int = sockets[0].getsockname()[1]
        message = {"op": "open", "sandbox": sandbox.id, "netns": sandbox.netns, "inode": inode, "port": chosen}
        link.request(message, sockets)
    finally:
        for opened in sockets:
            opened.close()
    return chosen


def _inode(path: str) -> int:
    """Which namespace is at `path`, so that another one at the same path is told apart."""
    try:
        return Path(path or "/proc/self/ns/net").stat().st_ino
    except OSError as error:
        raise NotFound(f"network namespace {path} does not exist: {error.strerror}") from error


def _listeners(port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on one port of 127.0.0.11 in the present namespace; any port that both can have for 0."""
    for _ in range(_ATTEMPTS):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            for opened in (datagrams, stream):
                opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # loopback may not be up yet
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # askers of the process before are lingering
            datagrams.bind((EMBEDDED, port))
            stream.bind((EMBEDDED, datagrams.getsockname()[1]))
            stream.listen(128)
            return datagrams, stream
        except OSError as error:
            datagrams.close()
            stream.close()
            if error.errno != errno.EADDRINUSE:
                raise KernelError(f"listening on {EMBEDDED} port {port}: {error.strerror}") from error
            if port:
                break
    raise Conflict(f"port {port or 'for names'} of {EMBEDDED} is taken in the sandbox")


# -- the process


def main(arguments: Sequence[str]) -> int:
    """The program: serve names until told to stop. Arguments: exec root, the host's resolv.conf, TTL in seconds."""
    try:
        root, host_resolv_conf, ttl = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    except (IndexError, ValueError):
        print("usage: python -m netpy.nameserver EXEC_ROOT RESOLV_CONF TTL", file=sys.stderr)
        return 2
    os.closerange(3, 4096)  # whatever the daemon forgot to mark: a socket kept open here could not be bound again
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    lock = os.open(root / "dns.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(1, process.TAKEN)
        return 0
    descriptors.allow_all()
    files = descriptors.allowed()
    privileges.keep("SYS_ADMIN", "SYS_PTRACE")  # to go into sandboxes; what it reads comes from strangers
    loop, resolver = Loop(), Resolver(ttl=ttl)
    world = World(
        dial=_dialler(files * 3 // 4),
        host_servers=HostFile(host_resolv_conf).servers,
        places=Places(min(_IN_FLIGHT, files // 4)),
    )
    server = Server(loop, resolver, world)
    with _control_socket(process.socket_path(root)) as listening:
        service = Service(loop, resolver, server, process.settings(host_resolv_conf, ttl))
        service.listen(listening)
        os.write(1, process.READY)
        os.dup2(0, 1)  # nobody listens there any more
        loop.run()
        server.close_all()
        service.close()
        process.socket_path(root).unlink(missing_ok=True)
    return 0


def _control_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # left by one that was killed: we have the lock
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(mask)
    listening.listen(16)
    return listening


def _dialler(most: int) -> Dial:
    """A `Dial` that leaves the descriptors from `most` on to others: a flood of queries may not use them all up."""

    def dial(path: str, transport: Transport, address: str) -> socket.socket:
        made = netns.run_in(path, lambda: _connected(transport, address))
        if made.fileno() >= most:  # the kernel gives the lowest free number
            made.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return made

    return dial


def _connected(transport: Transport, address: str) -> socket.socket:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    # Numeric: nothing is looked up, but the zone of a link-local address becomes the number of its interface.
    family, _, _, _, target = socket.getaddrinfo(address, _DNS_PORT, type=kind, flags=socket.AI_NUMERICHOST)[0]
    made = socket.socket(family, kind)
    made.setblocking(False)
    outcome = made.connect_ex(target)
    if outcome not in (0, errno.EINPROGRESS):
        made.close()
        raise OSError(outcome, os.strerror(outcome))
    return made


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
