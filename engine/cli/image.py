"""Images: import, load and save, tag, history, remove, prune."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.cli import progress, pruning, rows, terminal
from engine.cli.command import Call, CommandError, command, each
from engine.cli.filters import filters
from engine.cli.flags import flag, many, text
from engine.cli.formatting import Item, Listing, listed
from engine.cli.references import reference
from engine.client import ApiError

_PLATFORM = "Platform, if the image has several (os/arch)"


def _shown(messages: Iterator[dict[str, Any]]) -> None:
    try:
        progress.show(messages, sys.stdout, terminal=terminal.is_terminal(1))
    except progress.StreamError as error:
        raise CommandError(str(error)) from error


@command(
    "import",
    "file|URL|- [REPOSITORY[:TAG]]",
    many("-c", "--change", help="Dockerfile instruction to apply, such as CMD or ENV"),
    text("-m", "--message", help="Message for the image's history"),
    text("--platform", help=_PLATFORM),
    least=1,
    most=2,
)
def import_(call: Call) -> int | None:
    """Import the contents from a tarball to create a filesystem image"""
    source, *name = call.arguments
    try:
        reference(name[0] if name else "x")
    except ValueError as error:
        raise CommandError(str(error)) from error
    remote = source.startswith(("http://", "https://"))
    query = {
        "fromSrc": source if remote else "-",
        "repo": name[0] if name else None,
        "message": call.options.text("message") or None,
        "changes": call.options.many("change") or None,
        "platform": call.options.text("platform") or None,
    }
    with _opened("" if source == "-" or remote else source) as stream:
        answer = call.client.request("POST", "/images/create", query, None if remote else stream)
        _shown(answer.objects())


def _opened(path: str) -> BinaryIO:
    """A file, or standard input if the path is empty."""
    try:
        return Path(path).open("rb") if path else open(0, "rb", closefd=False)
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from None


@command(
    "load",
    "",
    text("-i", "--input", help="Read from a tar archive, instead of STDIN"),
    text("--platform", help=_PLATFORM),
    flag("-q", "--quiet", help="Suppress the progress"),
)
def load(call: Call) -> int | None:
    """Load an image from a tar archive or STDIN"""
    path = call.options.text("input")
    if not path and terminal.is_terminal(0):
        raise CommandError("requested load from stdin, but stdin is empty")
    quiet = call.options.flag("quiet") or not terminal.is_terminal(1)
    with _opened(path) as stream:
        _shown(call.client.request("POST", "/images/load", {"quiet": quiet or None}, stream).objects())


@command(
    "save",
    "IMAGE [IMAGE...]",
    text("-o", "--output", help="Write to a file, instead of STDOUT"),
    text("--platform", help=_PLATFORM),
    least=1,
    most=None,
)
def save(call: Call) -> int | None:
    """Save one or more images to a tar archive (streamed to STDOUT by default)"""
    path = call.options.text("output")
    if not path and terminal.is_terminal(1):
        raise CommandError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if path and not Path(path).parent.is_dir():
        raise CommandError(
            f"failed to save image: invalid output path: stat {Path(path).parent}: no such file or directory"
        )
    with call.client.request("GET", "/images/get", {"names": list(call.arguments)}) as answer:
        if not path:
            _copy(answer.chunks(), sys.stdout.buffer)
            return
        partial = Path(path + ".partial")
        with partial.open("wb") as stream:
            _copy(answer.chunks(), stream)
        partial.replace(path)  # an archive that was cut off must not stand under its name


def _copy(pieces: Iterator[bytes], stream: BinaryIO) -> None:
    for piece in pieces:
        stream.write(piece)
    stream.flush()


@command("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", least=2, most=2)
def tag(call: Call) -> int | None:
    """Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"""
    source, target = call.arguments
    try:
        wanted = reference(target)
    except ValueError as error:
        raise CommandError(f'Error parsing reference: "{target}" is not a valid repository/tag: {error}') from error
    if wanted.digest:
        raise CommandError("refusing to create a tag with a digest reference")
    query = {"repo": wanted.familiar, "tag": wanted.version}
    call.client.request("POST", f"/images/{source}/tag", query).read()


@command(
    "history",
    "IMAGE",
    text("--format", help='Print with a Go template, "table TEMPLATE" for columns, or "json"'),
    flag("-H", "--human", help="Print sizes and dates for humans", default=True),
    flag("--no-trunc", help="Don't cut anything short"),
    flag("-q", "--quiet", help="Print image IDs only"),
    text("--platform", help=_PLATFORM),
    least=1,
    most=1,
)
def history(call: Call) -> int | None:
    """Show the history of an image"""
    options = call.options
    found = call.client.request("GET", f"/images/{call.arguments[0]}/history").json()
    trunc, human, now = not options.flag("no_trunc"), options.flag("human"), time.time()
    items = [Item(rows.history_row(layer, now, trunc=trunc, human=human), {}) for layer in found]
    age = "CreatedSince" if human else "CreatedAt"
    columns = ("ID", age, "CreatedBy", "Size", "Comment")
    kind = Listing(kind="history", columns=columns, type_name="*formatter.historyContext")
    sys.stdout.write(listed(kind, items, options.text("format"), quiet=options.flag("quiet")))


@command(
    "rm",
    "IMAGE [IMAGE...]",
    flag("-f", "--force", help="Force removal of the image"),
    flag("--no-prune", help="Do not delete untagged parents"),
    least=1,
    most=None,
)
def remove(call: Call) -> int | None:
    """Remove one or more images"""
    force = call.options.flag("force")
    query = {"force": force or None, "noprune": call.options.flag("no_prune") or None}

    def act(name: str) -> str | None:
        try:
            answer: list[dict[str, str]] = call.client.request("DELETE", f"/images/{name}", query).json()
        except ApiError as error:
            if not (force and error.status == 404):
                raise
            print(f"Error response from daemon: {error}", file=sys.stderr)
            return None
        return "\n".join(f"{what}: {which}" for entry in answer for what, which in entry.items())

    return each(call, act)


@command(
    "prune",
    "",
    flag("-a", "--all", help="Remove all unused images, not just dangling ones"),
    pruning.FORCE,
    many("--filter", help="Only those that match, such as label=a or until=24h", kind="filter"),
)
def prune(call: Call) -> int | None:
    """Remove unused images"""
    everything, wanted = call.options.flag("all"), filters(call.options.many("filter"))
    kind = "images without at least one container associated to them" if everything else "dangling images"
    return pruning.prune(call, f"This will remove all {kind}.", [pruning.images(wanted, everything=everything)])
