"""Names of images as people write them: `ubuntu`, `localhost:5000/team/app:v1`, `x@sha256:…`.

The grammar is `engine.naming`'s; here is what commands make of it. Pure."""

from __future__ import annotations

from engine.cli.records import record
from engine.naming import familiar, taken_apart


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
        return familiar(self.domain, self.path)

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
    return Reference(*taken_apart(text))
