"""Names of images: read, completed and shortened as Docker does it.

A reference is `[domain/]path[:tag][@digest]`. What a user types leaves out `docker.io` and `library`; records hold the
full form, answers show the familiar one. What is well formed is `engine.naming`'s to say; whether an image of that name
exists is the catalogue's business. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from engine import naming
from netpy.errors import InvalidArgument

DEFAULT_TAG = "latest"
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
        return naming.familiar(self.domain, self.path)

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
    try:
        domain, path, tag, digest = naming.taken_apart(text)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    reference = Reference(domain=domain, path=path, tag=tag, digest=digest)
    if reference.digest:
        check_digest(reference.digest)
    return reference


def is_domain(text: str) -> bool:
    """Whether `text` is a registry's host, with or without port."""
    return naming.is_domain(text)


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
