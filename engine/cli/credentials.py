"""Passwords of registries, where Docker's own command keeps them: config.json, or a program that it names there.

Decides whose word counts for a registry (`credHelpers`, then `credsStore`, then `auths`), reads and writes
$DOCKER_CONFIG/config.json without touching what else is in it, and speaks the protocol of docker-credential-* programs.
Does I/O on that file and with those programs only.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from pathlib import Path

from engine.cli.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB_DOMAIN, HUB = "docker.io", "https://index.docker.io/v1/"


class CredentialError(ValueError):
    """Passwords could not be read or kept; says where."""


@record
class Credential:
    """What to show a registry: a user name with a password, or an identity token."""

    server: str
    username: str = ""
    password: str = ""
    token: str = ""

    @property
    def document(self) -> dict[str, str]:
        """The AuthConfig that the API takes."""
        pairs = {"username": self.username, "password": self.password, "identitytoken": self.token}
        return {**{key: value for key, value in pairs.items() if value}, "serveraddress": self.server}


def path() -> Path:
    """Where config.json is: in $DOCKER_CONFIG, else in ~/.docker."""
    home = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    return home.absolute() / "config.json"


def key(domain: str) -> str:
    """Under which name a registry's password is kept; Docker Hub has an old one."""
    return HUB if domain in ("", HUB_DOMAIN, "index.docker.io", "registry-1.docker.io", HUB) else domain


def header(domain: str) -> dict[str, str]:
    """X-Registry-Auth for a registry; empty without a password for it, and, with a warning, when none can be read."""
    try:
        found = lookup(key(domain))
    except CredentialError as error:
        print(f"WARNING: Error {error}", file=sys.stderr)
        return {}
    return {"X-Registry-Auth": encoded(found.document)} if found else {}


def config_header() -> dict[str, str]:
    """X-Registry-Config: all that is kept, for a build, which may pull from anywhere."""
    known: dict[str, Any] = {}
    try:
        config = _read()
        for server in dict.fromkeys([*_section(config, "auths"), *_section(config, "credHelpers")]):
            if found := lookup(server):
                known[server] = found.document
    except CredentialError as error:
        print(f"WARNING: Error {error}", file=sys.stderr)
    return {"X-Registry-Config": encoded(known)}


def encoded(document: dict[str, Any]) -> str:
    """base64url of a JSON document."""
    return urlsafe_b64encode(json.dumps(document).encode()).decode()


def lookup(server: str) -> Credential | None:
    """The password that is kept for a registry, by its key. Raises CredentialError."""
    config = _read()
    program = _helper(config, server)
    if program:
        from engine.cli.helper_programs import get

        return get(program, server)
    entries = _section(config, "auths")
    matching = [name for name in entries if _host(name) == _host(server)]
    name = server if server in entries else next(iter(matching), "")
    return _decoded(server, entries[name]) if name else None


def store(found: Credential) -> str:
    """Keep a password. The file it now stands in unencrypted, if it was not there before; else the empty string."""
    config = _read()
    program = _helper(config, found.server)
    if program:
        from engine.cli.helper_programs import put

        put(program, found)
        _write(config | {"auths": {**_section(config, "auths"), found.server: {}}})
        return ""
    entries = _section(config, "auths")
    entry = _entry(found)
    if entries.get(found.server) == entry:
        return ""
    _write(config | {"auths": dict(sorted({**entries, found.server: entry}.items()))})
    return str(path())


def erase(server: str) -> None:
    """Forget a password."""
    config = _read()
    program = _helper(config, server)
    if program:
        from engine.cli.helper_programs import erase as forget

        forget(program, server)
    entries = _section(config, "auths")
    left = {name: entry for name, entry in entries.items() if _host(name) != _host(server)}
    if left != entries:
        _write(config | {"auths": left})


def _helper(config: dict[str, Any], server: str) -> str:
    """The program that keeps a registry's password: `pass` for docker-credential-pass; empty for the file itself."""
    helpers = _section(config, "credHelpers")
    name = helpers.get(server) or helpers.get(_host(server)) or config.get("credsStore")
    return str(name or "")


def _read() -> dict[str, Any]:
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise CredentialError(f"loading config file: {path()}: {error}") from error
    if not isinstance(document, dict):
        raise CredentialError(f"loading config file: {path()}: not a JSON object")
    return document  # pyright: ignore[reportUnknownVariableType]


def _write(config: dict[str, Any]) -> None:
    """Replace the file in one step; a symbolic link stays one. Only its owner may read it."""
    target = path().resolve()
    text = json.dumps(config, indent="\t", ensure_ascii=False)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        partial.replace(target)
    except OSError as error:
        raise CredentialError(f"error saving credentials: {error.strerror}: {target}") from error


def _entry(found: Credential) -> dict[str, str]:
    if found.token:
        pair = f"{found.username}:"
        return {"auth": b64encode(pair.encode()).decode(), "identitytoken": found.token}
    return {"auth": b64encode(f"{found.username}:{found.password}".encode()).decode()}


def _decoded(server: str, entry: Any) -> Credential | None:
    fields = _section({"entry": entry}, "entry")
    try:
        pair = b64decode(str(fields.get("auth") or ""), validate=True).decode()
    except ValueError as error:
        raise CredentialError(f"invalid auth configuration file: {path()}: {server}") from error
    username, _, password = pair.partition(":")
    username, password = (
        username or str(fields.get("username") or ""),
        password.strip("\0") or fields.get("password", ""),
    )
    token = str(fields.get("identitytoken") or "")
    if not (username or token):
        return None
    return Credential(server, username, "" if token else str(password), token)


def _host(server: str) -> str:
    """The host of a key, which older clients kept as a URL."""
    if server == HUB:
        return HUB_DOMAIN
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
