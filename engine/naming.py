"""The grammar of image names, once, for the daemon and for the command line: `[domain/]path[:tag][@digest]`.

It decides what is well formed, says what is not in Docker's words, and completes what people leave out (`docker.io`,
`library`). It stands in the path of `run`, so it takes names apart by hand: `re`, whose import takes 5 ms, is left to
the rare parts. After github.com/distribution/reference. Pure.
"""

from __future__ import annotations

DEFAULT_DOMAIN, OFFICIAL = "docker.io", "library/"
_LEGACY_DOMAIN = "index.docker.io"
_MAX_NAME = 255
_MAX_TAG = 128

_SMALL = "abcdefghijklmnopqrstuvwxyz0123456789"
_TAG = f"{_SMALL}{_SMALL.upper()}_.-"
_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"


def taken_apart(text: str) -> tuple[str, str, str, str]:
    """(domain, path, tag, digest), the first two in full, the others empty where they were not given.

    Raises ValueError("invalid reference format…").
    """
    name, at, digest = text.partition("@")
    if at and not _matches(_DIGEST, digest):
        raise ValueError("invalid reference format")
    head, slash, last = name.rpartition("/")
    base, colon, tag = last.partition(":")
    if colon and not _is_tag(tag):
        raise ValueError("invalid reference format")
    domain, path = _completed(f"{head}{slash}{base}")
    if path.lower() != path:
        raise ValueError(f"invalid reference format: repository name ({path}) must be lowercase")
    if not all(_is_component(part) for part in path.split("/")):
        raise ValueError("invalid reference format")
    if domain != DEFAULT_DOMAIN and not _matches(_DOMAIN, domain):
        raise ValueError("invalid reference format")
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise ValueError(f"repository name must not be more than {_MAX_NAME} characters")
    return domain, path, tag, digest


def familiar(domain: str, path: str) -> str:
    """The repository as people write it: `busybox` for docker.io and library/busybox."""
    if domain != DEFAULT_DOMAIN:
        return f"{domain}/{path}"
    rest = path.removeprefix(OFFICIAL)
    return rest if "/" not in rest else path


def is_domain(text: str) -> bool:
    """Whether that is a registry's host, with or without port."""
    return _matches(_DOMAIN, text)


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.fullmatch(pattern, text) is not None


def _is_tag(text: str) -> bool:
    return 0 < len(text) <= _MAX_TAG and text[0] not in ".-" and not text.strip(_TAG)


def _is_component(text: str) -> bool:
    """Letters and digits, parted by `.`, `_`, `__` or any number of dashes."""
    dashed = text.split("-")
    if not dashed[0] or not dashed[-1]:
        return False
    words = [word for part in dashed if part for word in part.replace("__", "_").replace("_", ".").split(".")]
    return all(word and not word.strip(_SMALL) for word in words)


def _completed(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, name
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = OFFICIAL + path
    return domain, path
