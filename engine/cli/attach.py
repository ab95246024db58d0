"""`start` and `attach`: joining a container that exists already."""

from __future__ import annotations

import sys

from engine.cli import streaming, terminal
from engine.cli.command import Call, CommandError, command
from engine.cli.documents import section
from engine.cli.flags import flag, text
from engine.cli.outcomes import exit_code, start_failure
from engine.cli.scopes import Scopes
from engine.client import ApiError, Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEFT = "read escape sequence"  # Docker's word, with exit code 1, when attach and exec are left by the detach keys
_KEYS = "Override the key sequence for detaching a container"


def keys_of(call: Call) -> bytes:
    try:
        return terminal.key_sequence(call.options.text("detach_keys"))
    except ValueError as error:
        raise CommandError(f"invalid detach keys: {error}") from error


@command(
    "start",
    "CONTAINER [CONTAINER...]",
    flag("-a", "--attach", help="Attach STDOUT/STDERR and forward signals"),
    flag("-i", "--interactive", help="Attach the container's STDIN"),
    text("--detach-keys", help=_KEYS),
    least=1,
    most=None,
)
def start(call: Call) -> int | None:
    """Start one or more stopped containers"""
    if call.options.flag("attach") or call.options.flag("interactive"):
        name, *others = call.arguments
        if others:
            raise CommandError("you cannot start and attach multiple containers at once")
        return _start_attached(call, name)
    failed: list[str] = []
    for name in call.arguments:
        try:
            call.client.request("POST", f"/containers/{name}/start").read()
            print(name, flush=True)
        except ApiError as error:
            print(f"Error response from daemon: {error}", file=sys.stderr)
            failed.append(name)
    if failed:
        print(f"Error: failed to start containers: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _start_attached(call: Call, name: str) -> int:
    client, keys = call.client, keys_of(call)
    found: dict[str, Any] = client.request("GET", f"/containers/{name}/json").json()
    config, identifier = found["Config"], str(found["Id"])
    stdin = bool(call.options.flag("interactive") and config["OpenStdin"])
    tty = bool(config["Tty"])
    condition = "removed" if section(found, "HostConfig").get("AutoRemove") else "next-exit"
    with Scopes() as stack:
        query: dict[str, object] = {"stream": True, "stdin": stdin or None, "stdout": True, "stderr": True}
        sock = client.hijack(f"/containers/{identifier}/attach", query)
        stack.callback(sock.close)
        ending = client.request("POST", f"/containers/{identifier}/wait", {"condition": condition})
        stack.callback(ending.close)
        if not tty:
            stack.enter_context(streaming.forwarded_signals(client.host, identifier))
        try:
            client.request("POST", f"/containers/{identifier}/start").read()
        except ApiError as error:
            message = f"Error response from daemon: {error}\nError: failed to start containers: {name}"
            raise CommandError(message, _attached_code(str(error))) from error
        if tty:
            _follow_size(client, identifier, stack)
        how = streaming.Conversation(tty=tty, stdin=stdin, detach_keys=keys if tty else b"")
        return 0 if streaming.converse(sock, how) else exit_code(ending)


def _attached_code(message: str) -> int:
    code = start_failure(message)
    return 1 if code == 125 else code


def _follow_size(client: Client, identifier: str, stack: Scopes) -> None:
    resize = streaming.resizer(client.host, f"/containers/{identifier}")
    resize()
    stack.enter_context(terminal.on_resize(resize))


@command(
    "attach",
    "CONTAINER",
    flag("--no-stdin", help="Do not attach STDIN"),
    flag("--sig-proxy", help="Proxy received signals to the process", default=True),
    text("--detach-keys", help=_KEYS),
    least=1,
    most=1,
)
def attach(call: Call) -> int | None:
    """Attach standard input, output and error to a running container"""
    client, keys = call.client, keys_of(call)
    found: dict[str, Any] = client.request("GET", f"/containers/{call.arguments[0]}/json").json()
    _check_running(found["State"])
    tty, identifier = bool(found["Config"]["Tty"]), str(found["Id"])
    stdin = bool(found["Config"]["OpenStdin"] and not call.options.flag("no_stdin"))
    if tty and stdin and not terminal.is_terminal(0):
        raise CommandError("the input device is not a TTY")
    with Scopes() as stack:
        ending = client.request("POST", f"/containers/{identifier}/wait")
        stack.callback(ending.close)
        query: dict[str, object] = {"stream": True, "stdin": stdin or None, "stdout": True, "stderr": True}
        sock = client.hijack(f"/containers/{identifier}/attach", query)
        stack.callback(sock.close)
        if call.options.flag("sig_proxy") and not tty:
            stack.enter_context(streaming.forwarded_signals(client.host, identifier))
        if tty:
            _follow_size(client, identifier, stack)
        how = streaming.Conversation(tty=tty, stdin=stdin, detach_keys=keys if tty else b"")
        if streaming.converse(sock, how):
            raise CommandError(LEFT)
        return exit_code(ending)


def _check_running(state: dict[str, Any]) -> None:
    if not state["Running"]:
        raise CommandError("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CommandError("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CommandError("You cannot attach to a restarting container, wait until it is running")
