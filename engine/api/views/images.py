"""Images as `docker images` and `docker image inspect` show them, at the version a client asked for. Pure."""

from __future__ import annotations

from engine.model import Json

NO_VIRTUAL_SIZE = (1, 44)
"""From this version on nothing repeats Size under the name of VirtualSize."""
NO_CONTAINER = (1, 45)
"""From this version on an image does not tell of the container that it was committed from."""


def shown(image: Json, version: tuple[int, int]) -> Json:
    """The document, without what the version no longer has."""
    gone = {"VirtualSize"} if version >= NO_VIRTUAL_SIZE else set[str]()
    gone |= {"Container", "ContainerConfig"} if version >= NO_CONTAINER else set()
    return {key: value for key, value in image.items() if key not in gone}
