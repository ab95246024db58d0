"""Where an image or a tree comes from: `FROM x`, `--from=x`. A stage that is done, an image that is here, or a pull.

Decides which of them a word means; the pull is the images' business, and its progress goes to whoever builds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.build import stages
from engine.build.bench import Bench
from engine.build.trees import Tree
from engine.images import references
from engine.images.endpoints import HUB
from engine.naming import DEFAULT_DOMAIN
from netpy.errors import InvalidArgument, NetpyError, NotFound

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where to copy from: the context (`tree`), or an image, by its id; empty for `FROM scratch` without a step."""

    tree: Tree | None = None
    image: str = ""


def origin(bench: Bench, word: str) -> Origin:
    """What a `--from` means. InvalidArgument, with the word, when there is no such stage or image."""
    if not word:
        return Origin(tree=bench.context)
    try:
        index = stages.find([stage.name for stage in bench.done], word)
        if index is not None:
            return Origin(image=bench.done[index].image)
        for _ in fetched(bench, word):
            pass
        return Origin(image=bench.shop.images.resolve(word).id)
    except NetpyError as error:
        raise InvalidArgument(f"invalid from flag value {word}: {error}") from error


def fetched(bench: Bench, name: str, platform: str = "") -> Iterator[Json]:
    """Have an image here: pulled if it is missing or a pull was asked for. Yields the pull's progress."""
    images = bench.shop.images
    if not bench.options.pull:
        try:
            images.resolve(name)
            return
        except NotFound:
            pass
    wanted = references.parse(name)
    yield from images.pull(name, auth=_auth(bench.options.auths, wanted.domain), platform=platform)


def _auth(auths: Json, domain: str) -> Json | None:
    """The credentials for a registry among those that the client sent along."""
    for key in (domain, f"https://{domain}", HUB if domain == DEFAULT_DOMAIN else ""):
        if key and isinstance(auths.get(key), dict):
            return auths[key]
    return None
