"""Names of images: read, completed and shortened as Docker does it.

A reference is `[domain/]path[:tag][@digest]`. What a user types leaves out `docker.io` and `library`; records hold the
full form, answers show the familiar one. This module decides what is well formed and says so in Docker's words; whether
an image of that name exists is the catalogue's business. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from netpy.errors import InvalidArgument

DEFAULT_DOMAIN, OFFICIAL, DEFAULT_TAG = "docker.io", "library/", "latest"
_LEGACY_DOMAIN = "index.docker.io"
_MAX_NAME = 255

_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_FULL = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_HOSTS = re.compile(_DOMAIN)
_HEX64 = re.compile(r"[a-f0-9]{64}")
_HEX = re.compile(r"[a-f0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A well-formed name, in full. `tag` and `digest` are empty when they were not given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The repository in full, such as `docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as a user writes it, such as `busybox`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(OFFICIAL)
        return rest if "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        """The reference as a user writes it, such as `busybox:latest`."""
        return self.familiar_name + self._suffix

    def tagged(self) -> Reference:
        """This reference, with the tag `latest` when it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def pinned(self, digest: str) -> Reference:
        """The same repository by digest alone."""
        return replace(self, tag="", digest=digest)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix


def parse(text: str) -> Reference:
    """The reference that `text` means, completed. InvalidArgument, in Docker's words, when it is not one."""
    if _HEX64.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    repository = rest.partition("@")[0].partition(":")[0]
    if repository != repository.lower():
        raise InvalidArgument("invalid reference format: repository name must be lowercase")
    found = _FULL.fullmatch(f"{domain}/{rest}")
    if found is None:
        raise InvalidArgument("invalid reference format")
    if len(domain) + 1 + len(repository) > _MAX_NAME:
        raise InvalidArgument(f"repository name must not be more than {_MAX_NAME} characters")
    reference = Reference(
        domain=found["domain"], path=found["path"], tag=found["tag"] or "", digest=found["digest"] or ""
    )
    if reference.digest:
        check_digest(reference.digest)
    return reference


def is_domain(text: str) -> bool:
    """Whether `text` is a registry's host, with or without port."""
    return _HOSTS.fullmatch(text) is not None


def check_digest(digest: str) -> str:
    """`digest` itself. InvalidArgument unless it is a sha256 digest, the only kind in use."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256":
        raise InvalidArgument(f"unsupported digest algorithm in {digest!r}")
    if not _HEX64.fullmatch(value):
        raise InvalidArgument("invalid checksum digest format")
    return digest


def id_prefix(text: str) -> str:
    """The hex digits when `text` may be an image id or the beginning of one, else the empty string."""
    digits = text.removeprefix("sha256:")
    return digits if _HEX.fullmatch(digits) and len(digits) <= 64 else ""


def is_image_id(text: str) -> bool:
    """Whether `text` is a whole image id, with or without `sha256:`: such text is never a name."""
    return _HEX64.fullmatch(text.removeprefix("sha256:")) is not None


def with_tag(name: str, tag: str) -> str:
    """`name` and `tag` as the API passes them apart: a tag that is a digest is joined by `@`."""
    if not tag:
        return name
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or (not set(".:") & set(first) and first != "localhost" and first.lower() == first):
        domain, rest = DEFAULT_DOMAIN, text
    else:
        domain = first
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = OFFICIAL + rest
    return domain, rest
