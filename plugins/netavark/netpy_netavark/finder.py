"""Finds netavark plugins: executables in directories, each a driver by the name of its file.

A plugin is asked for its `info` before it is taken for one, so that another executable in such a directory is told at
once. I/O: directories, and that one process, when a network of that driver is first used.

Environment of the daemon: NETPY_NETAVARK_PLUGINS, directories, colon separated; NETPY_NETAVARK_TIMEOUT, seconds that
one call may take.
"""

from __future__ import annotations

import os
from pathlib import Path

from netpy.drivers import Defaults, Driver
from netpy.drivers.addressing import IpamDriver
from netpy.errors import DriverError, InvalidArgument, Unsupported
from netpy_netavark.driver import NetavarkDriver
from netpy_netavark.execution import LIMIT, Plugin

DIRECTORIES = ":".join(
    (
        "/usr/local/libexec/netpy",
        "/usr/local/libexec/netavark",
        "/usr/libexec/netavark",
        "/usr/local/lib/netavark",
        "/usr/lib/netavark",
    )
)
_INFO = 10.0  # seconds: loading is not to wait for longer


class NetavarkFinder:
    """`netpy.drivers.Finder` for netavark plugins."""

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def names(self) -> list[str]:
        """Every executable in the directories, asked or not."""
        found: set[str] = set()
        for directory in _directories():
            if directory.is_dir():
                found.update(path.name for path in directory.iterdir() if _runs(path))
        return sorted(found)

    def driver(self, name: str) -> Driver | None:
        """The plugin of that name; Unsupported when it does not answer as plugins do."""
        if "/" in name or name in ("", ".", ".."):
            return None
        path = next((path for each in _directories() if _runs(path := each / name)), None)
        if path is None:
            return None
        try:
            info = Plugin(path=path, limit=min(_INFO, _limit())).ask("info")
        except DriverError as error:
            raise Unsupported(str(error)) from error
        version = str(info.get("api_version", ""))
        if version.partition(".")[0] != "1":
            raise Unsupported(f"netavark plugin {name}: info: speaks version {version or 'none'} of the API, not 1")
        return NetavarkDriver(Plugin(path=path, limit=_limit()), self._defaults)

    def ipam(self, name: str) -> IpamDriver | None:
        """There are none: netavark's plugins make networks."""
        return None


def _directories() -> list[Path]:
    stated = os.environ.get("NETPY_NETAVARK_PLUGINS") or DIRECTORIES
    return [Path(each) for each in stated.split(":") if each.startswith("/")]


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _limit() -> float:
    stated = os.environ.get("NETPY_NETAVARK_TIMEOUT", "")
    try:
        seconds = float(stated or LIMIT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise InvalidArgument(f"NETPY_NETAVARK_TIMEOUT is {stated!r}: say seconds, at most 600")
    return seconds
