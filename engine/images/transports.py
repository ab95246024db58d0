"""Registries, reached through skopeo: a manifest fetched, an image copied into a directory, failures put into words.

skopeo knows every registry's quirks, proxies, certificates and mirrors (/etc/containers/registries.conf). Its `dir:`
transport keeps manifests and digests as they are, which `oci:` does not. Credentials go through a file that only we
can read, never through the arguments, which everybody sees. This module runs the program; what to fetch, and what to
do with it, is decided in pulling.py.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.images.references import Reference
from netpy.errors import InvalidArgument, KernelError, NetpyError, NotFound, Unsupported

Json = dict[str, Any]
_FATAL = re.compile(r'level=fatal msg=("(?:[^"\\]|\\.)*")')
_REACH = re.compile(r'(?:Get|Head|Post) "?https?://.*', re.DOTALL)
_UNKNOWN = ("manifest unknown", "name unknown", "repository name not known")
_DENIED = (
    "unauthorized",
    "denied:",
    "is denied",
    "authentication required",
    "invalid username/password",
    "403 (forbidden)",
)


@dataclass(frozen=True, slots=True)
class Access:
    """How to speak to one registry: options of skopeo, some of which come before the names they concern."""

    tls_verify: bool
    authfile: Path | None

    def options(self, prefix: str = "") -> list[str]:
        """The options; for copying they begin with `src-`."""
        credentials = [f"--{prefix}no-creds"] if self.authfile is None else [f"--{prefix}authfile", str(self.authfile)]
        return [f"--{prefix}tls-verify={'true' if self.tls_verify else 'false'}", *credentials]


class Copying:
    """skopeo at work. `fileno` becomes readable when it has done."""

    def __init__(self, process: subprocess.Popen[bytes], reference: Reference) -> None:
        self._process = process
        self._reference = reference
        self._pidfd = os.pidfd_open(process.pid)

    def fileno(self) -> int:
        return self._pidfd

    def result(self) -> None:
        """Wait for the end. Raises what `failure` makes of skopeo's complaint."""
        _, complaint = self._process.communicate()
        os.close(self._pidfd)
        if self._process.returncode:
            raise failure(self._reference, complaint.decode(errors="replace"))

    def cancel(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._pidfd)


class Skopeo:
    """The program `skopeo`. Registries on loopback addresses and those in `insecure` need no TLS, as with Docker."""

    def __init__(self, program: str = "skopeo", insecure: tuple[str, ...] = ()) -> None:
        self._program = program
        self._insecure = insecure

    @contextmanager
    def access(self, domain: str, auth: Json | None) -> Generator[Access]:
        """The way to a registry. `auth` is the decoded X-Registry-Auth header: username, password or identitytoken."""
        verify = not (is_loopback(domain) or domain in self._insecure)
        entry = _credentials(auth or {})
        if not entry:
            yield Access(verify, None)
            return
        with tempfile.TemporaryDirectory(prefix="netpy-auth-") as directory:
            path = Path(directory) / "auth.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps({"auths": {domain: entry}}))
            yield Access(verify, path)

    def manifest(self, reference: Reference, access: Access) -> bytes:
        """The manifest or index of a name, as the registry has it. Equivalent: `skopeo inspect --raw docker://NAME`."""
        process = self._start(["inspect", "--raw", *access.options(), f"docker://{reference}"])
        output, complaint = process.communicate()
        if process.returncode:
            raise failure(reference, complaint.decode(errors="replace"))
        return output

    def copy(self, reference: Reference, target: Path, access: Access) -> Copying:
        """Begin to copy an image into a directory. Blobs whose file is there already are not fetched.

        Equivalent: `skopeo copy --preserve-digests docker://NAME dir:TARGET`.
        """
        options = ["copy", "--quiet", "--preserve-digests", *access.options("src-")]
        return Copying(self._start([*options, f"docker://{reference}", f"dir:{target}"]), reference)

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [self._program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise Unsupported(f"{self._program} is not installed: pulling images needs the package skopeo") from None


def is_loopback(domain: str) -> bool:
    """Whether a registry's domain (with or without port) is this machine, where TLS is not asked for."""
    host = domain.rpartition(":")[0] if re.search(r":\d+$", domain) else domain
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def failure(reference: Reference, complaint: str) -> NetpyError:
    """The error that skopeo's complaint amounts to, in Docker's words where it has some."""
    found = _FATAL.search(complaint)
    message: str = json.loads(found[1], strict=False) if found and _is_json(found[1]) else complaint.strip()
    lower = message.lower()
    if any(word in lower for word in _UNKNOWN):
        return NotFound(f"manifest for {reference.familiar} not found: manifest unknown: manifest unknown")
    if any(word in lower for word in _DENIED):
        return NotFound(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied"
        )
    reach = _REACH.search(message)
    return KernelError(reach[0] if reach else f"pulling {reference.familiar}: {message or 'skopeo failed'}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def _credentials(auth: Json) -> Json:
    if auth.get("registrytoken"):
        raise InvalidArgument("registry tokens are not supported: log in with a user name and a password")
    if auth.get("identitytoken"):
        pair = f"{auth.get('username') or '<token>'}:"
        return {"auth": base64.b64encode(pair.encode()).decode(), "identitytoken": auth["identitytoken"]}
    if auth.get("username"):
        pair = f"{auth['username']}:{auth.get('password', '')}"
        return {"auth": base64.b64encode(pair.encode()).decode()}
    return {"auth": auth["auth"]} if auth.get("auth") else {}
