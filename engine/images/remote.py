"""An archive at a URL, for `docker import URL`: opened, read as it comes, bounded in time while nothing does.

Imported when asked for: HTTP by the standard library, with TLS, is 2 MB of a daemon's memory.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO, cast

from netpy.errors import InvalidArgument, KernelError

_PATIENCE = 60.0  # seconds without a byte


def address(text: str) -> str:
    """The URL that a source means: without a scheme it is one of http. InvalidArgument for other schemes."""
    scheme, found, _ = text.partition("://")
    if not found:
        return f"http://{text}"
    if scheme.lower() not in ("http", "https"):
        raise InvalidArgument(f'Get "{text}": unsupported protocol scheme "{scheme}"')
    return text


@contextmanager
def opened(url: str) -> Generator[BinaryIO]:
    """What is there, to be read. KernelError in Docker's words when it cannot be had."""
    try:
        answer = cast("http.client.HTTPResponse", urllib.request.urlopen(url, timeout=_PATIENCE))
    except urllib.error.HTTPError as error:
        raise KernelError(f"failed to GET {url} with status {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = str(getattr(reason, "strerror", None) or reason).lower()
        raise KernelError(f'Get "{url}": {why}') from None
    with answer:
        yield cast(BinaryIO, answer)
