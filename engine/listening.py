"""The sockets that the API is served on: made here, or handed over by systemd.

A socket file that nobody listens on any more is replaced; one that somebody does is refused. Makes and removes files.
"""

from __future__ import annotations

import grp
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from netpy.errors import Conflict, InvalidArgument, KernelError
from netpy.faults import point

FIRST_PASSED = 3
GROUP = "netpy"
BACKLOG = 128
logger = logging.getLogger(__name__)


def open_all(addresses: Sequence[str], group: str) -> list[socket.socket]:
    """One listening socket per `unix://PATH`; for `fd://` all that systemd passed. All or nothing."""
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            if address == "fd://":
                opened += passed(os.environ, os.getpid())
            else:
                opened.append(listen(Path(address.removeprefix("unix://")), group))
    except BaseException:
        close_all(opened)
        raise
    return opened


def listen(path: Path, group: str) -> socket.socket:
    """A listening Unix socket at `path`, mode 0660, of `group` or else of the group netpy; without one root's alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o117)
    try:
        point("before listening")
        made.bind(str(path))
        point("between binding and listening")
        os.chown(path, -1, _group_id(group))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise KernelError(f"cannot listen on unix://{path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return made


def passed(environment: Mapping[str, str], pid: int) -> list[socket.socket]:
    """The sockets of systemd's socket activation (sd_listen_fds(3)). InvalidArgument when there are none."""
    if environment.get("LISTEN_PID") != str(pid) or not environment.get("LISTEN_FDS", "0").isdigit():
        raise InvalidArgument("no sockets found via socket activation: make sure the service was started by systemd")
    count = int(environment.get("LISTEN_FDS", "0"))
    if count == 0:
        raise InvalidArgument("no sockets found via socket activation: make sure the service was started by systemd")
    found: list[socket.socket] = []
    for descriptor in range(FIRST_PASSED, FIRST_PASSED + count):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    if any(each.family != socket.AF_UNIX for each in found):
        close_all(found)
        raise InvalidArgument("socket activation: only Unix sockets are served, as whoever may call the API is root")
    return found


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close them; remove the files of those that we made."""
    for one in sockets:
        with suppress(OSError):
            one.close()


def remove_files(addresses: Sequence[str]) -> None:
    """Remove the socket files of these addresses: the daemon has stopped."""
    for address in addresses:
        if address.startswith("unix://"):
            Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove a socket file that nobody listens on."""
    if not path.exists():
        return
    if not path.is_socket():
        raise Conflict(f"cannot listen on unix://{path}: there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"cannot listen on unix://{path}: another daemon does")


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name or GROUP).gr_gid
    except KeyError:
        if name:
            logger.warning("could not change group of the socket to %s: group %s not found", name, name)
        else:
            logger.info("only root may use the API, as there is no group %s (groupadd --system %s)", GROUP, GROUP)
        return os.getegid()
