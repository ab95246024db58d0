"""Credentials that come in a request's headers: base64url of JSON, decoded. No I/O."""

from __future__ import annotations

import base64
import binascii

from engine.api.decode import as_object, loads
from engine.api.request import Request
from engine.model import Json
from netpy.errors import InvalidArgument


def of_registry(request: Request) -> Json | None:
    """X-Registry-Auth: username, password, serveraddress, or identitytoken. None without any."""
    return _decoded(request, "X-Registry-Auth") or None


def by_registry(request: Request) -> Json:
    """X-Registry-Config, which a build brings: such credentials by the registry's name."""
    return _decoded(request, "X-Registry-Config")


def _decoded(request: Request, header: str) -> Json:
    text = request.headers.get(header.lower(), "")
    if not text:
        return {}
    try:
        plain = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
        return as_object(loads(plain or b"{}")) if plain.strip() != b"null" else {}
    except (binascii.Error, ValueError):
        raise InvalidArgument(f"invalid {header} header: base64url of a JSON object is wanted") from None
