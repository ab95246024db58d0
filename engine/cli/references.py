"""Names of images as people write them: `ubuntu`, `localhost:5000/team/app:v1`, `x@sha256:…`. Pure."""

from __future__ import annotations

from engine.cli.records import record

_SMALL = "abcdefghijklmnopqrstuvwxyz0123456789"
_TAG = f"{_SMALL}{_SMALL.upper()}_.-"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"


@record
class Reference:
    """An image's name taken apart. `path` has the `library/` that official images carry."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The name in full: `docker.io/library/ubuntu`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The name as people write it: `ubuntu`."""
        return self.path.removeprefix("library/") if self.domain == "docker.io" else self.repository

    @property
    def version(self) -> str:
        """What the API calls the tag: the digest if there is one, else the tag, else latest."""
        return self.digest or self.tag or "latest"

    def named(self, *, full: bool = False) -> str:
        """With its tag or digest: `ubuntu:latest`, in full `docker.io/library/ubuntu:latest`."""
        separator = "@" if self.digest else ":"
        return f"{self.repository if full else self.familiar}{separator}{self.version}"


def reference(text: str) -> Reference:
    """Raises ValueError("invalid reference format…") for what can be no image."""
    name, at, digest = text.partition("@")
    if at and not _matches(r"[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,}", digest):
        raise ValueError("invalid reference format")
    head, slash, last = name.rpartition("/")
    base, colon, tag = last.partition(":")
    if colon and not _is_tag(tag):
        raise ValueError("invalid reference format")
    domain, path = _domain(f"{head}{slash}{base}")
    if path.lower() != path:
        raise ValueError(f"invalid reference format: repository name ({path}) must be lowercase")
    if not all(_is_component(part) for part in path.split("/")):
        raise ValueError("invalid reference format")
    if domain != "docker.io" and not _matches(_DOMAIN, domain):
        raise ValueError("invalid reference format")
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _matches(pattern: str, text: str) -> bool:
    """The rare parts are left to `re`, whose import takes 5 ms."""
    import re

    return re.fullmatch(pattern, text) is not None


def _is_tag(text: str) -> bool:
    return 0 < len(text) <= 128 and text[0] not in ".-" and not text.strip(_TAG)


def _is_component(text: str) -> bool:
    """Letters and digits, parted by `.`, `_`, `__` or any number of dashes."""
    dashed = text.split("-")
    if not dashed[0] or not dashed[-1]:
        return False
    words = [word for part in dashed if part for word in part.replace("__", "_").replace("_", ".").split(".")]
    return all(word and not word.strip(_SMALL) for word in words)


def _domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, rest
    else:
        domain, path = "docker.io", name
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and path and "/" not in path:
        path = f"library/{path}"
    return domain, path
