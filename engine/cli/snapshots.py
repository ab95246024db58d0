"""What became of a container's files: diff, export, commit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from engine.cli import terminal
from engine.cli.command import Call, CommandError, command
from engine.cli.flags import flag, many, text
from engine.cli.places import check_output
from engine.cli.references import reference

_KINDS = "CAD"


@command("diff", "CONTAINER", least=1, most=1)
def diff(call: Call) -> int | None:
    """Inspect changes to files or directories on a container's filesystem"""
    name = call.arguments[0]
    if not name.strip():
        raise CommandError("Container name cannot be empty")
    changes: list[dict[str, Any]] = call.client.request("GET", f"/containers/{name}/changes").json() or []
    for change in changes:
        print(_KINDS[change["Kind"]], change["Path"])


@command("export", "CONTAINER", text("-o", "--output", help="Write to a file, instead of STDOUT"), least=1, most=1)
def export(call: Call) -> int | None:
    """Export a container's filesystem as a tar archive"""
    path = call.options.text("output")
    if not path and terminal.is_terminal(1):
        raise CommandError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if path:
        _check_output(path)
    with call.client.request("GET", f"/containers/{call.arguments[0]}/export") as answer:
        if not path:
            for piece in answer.chunks():
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        partial = Path(path + ".partial")
        try:
            with partial.open("wb") as stream:
                for piece in answer.chunks():
                    stream.write(piece)
            partial.replace(path)  # an archive that was cut off must not stand under its name
        finally:
            partial.unlink(missing_ok=True)


def _check_output(path: str) -> None:
    try:
        Path(path).absolute().parent.stat()
        check_output(path)
    except OSError as error:
        reason = f"invalid output path: stat {error.filename}: {(error.strerror or '').lower()}"
        raise CommandError(f"failed to export container: {reason}") from error
    except CommandError as error:
        raise CommandError(f"failed to export container: {error}") from error


@command(
    "commit",
    "CONTAINER [REPOSITORY[:TAG]]",
    text("-a", "--author", help='Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
    many("-c", "--change", help="Apply Dockerfile instruction to the created image"),
    text("-m", "--message", help="Commit message"),
    flag("-p", "--pause", default=True, help="Pause container during commit"),
    least=1,
    most=2,
)
def commit(call: Call) -> int | None:
    """Create a new image from a container's changes"""
    container, *name = call.arguments
    query: dict[str, object] = {
        "container": container,
        "author": call.options.text("author") or None,
        "comment": call.options.text("message") or None,
        "changes": call.options.many("change") or None,
        "pause": None if call.options.flag("pause") else "0",
    }
    if name and name[0]:
        query |= _named(name[0])
    print(call.client.request("POST", "/commit", query).json()["Id"])


def _named(text: str) -> dict[str, object]:
    try:
        wanted = reference(text)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if wanted.digest:
        raise CommandError("refusing to create a tag with a digest reference")
    return {"repo": wanted.repository, "tag": wanted.tag or "latest"}
