"""`run` and `create`: the container's document from the flags, the image pulled if missing, the process followed.

The order is Docker's: create, attach, wait (before the start, so that no exit is missed), start, stream, exit code.
"""

from __future__ import annotations

import posix
import sys

from engine.cli import container_flags, progress, streaming, terminal
from engine.cli.command import Call, CommandError, command
from engine.cli.container_body import Surroundings, create_body
from engine.cli.documents import entries
from engine.cli.outcomes import DAEMON_FAILED, exit_code, start_failure
from engine.cli.records import record
from engine.cli.references import reference
from engine.cli.scopes import Scopes
from engine.client import ApiError, Client, ClientError, own_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

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
            print(identifier, flush=True)  # before the start, which may fail: the container is there
            _start(call.client, identifier)
            return 0
        return _follow(call, _Container(identifier, body, keys))
    except (ClientError, ValueError, progress.StreamError) as error:
        raise _failure(call, error) from error


def _document(call: Call) -> dict[str, Any]:
    image, *words = call.arguments
    if (policy := call.options.text("pull")) not in _PULLS:
        raise ValueError(f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"')
    reference(image)  # a malformed name is told before anything else
    around = Surroundings(variables=own_variables(), directory=posix.getcwd(), size=terminal.size(1))
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


# create


def _query(call: Call, **more: object) -> dict[str, object]:
    return {"name": call.options.text("name") or None, "platform": call.options.text("platform") or None, **more}


def _print_plan(call: Call, body: dict[str, Any]) -> int:
    answer = call.client.request("POST", "/containers/create", _query(call, dryrun=True), body).json()
    sys.stdout.write(str(answer["Plan"]).rstrip("\n") + "\n")
    return 0


def _created(call: Call, body: dict[str, Any]) -> str:
    """Create the container, pulling its image if that is called for; returns its id."""
    cid_file = call.options.text("cidfile")
    if cid_file and posix.access(cid_file, posix.F_OK):
        raise ValueError(f"container ID file found, make sure the other container isn't running or delete {cid_file}")
    with Scopes() as stack:
        # Before the container: nobody shall have one whose id went nowhere.
        file = stack.enter_context(_opened(cid_file)) if cid_file else None
        try:
            answer = _create_with_image(call, body)
        except BaseException:
            if file:
                posix.unlink(cid_file)
            raise
        identifier = str(answer["Id"])
        if file:
            file.write(identifier)
    for warning in entries(answer, "Warnings"):
        print(f"WARNING: {warning}", file=sys.stderr)
    return identifier


def _opened(cid_file: str) -> TextIO:
    try:
        return open(cid_file, "w")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"failed to create the container ID file: open {cid_file}: {reason}") from error


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
    from engine.cli.transfer import pulled

    messages = pulled(call.client, reference(image), call.options.text("platform"))
    if call.options.flag("quiet"):
        for message in messages:
            progress.check(message)
        return
    progress.show(messages, sys.stderr, terminal=terminal.is_terminal(2))


# run


def _start(client: Client, identifier: str) -> None:
    client.request("POST", f"/containers/{identifier}/start").read()


@record
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
    with Scopes() as stack:
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
