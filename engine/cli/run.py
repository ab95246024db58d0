"""`run` and `create`: the container's document from the flags, the image pulled if missing, the process followed.

The order is Docker's: create, attach, wait (before the start, so that no exit is missed), start, stream, exit code.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cli import container_flags, progress, streaming, terminal
from engine.cli.command import Call, CommandError, command
from engine.cli.container_body import Surroundings, create_body
from engine.cli.documents import entries, section
from engine.cli.references import reference
from engine.client import ApiError, Client, ClientError, Response

DAEMON_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_NOT_EXECUTABLE = ("permission denied", "is a directory")
_PULLS = ("always", "missing", "never")
_ARGUMENTS = "IMAGE [COMMAND] [ARG...]"


@command("create", _ARGUMENTS, *container_flags.shared(), least=1, most=None)
def create(call: Call) -> int | None:
    """Create a new container"""
    try:
        body = _document(call)
        if call.options.flag("dry_run"):
            return _print_plan(call, body)
        print(_created(call, body))
    except (ClientError, ValueError, progress.StreamError) as error:
        raise _failure(call, error) from error


@command("run", _ARGUMENTS, *container_flags.shared(), *container_flags.only_run(), least=1, most=None)
def run(call: Call) -> int | None:
    """Create and run a new container from an image"""
    options = call.options
    if options.flag("detach") and options.many("attach"):
        raise CommandError("conflicting options: cannot specify both --attach and --detach")
    try:
        keys = terminal.key_sequence(options.text("detach_keys"))
        body = _document(call)
        if options.flag("dry_run"):
            return _print_plan(call, body)
        _check_terminal(body)
        identifier = _created(call, body)
        if options.flag("detach"):
            _start(call.client, identifier)
            print(identifier)
            return 0
        return _follow(call, _Container(identifier, body, keys))
    except (ClientError, ValueError, progress.StreamError) as error:
        raise _failure(call, error) from error


def _document(call: Call) -> dict[str, Any]:
    image, *words = call.arguments
    if (policy := call.options.text("pull")) not in _PULLS:
        raise ValueError(f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"')
    reference(image)  # a malformed name is told before anything else
    around = Surroundings(variables=os.environ, directory=str(Path.cwd()), size=terminal.size(1))
    return create_body(image, words, call.options, around)


def _check_terminal(body: dict[str, Any]) -> None:
    if body["Tty"] and body["AttachStdin"] and not terminal.is_terminal(0):
        raise CommandError("the input device is not a TTY")


def _failure(call: Call, error: Exception) -> CommandError:
    """Docker's words and exit code: 127 for a command that is not there, 126 for one that cannot run, else 125."""
    if not isinstance(error, ApiError):
        return CommandError(f"netpy: {error}", DAEMON_FAILED, hint=call.path)
    message = f"Error response from daemon: {str(error).rstrip('.')}."
    return CommandError(f"netpy: {message}", start_failure(message), hint=call.path)


def start_failure(message: str) -> int:
    """The exit code that stands for a refusal to start."""
    if any(words in message for words in _NOT_FOUND):
        return NOT_FOUND
    if any(words in message for words in _NOT_EXECUTABLE):
        return NOT_EXECUTABLE
    return DAEMON_FAILED


# create


def _query(call: Call, **more: object) -> dict[str, object]:
    return {"name": call.options.text("name") or None, "platform": call.options.text("platform") or None, **more}


def _print_plan(call: Call, body: dict[str, Any]) -> int:
    answer = call.client.request("POST", "/containers/create", _query(call, dryrun=True), body).json()
    sys.stdout.write(str(answer["Plan"]).rstrip("\n") + "\n")
    return 0


def _created(call: Call, body: dict[str, Any]) -> str:
    """Create the container, pulling its image if that is called for; returns its id."""
    cid_file = Path(call.options.text("cidfile")) if call.options.text("cidfile") else None
    if cid_file is not None and cid_file.exists():
        raise ValueError(f"container ID file found, make sure the other container isn't running or delete {cid_file}")
    answer = _create_with_image(call, body)
    for warning in entries(answer, "Warnings"):
        print(f"WARNING: {warning}", file=sys.stderr)
    identifier = str(answer["Id"])
    if cid_file is not None:
        cid_file.write_text(identifier)
    return identifier


def _create_with_image(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    policy = call.options.text("pull")
    if policy == "always":
        _pull(call, body["Image"])
    try:
        return call.client.request("POST", "/containers/create", _query(call), body).json()
    except ApiError as error:
        if error.status != 404 or policy != "missing" or "no such image" not in error.message.lower():
            raise
    print(f"Unable to find image '{reference(body['Image']).named()}' locally", file=sys.stderr, flush=True)
    _pull(call, body["Image"])
    return call.client.request("POST", "/containers/create", _query(call), body).json()


def _pull(call: Call, image: str) -> None:
    from engine.cli.image import pulled

    messages = pulled(call.client, reference(image), call.options.text("platform"))
    if call.options.flag("quiet"):
        for message in messages:
            progress.check(message)
        return
    progress.show(messages, sys.stderr, terminal=terminal.is_terminal(2))


# run


def _start(client: Client, identifier: str) -> None:
    client.request("POST", f"/containers/{identifier}/start").read()


@dataclass(frozen=True, slots=True)
class _Container:
    id: str
    body: dict[str, Any]
    keys: bytes

    @property
    def streams(self) -> dict[str, bool]:
        return {name: self.body[f"Attach{name.title()}"] for name in ("stdin", "stdout", "stderr")}


def _follow(call: Call, container: _Container) -> int:
    """Start the container and stay with it until it ends or the user leaves it."""
    client, body = call.client, container.body
    condition = "removed" if body["HostConfig"]["AutoRemove"] else "next-exit"
    with ExitStack() as stack:
        query: dict[str, object] = {"stream": True, **{name: on or None for name, on in container.streams.items()}}
        sock = client.hijack(f"/containers/{container.id}/attach", query)
        stack.callback(sock.close)
        ending = client.request("POST", f"/containers/{container.id}/wait", {"condition": condition})
        stack.callback(ending.close)
        if call.options.flag("sig_proxy") and not body["Tty"]:
            stack.enter_context(streaming.forwarded_signals(client.host, container.id))
        try:
            _start(client, container.id)
        except ApiError:
            if body["HostConfig"]["AutoRemove"]:
                ending.read()  # the daemon is still clearing it away
            raise
        if body["Tty"]:
            resize = streaming.resizer(client.host, f"/containers/{container.id}")
            resize()
            stack.enter_context(terminal.on_resize(resize))
        if streaming.converse(sock, _conversation(container)):
            return 0
        return exit_code(ending)


def _conversation(container: _Container) -> streaming.Conversation:
    streams = container.streams
    return streaming.Conversation(
        tty=container.body["Tty"],
        stdin=streams["stdin"],
        stdout=streams["stdout"],
        stderr=streams["stderr"],
        detach_keys=container.keys if container.body["Tty"] else b"",
    )


def exit_code(ending: Response) -> int:
    """What a wait says in the end."""
    answer: dict[str, Any] = ending.json() or {}
    if message := section(answer, "Error").get("Message"):
        print(f"Error waiting for container: {message}", file=sys.stderr)
        return DAEMON_FAILED
    return int(answer.get("StatusCode", 0))
