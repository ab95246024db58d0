"""Where Docker's plugins are: sockets, and files that tell an address.

In order: NAME.sock or NAME/NAME.sock below the directories of sockets; then, directory by directory, NAME.spec (a URL
on one line) and NAME.json (address and TLS settings). Docker's directories come first, then netpy's own. The variables
NETPY_PLUGIN_SOCKETS and NETPY_PLUGIN_SPECS, directories separated by colons, take their place.

Reads directories and small files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from netpy.errors import DriverError

SOCKETS = (Path("/run/docker/plugins"), Path("/run/netpy/plugins"))
SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SCHEMES = ("unix", "tcp", "http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """A plugin's TLS settings. Empty paths: none; `insecure` skips the check of its certificate."""

    insecure: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a plugin listens: a socket's `path`, or `host` and `port`, with TLS or without. `origin` told it."""

    origin: Path
    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories to search."""

    sockets: tuple[Path, ...] = SOCKETS
    specs: tuple[Path, ...] = SPECS

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Places:
        """The usual directories, or those that the environment names."""
        return cls(
            sockets=_paths(environment.get("NETPY_PLUGIN_SOCKETS", "")) or SOCKETS,
            specs=_paths(environment.get("NETPY_PLUGIN_SPECS", "")) or SPECS,
        )

    def names(self) -> list[str]:
        """Every name that there is a file for, sorted."""
        found: set[str] = set()
        for directory in self.sockets:
            found.update(path.stem for path in directory.glob("*.sock"))
            found.update(path.stem for path in directory.glob("*/*.sock") if path.stem == path.parent.name)
        for directory in self.specs:
            found.update(path.stem for kind in ("*.spec", "*.json") for path in directory.glob(kind))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def find(self, name: str) -> Address | None:
        """The plugin's address; None where there is no file. DriverError for a file that tells none."""
        if not _NAME.fullmatch(name):
            return None
        for path in self._candidates(name):
            if path.suffix == ".sock" and path.is_socket():
                return Address(origin=path, path=str(path))
            if path.suffix != ".sock" and path.is_file():
                return _told(path)
        return None

    def __str__(self) -> str:
        return ", ".join(str(path) for path in (*self.sockets, *self.specs))

    def _candidates(self, name: str) -> Iterator[Path]:
        for directory in self.sockets:
            yield directory / f"{name}.sock"
            yield directory / name / f"{name}.sock"
        for directory in self.specs:
            yield directory / f"{name}.spec"
            yield directory / f"{name}.json"


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(":") if part)


def _told(path: Path) -> Address:
    """The address that a .spec or a .json file tells."""
    try:
        text = path.read_text()
        return address(text.strip(), path) if path.suffix == ".spec" else _described(json.loads(text), path)
    except (OSError, ValueError) as error:
        raise DriverError(f"plugin {path.stem}: {path}: {error}") from error


def _described(document: object, path: Path) -> Address:
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    fields = {str(key).lower(): value for key, value in cast("dict[str, Any]", document).items()}
    settings = fields.get("tlsconfig")
    tls = _tls(cast("dict[str, Any]", settings)) if isinstance(settings, dict) else None
    return address(str(fields.get("addr", "")), path, tls)


def _tls(settings: Mapping[str, Any]) -> Tls:
    fields = {key.lower(): value for key, value in settings.items()}
    return Tls(
        insecure=fields.get("insecureskipverify") is True,
        authority=str(fields.get("cafile") or ""),
        certificate=str(fields.get("certfile") or ""),
        key=str(fields.get("keyfile") or ""),
    )


def address(url: str, origin: Path, tls: Tls | None = None) -> Address:
    """The address in a URL; ValueError says what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"unknown protocol in {url!r}: it has to be {', '.join(_SCHEMES)}")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError(f"no path in {url!r}")
        return Address(origin=origin, path=parts.path)
    secure = tls or (Tls() if parts.scheme == "https" else None)
    port = parts.port or (443 if secure else 80)
    if not parts.hostname:
        raise ValueError(f"no host in {url!r}")
    return Address(origin=origin, host=parts.hostname, port=port, tls=secure)
