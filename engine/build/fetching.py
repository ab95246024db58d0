"""What a build takes from the network itself: files for ADD, and contexts given as a URL, a tar or a git repository.

HTTP by the standard library; repositories by the program git, shallow. Bounded in time while nothing comes.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import posixpath
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
from pathlib import Path

from netpy.errors import InvalidArgument, Unsupported

_PATIENCE = 60.0
_CHUNK = 1 << 18
_GIT = re.compile(r"(git://|git@|github\.com/|https?://[^#]*\.git(#|$))")


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def is_repository(text: str) -> bool:
    """Whether a context is a git repository, by Docker's rules: its scheme, or `.git` at the end of the path."""
    return _GIT.match(text) is not None


def download(url: str, directory: Path, *, checksum: str = "") -> Path:
    """Fetch a file into a directory, under the last part of the URL's path, with mode 600 and the server's time.

    InvalidArgument when the URL names no file, the server refuses, or the content is not what `checksum` says.
    """
    # With TLS, 2 MB of memory that few daemons need.
    from http.client import HTTPException
    from urllib.request import urlopen

    name = posixpath.basename(urllib.parse.urlsplit(url).path)
    if not name:
        raise InvalidArgument(f"cannot determine filename for source {url}")
    place = directory / name
    digest = hashlib.sha256()
    try:
        with urlopen(url, timeout=_PATIENCE) as answer, open(place, "wb") as target:
            while piece := answer.read(_CHUNK):
                digest.update(piece)
                target.write(piece)
            stamp = answer.headers.get("Last-Modified") or ""
    except (OSError, HTTPException, ValueError) as error:
        raise InvalidArgument(f'Get "{url}": {_reason(error)}') from None
    if checksum and checksum != f"sha256:{digest.hexdigest()}":
        raise InvalidArgument(f"digest mismatch sha256:{digest.hexdigest()}: {checksum}")
    place.chmod(0o600)
    when = _seconds(stamp)
    os.utime(place, (when, when))
    return place


def clone(url: str, directory: Path) -> Path:
    """A git repository's files, at `#ref:subdirectory` if the URL ends so; the directory that is the context."""
    if shutil.which("git") is None:
        raise Unsupported("a context in a git repository needs the program git: install the package git")
    address, _, fragment = url.partition("#")
    ref, _, inside = fragment.partition(":")
    if address.startswith("github.com/"):
        address = f"https://{address}"
    place = directory / "repository"
    _git("init", "-q", str(place))
    _fetch(place, address, ref or "HEAD")
    _git("-C", str(place), "checkout", "-q", "--recurse-submodules", "FETCH_HEAD")
    shutil.rmtree(place / ".git")
    found = Path(os.path.realpath(place / inside.lstrip("/")))  # noqa: PTH118 - links inside must not lead out
    if not found.is_relative_to(place) or not found.is_dir():
        raise InvalidArgument(f"error initializing submodules or subdirectory: {inside!r} is no directory of {address}")
    return found


def _fetch(place: Path, address: str, ref: str) -> None:
    """One commit where the server can give one; a server that only hands out files has to give all."""
    fetch = ("-C", str(place), "fetch", "-q")
    try:
        _git(*fetch, "--depth", "1", "--end-of-options", address, ref)
    except InvalidArgument as error:
        if "dumb http transport" not in str(error):
            raise
        _git(*fetch, "--end-of-options", address, ref)


def _git(*arguments: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise InvalidArgument(f"unable to 'git clone' to temporary context directory: {done.stderr.strip()}")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason).lower()


def _seconds(stamp: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(stamp).timestamp()
    except (ValueError, TypeError):
        return 0.0
