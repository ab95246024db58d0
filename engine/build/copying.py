"""COPY and ADD: files from the context, an earlier stage, an image, a URL or the Dockerfile itself, as a layer.

What is to be copied is found first, and known by its digest; only when the cache does not have it is the image mounted
and written to, by a process that sees nothing else (engine/trees). Decides names, owners and modes.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tarfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from engine.build import fetching, history, owners, progress, syntax, trees
from engine.build.bench import Bench, Scene, commit, probe
from engine.build.dockerfile import Instruction
from engine.build.origins import origin
from engine.build.trees import Missing, Source, Tree
from engine.images import changes, words
from engine.images.workspace import Workspace, workspace
from engine.trees import child
from engine.trees.compression import Malformed
from engine.trees.extracting import Forward
from engine.trees.filling import fill
from netpy.errors import InvalidArgument, NetpyError, Unsupported

Json = dict[str, Any]
_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one word brings: sources below one root. `archive` tells that such may be taken apart."""

    root: Path
    sources: Sequence[Source]
    archive: bool = False


def copy(bench: Bench, scene: Scene, instruction: Instruction) -> Iterator[Json]:
    """Carry the step out. InvalidArgument begins with `COPY failed` where files are at fault."""
    _refuse_unsupported(instruction)
    variables = {**bench.arguments.visible(), **changes.environment(scene.config)}
    expanded = [words.expand(word, variables, bench.escape) for word in syntax.sources(instruction)]
    chown = words.expand(instruction.flag("chown"), variables, bench.escape)
    destination = _destination(scene.config.get("WorkingDir") or "/", expanded[-1])
    mode = _mode(words.expand(instruction.flag("chmod"), variables, bench.escape))
    with contextlib.ExitStack() as opened:
        loads = _loads(bench, instruction, expanded[:-1], variables, opened)
        found = [source for load in loads for source in load.sources]
        _check(instruction, found, destination)
        digest = trees.combined([source.digest for source in found])
        flags = (f"--chown={chown}" if chown else "") + (f"--chmod={mode:o}" if mode is not None else "")
        comment = f"{instruction.keyword} {flags}{digest} in {destination} "
        told = {**scene.config, "Cmd": history.marked_files(scene.config, comment)}
        if probe(bench, scene, told):
            yield progress.cached()
            return
        with workspace(bench.shop.images, scene.image) as space:
            owner = owners.owner(space.root, chown)
            for load in loads:
                _write(space, load, destination, owner, mode)
            commit(bench, scene, told, upper=space.upper)


def _refuse_unsupported(instruction: Instruction) -> None:
    for name in ("parents", "exclude", "keep-git-dir"):
        if name in instruction.flags:
            raise Unsupported(f"{instruction.keyword} --{name} is not supported")


def _destination(working: str, path: str) -> str:
    """The destination, absolute; a slash at its end, which asks for a directory, stays."""
    clean = posixpath.normpath(posixpath.join("/", working, path))
    return clean + "/" if path.endswith("/") and clean != "/" else clean.replace("//", "/")


def _mode(text: str) -> int | None:
    if not text:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise InvalidArgument(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
    return mode


def _loads(
    bench: Bench,
    instruction: Instruction,
    names: Sequence[str],
    variables: dict[str, str],
    opened: contextlib.ExitStack,
) -> list[Load]:
    keyword = instruction.keyword
    tree: Tree | None = None
    documents = {f"<<{each.name}": each for each in instruction.heredocs}
    found: list[Load] = []
    for name in names:
        bare = name.replace("<<-", "<<")
        if bare in documents:
            document = documents[bare]
            text = words_in(document.content, variables, bench.escape) if document.expand else document.content
            found.append(_written(opened.enter_context(bench.shop.images.scratch()), document.name, text))
        elif keyword == "ADD" and fetching.is_url(name):
            directory = opened.enter_context(bench.shop.images.scratch())
            with _explained(keyword):
                place = fetching.download(name, directory, checksum=instruction.flag("checksum"))
            found.append(Load(root=directory, sources=[_source(place)]))
        else:
            tree = tree or _tree(bench, instruction.flag("from"), opened)
            with _explained(keyword, in_context=not instruction.flag("from")):
                found.append(Load(root=tree.root, sources=trees.find(tree, name), archive=keyword == "ADD"))
    return found


def words_in(text: str, variables: dict[str, str], escape: str) -> str:
    """A here-document with its variables replaced; quotes are letters there."""
    guarded = text.replace('"', f'{escape}"').replace("'", f"{escape}'")
    return words.expand(guarded, variables, escape)


@contextlib.contextmanager
def _explained(keyword: str, *, in_context: bool = False) -> Generator[None]:
    """Say which instruction failed, in Docker's words."""
    try:
        yield
    except Missing as error:
        where = "file not found in build context or excluded by .dockerignore: " if in_context else ""
        raise InvalidArgument(f"{keyword} failed: {where}{error}") from error
    except NetpyError as error:
        raise InvalidArgument(f"{keyword} failed: {error}") from error


def _tree(bench: Bench, word: str, opened: contextlib.ExitStack) -> Tree:
    found = origin(bench, word)
    if found.tree is not None:
        return found.tree
    return Tree(root=opened.enter_context(workspace(bench.shop.images, found.image)).root)


def _written(directory: Path, name: str, content: str) -> Load:
    place = directory / posixpath.basename(name)
    place.write_text(content)
    place.chmod(0o644)
    os.utime(place, (0, 0))
    return Load(root=directory, sources=[_source(place)])


def _source(place: Path) -> Source:
    return Source(path=place, name=place.name, digest=trees.digest_of_file(place), is_directory=False)


def _check(instruction: Instruction, found: Sequence[Source], destination: str) -> None:
    keyword = instruction.keyword
    if not found:
        raise InvalidArgument(f"{keyword} failed: no source files were specified")
    if len(found) > 1 and not destination.endswith("/"):
        raise InvalidArgument(
            f"When using {keyword} with more than one source file, the destination must be a directory and end with a /"
        )


def _write(space: Workspace, load: Load, destination: str, owner: tuple[int, int], mode: int | None) -> None:
    plain: list[Source] = []
    for source in load.sources:
        if load.archive and not source.is_directory and is_archive(source.path):
            _plant(space, load.root, plain, destination, owner, mode)
            plain = []
            _spread(space, source.path, destination)
        else:
            plain.append(source)
    _plant(space, load.root, plain, destination, owner, mode)


def is_archive(path: Path) -> bool:
    """Whether ADD takes it apart: a tar, plain or compressed by a method that Docker knows."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as source:
            # Not tarfile.open, which believes what a header says about its own size.
            return tarfile.TarFile(fileobj=cast(BinaryIO, Forward(source))).next() is not None
    except (Malformed, tarfile.TarError, EOFError, OSError, RecursionError):
        return False


def _plant(  # noqa: PLR0913 - what, from where, to where, and as whose
    space: Workspace,
    root: Path,
    sources: Sequence[Source],
    destination: str,
    owner: tuple[int, int],
    mode: int | None,
) -> None:
    if not sources:
        return
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for start in range(0, len(sources), _BATCH):
            batch = sources[start : start + _BATCH]
            order: Json = {
                "verb": "plant",
                "root": str(space.root),
                "tree": descriptor,
                "sources": [[os.path.relpath(source.path, root), source.name] for source in batch],
                "destination": destination,
                "into": destination.endswith("/"),
                "owner": list(owner),
                "mode": mode,
            }
            _carried_out(order, (descriptor,), destination)
    finally:
        os.close(descriptor)


def _spread(space: Workspace, archive: Path, destination: str) -> None:
    with open(archive, "rb") as stream:
        fill(space.root, destination, stream)


def _carried_out(order: Json, descriptors: tuple[int, ...], destination: str) -> None:
    failure = child.carry_out(order, descriptors=descriptors)
    if failure is not None:
        raise InvalidArgument(f"failed to copy files to {destination}: {failure.text}")
