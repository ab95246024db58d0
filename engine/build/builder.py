"""The builder: a context and a Dockerfile into an image, step by step, as a stream of progress.

What can be refused before the first step is refused when a build is made; everything later is told in the stream. Each
step ends in an image of its own, which the next one, or another build, may stand on. A build that fails or is
cancelled leaves the images of the steps that were done, as Docker does, and nothing of the step under way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

from engine.build import context, metadata, progress, squashing, syntax
from engine.build.arguments import Arguments
from engine.build.bench import Bench, Cancellation, Done, Scene, Workshop
from engine.build.context import Upload
from engine.build.dockerfile import Instruction, parse
from engine.build.options import BuildOptions
from engine.build.origins import fetched
from engine.build.stages import Recipe, Stage, recipe
from engine.build.steps import perform
from engine.images import references, words
from netpy.errors import InvalidArgument

Json = dict[str, Any]


class Build:
    """A build under way: iterate for its progress. `close` gives it up and removes what it was about to make.

    The iteration raises what made the build fail; what was told before stays told.
    """

    def __init__(self, steps: Iterator[Json], resources: ExitStack, cancellation: Cancellation) -> None:
        self._steps = steps
        self._resources = resources
        self._cancellation = cancellation

    def __iter__(self) -> Build:
        return self

    def __next__(self) -> Json:
        return next(self._steps)

    def cancel(self) -> None:
        """From another thread: nobody waits for it any more."""
        self._cancellation.cancel()

    def close(self) -> None:
        """In the thread that iterates: end, and give back what the build held."""
        self._cancellation.cancel()
        close = getattr(self._steps, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._resources.close()


class Builder:
    """Builds images. Several builds may be under way at once."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    def build(self, upload: Upload, options: BuildOptions) -> Build:
        """Begin a build. InvalidArgument when context, Dockerfile or options make no sense; nothing is left then."""
        _check(options)
        with ExitStack() as resources:
            found = context.receive(self._shop.images, upload, options.dockerfile, resources)
            dockerfile = parse(found.dockerfile, options.dockerfile)
            wanted = recipe(dockerfile, target=options.target, labels=options.labels)
            bench = Bench(
                shop=self._shop,
                options=options,
                arguments=Arguments(options.arguments),
                context=found.tree,
                escape=wanted.escape,
                allowed=self._shop.cache.lineage(options.cache_from),
            )
            steps = _Steps(bench, wanted).all()
            return Build(_quiet(steps) if options.quiet else steps, resources.pop_all(), bench.cancellation)
        raise AssertionError("unreachable")

    def prune(self) -> Json:
        """The body of POST /build/prune. Intermediate images belong to `image prune`, as in Docker's classic builder;
        what is the builder's alone, and what goes here, are cache mounts and entries that lead nowhere."""
        self._shop.cache.prune()
        return {"CachesDeleted": None, "SpaceReclaimed": context.emptied(self._shop.keep)}


class _Steps:
    """One build's steps, counted."""

    def __init__(self, bench: Bench, wanted: Recipe) -> None:
        self._bench = bench
        self._recipe = wanted
        self._number = 0

    def all(self) -> Iterator[Json]:
        bench, options = self._bench, self._bench.options
        for text in self._recipe.warnings:
            yield progress.complained(f"{text}\n")
        for instruction in self._recipe.arguments:
            yield from self._told(instruction)
            visible = bench.arguments.for_from
            for name, default in metadata.declared(instruction, visible, bench.escape).items():
                bench.arguments.declare_global(name, default)
        base = image = ""
        for stage in self._recipe.stages:
            base, image = yield from self._stage(stage)
        if not image:
            raise InvalidArgument("No image was generated. Is your Dockerfile empty?")
        if options.squash:
            image = squashing.squashed(bench.shop.images, base, image)
            yield progress.stage_done(image)
        if names := bench.arguments.unconsumed():
            yield progress.unconsumed(names)
        yield progress.built(image)
        for tag in options.tags:
            name = references.parse(tag).tagged()
            bench.shop.images.tag(image, str(name))
            yield progress.tagged(name.familiar)

    def _told(self, instruction: Instruction) -> Iterator[Json]:
        self._number += 1
        yield from progress.step(self._number, self._recipe.length, instruction.text)

    def _stage(self, stage: Stage) -> Generator[Json, None, tuple[str, str]]:
        """One stage; the image it began with, and the one it led to."""
        bench = self._bench
        bench.cancellation.check()
        bench.arguments.begin_stage()
        yield from self._told(stage.start)
        base = yield from _based(bench, stage)
        scene = _opening(bench, base)
        yield from _triggered(bench, scene)
        yield progress.arrived(scene.image)
        for instruction in stage.steps:
            yield from self._told(instruction)
            yield from perform(bench, scene, instruction)
            yield progress.arrived(scene.image)
        if scene.image:
            yield progress.stage_done(scene.image)
        bench.done.append(Done(name=stage.name, image=scene.image))
        return base, scene.image


def _based(bench: Bench, stage: Stage) -> Generator[Json, None, str]:
    """The image that a stage begins with, fetched if need be; its id, empty for scratch."""
    variables = bench.arguments.for_from
    name = words.expand(stage.base, variables, bench.escape)
    platform = words.expand(stage.start.flag("platform"), variables, bench.escape)
    if not name:
        raise InvalidArgument(f"base name ({stage.base}) should not be blank")
    if name == "scratch":
        return ""
    for done in reversed(bench.done):
        if done.name and done.name == name.lower():
            return done.image
    # What the host is stands for "the platform of the build" in the names that BuildKit knows.
    yield from fetched(bench, name, bench.options.platform if platform.startswith("$") else platform)
    return bench.shop.images.resolve(name).id


def _opening(bench: Bench, base: str) -> Scene:
    image = bench.shop.images.resolve(base) if base else None
    found: Json = (image.config.get("config") or {}) if image else {}
    return Scene(
        image=base, config=metadata.with_path(found), author=str(image.config.get("author") or "") if image else ""
    )


def _triggered(bench: Bench, scene: Scene) -> Iterator[Json]:
    """What the base image asked to be done whenever something is built on it."""
    texts: list[str] = scene.config.get("OnBuild") or []
    scene.config = {**scene.config, "OnBuild": None}
    if not texts:
        return
    yield from progress.triggers(len(texts))
    for text in texts:
        yield from perform(bench, scene, syntax.trigger(text, 1, words.BACKSLASH))


def _quiet(steps: Iterator[Json]) -> Iterator[Json]:
    """The id of the image alone."""
    image = ""
    for message in steps:
        if aux := message.get("aux"):
            image = str(aux["ID"])
    yield progress.said(f"{image}\n")


def _check(options: BuildOptions) -> None:
    for tag in options.tags:
        if references.parse(tag).digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
