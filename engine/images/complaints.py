"""What skopeo says when it fails, turned into the errors and words that Docker has for it. Pure.

skopeo is written in Go as Docker is, so that the words of the network and of TLS are the same already; they only have
to be found between the names of the steps that skopeo puts before them.
"""

from __future__ import annotations

import json
import re

from engine.images.endpoints import Endpoint
from engine.images.references import Reference
from netpy.errors import Forbidden, InvalidArgument, KernelError, NetpyError, NotFound

_FATAL = re.compile(r'level=fatal msg=("(?:[^"\\]|\\.)*")')
_REACH = re.compile(r'(?:Get|Head|Post|Put|Patch) "?https?://.*', re.DOTALL)
_STEPS = (
    "parsing image name",
    "initializing source",
    "reading manifest",
    "reading blob",
    "reading config blob",
    "writing blob",
    "writing manifest",
    "copying config",
    "copying layer",
    "copying system image",
    "determining manifest mime type",
    "uploading manifest",
    "uploading layer",
    "authenticating creds for",
    "logging into",
    "listing repository tags",
    "fetching tags list",
    "pinging container registry",
    "trying to reuse blob",
    "initiating layer upload",
    "loading manifest for",
)
_UNKNOWN = ("manifest unknown", "name unknown", "repository name not known")
_DENIED = (
    "unauthorized",
    "denied:",
    "authentication required",
    "invalid username/password",
    "403 (forbidden)",
)
_WORDS = re.compile(r"(?:unauthorized|denied): .*", re.IGNORECASE)
_DENIAL = "denied: requested access to the resource is denied"
_LATE = ("context deadline exceeded", "signal: killed")


class Unauthorized(Forbidden):
    """The registry does not know these credentials."""


def message(complaint: str) -> str:
    """The message in skopeo's last words, without the names of its steps."""
    found = _FATAL.search(complaint)
    text: str = json.loads(found[1], strict=False) if found and _is_json(found[1]) else complaint.strip()
    parts = text.split(": ")
    while len(parts) > 1 and parts[0].lower().removeprefix("error ").startswith(_STEPS):
        parts.pop(0)
    return ": ".join(parts) or "skopeo failed"


def pulling(reference: Reference, endpoint: Endpoint, complaint: str) -> NetpyError:
    """Why an image could not be had."""
    text = message(complaint)
    lower = text.lower()
    if any(word in lower for word in _UNKNOWN):
        return NotFound(f"manifest for {reference.familiar} not found: manifest unknown: manifest unknown")
    if _is_denial(text):
        return NotFound(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {_DENIAL}"
        )
    return _unsound(reference, lower) or _unreachable("pulling", reference, endpoint, text)


def listing(reference: Reference, endpoint: Endpoint, complaint: str) -> NetpyError:
    """Why the tags of a repository could not be listed."""
    if "404 (not found)" in complaint.lower():
        return NotFound(
            f"repository {reference.familiar_name} not found: name unknown: repository name not known to registry"
        )
    return pulling(reference, endpoint, complaint)


def pushing(reference: Reference, endpoint: Endpoint, complaint: str) -> NetpyError:
    """Why an image could not be brought to its registry."""
    text = message(complaint)
    if _is_denial(text):
        unknown = "unauthorized" in text.lower() or "authentication required" in text.lower()
        usual = "unauthorized: authentication required" if unknown else _DENIAL
        words = _WORDS.search(text)
        return Unauthorized(words[0] if words else usual)
    return _unreachable("pushing", reference, endpoint, text)


def login(endpoint: Endpoint, complaint: str) -> NetpyError:
    """Why credentials could not be checked, or were refused."""
    text = message(complaint)
    if _is_denial(text):
        return Unauthorized(f"login attempt to {endpoint.base} failed with status: 401 Unauthorized")
    found = _reached(endpoint, text)
    return KernelError(found or f"login attempt to {endpoint.base} failed: {text}")


def _is_denial(text: str) -> bool:
    lower = text.lower()
    return lower.endswith("denied") or any(word in lower for word in _DENIED)


def _unsound(reference: Reference, lower: str) -> NetpyError | None:
    """What a registry that lies gets to hear."""
    if "does not match provided manifest digest" in lower or "manifest digest" in lower:
        return InvalidArgument(f"manifest verification failed for digest {reference.digest or reference.familiar}")
    found = re.search(r"digest did not match, expected (sha256:[0-9a-f]{64})", lower)
    if found:
        return InvalidArgument(f"filesystem layer verification failed for digest {found[1]}")
    return None


def _unreachable(doing: str, reference: Reference, endpoint: Endpoint, text: str) -> NetpyError:
    return KernelError(_reached(endpoint, text) or f"{doing} {reference.familiar}: {text}")


def _reached(endpoint: Endpoint, text: str) -> str:
    """Go's own words for a failed request; empty when it is something else."""
    if any(word in text for word in _LATE):
        late = (
            "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)"
        )
        return f'Get "{endpoint.base}": {late}'
    found = _REACH.search(text)
    return found[0] if found else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True
