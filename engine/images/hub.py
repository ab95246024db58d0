"""Searching a registry's index by the old protocol, v1, which Docker Hub still answers and little else does.

skopeo has no such search, so the one request is made here, with the standard library: GET /v1/search. Which index a
term means is decided as Docker does: `registry:5000/term` names one, anything else is Docker Hub's.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlencode

from engine.images.endpoints import Registries
from netpy.errors import InvalidArgument, KernelError

Json = dict[str, Any]
Check = Callable[[Json], bool]
PATIENCE = 15.0  # seconds
LARGEST = 8 << 20
_FILTERS = frozenset({"is-automated", "is-official", "stars"})
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def search(registries: Registries, term: str, limit: int, filters: Mapping[str, Sequence[str]]) -> list[Json]:
    """The body of GET /images/search, which is the index's own results, filtered. Equivalent: `docker search`."""
    if not 1 <= limit <= 100:
        raise InvalidArgument(f"Limit {limit} is outside the range of [1, 100]")
    checks = _checks(filters)
    base, words = _index(registries, term)
    answer = _get(f"{base}search?{urlencode({'q': words, 'n': limit})}")
    results: object = answer.get("results") or []
    rows = [cast(Json, row) for row in cast(list[object], results) if isinstance(row, dict)]
    return [row for row in rows if all(check(row) for check in checks)]


def _checks(filters: Mapping[str, Sequence[str]]) -> list[Check]:
    """Tests on one result. InvalidArgument, in Docker's words, for a filter that is none."""
    found: list[Check] = []
    for name, values in filters.items():
        if name not in _FILTERS:
            raise InvalidArgument(f"Invalid filter '{name}'")
        for value in values:
            found.append(_stars(value) if name == "stars" else _flag(name, value))
    return found


def _stars(value: str) -> Check:
    if not value.isdecimal():
        raise InvalidArgument(f"Invalid filter 'stars={value}'")
    return lambda row: int(row.get("star_count") or 0) >= int(value)


def _flag(name: str, value: str) -> Check:
    if value not in _TRUE + _FALSE:
        raise InvalidArgument(f"Invalid filter '{name}={value}'")
    return lambda row: bool(row.get(name.replace("-", "_"))) is (value in _TRUE)


def _index(registries: Registries, term: str) -> tuple[str, str]:
    """The address of the index, and what to ask it for."""
    if "://" in term:
        raise InvalidArgument(f"invalid repository name: repository name ({term}) should not have a scheme")
    host, slash, rest = term.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return "https://index.docker.io/v1/", term
    if host in ("docker.io", "index.docker.io"):
        return "https://index.docker.io/v1/", rest
    return _pinged(host, registries.is_secure(host)), rest


def _pinged(host: str, secure: bool) -> str:
    """The address at which a registry answers: with TLS, or without where that is allowed."""
    first = _reach(f"https://{host}/v1/_ping", secure)
    if not first:
        return f"https://{host}/v1/"
    if secure:
        raise KernelError(f'invalid registry endpoint "https://{host}/v1/": {first}')
    second = _reach(f"http://{host}/v1/_ping", secure)
    if second:
        raise KernelError(
            f'invalid registry endpoint "http://{host}/v1/". HTTPS attempt: {first}. HTTP attempt: {second}'
        )
    return f"http://{host}/v1/"


def _reach(url: str, secure: bool) -> str:
    """Why nobody answers at an address; empty when somebody does, whatever he says."""
    try:
        _open(url, verify=secure).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, http.client.HTTPException, ValueError) as failure:
        return f'Get "{url}": {_words(failure)}'
    return ""


def _get(url: str) -> Json:
    try:
        with _open(url, verify=True) as response:
            text = response.read(LARGEST)
    except urllib.error.HTTPError as answer:
        answer.close()
        raise KernelError(f"Unexpected status code {answer.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as failure:
        raise KernelError(f'Get "{url}": {_words(failure)}') from None
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise KernelError(f'Get "{url}": the index answered with something that is not a JSON object')
    return cast(Json, document)


def _open(url: str, *, verify: bool) -> Any:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Accept": "application/json", "X-Docker-Token": "true"})
    return urllib.request.urlopen(request, timeout=PATIENCE, context=context)


def _words(failure: BaseException) -> str:
    reason: object = getattr(failure, "reason", failure)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"dial tcp: {text[0].lower()}{text[1:]}" if isinstance(reason, OSError) else str(text)
