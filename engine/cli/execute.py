"""`exec`: another process in a running container."""

from __future__ import annotations

from engine.cli import direct, environment, streaming, terminal
from engine.cli.attach import LEFT, keys_of
from engine.cli.command import Call, CommandError, command
from engine.cli.flags import flag, many, text
from engine.cli.outcomes import NOT_EXECUTABLE, NOT_FOUND, start_failure
from engine.cli.scopes import Scopes
from engine.client import ApiError, own_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@command(
    "exec",
    "CONTAINER COMMAND [ARG...]",
    flag("-d", "--detach", help="Run in the background"),
    text("--detach-keys", help="Override the key sequence for detaching a container"),
    many("-e", "--env", help="Set environment variables"),
    many("--env-file", help="Read environment variables from a file"),
    flag("-i", "--interactive", help="Keep STDIN open even if not attached"),
    flag("--privileged", help="Give extended privileges to the command"),
    flag("-t", "--tty", help="Allocate a pseudo-TTY"),
    text("-u", "--user", help="Username or UID, <name|uid>[:<group|gid>]"),
    text("-w", "--workdir", help="Working directory inside the container"),
    least=2,
    most=None,
)
def execute(call: Call) -> int | None:
    """Execute a command in a running container"""
    client, keys = call.client, keys_of(call)
    body = exec_body(call)
    if body["AttachStdin"] and body["Tty"] and not terminal.is_terminal(0):
        # A missing container is told before a missing TTY.
        client.request("GET", f"/containers/{call.arguments[0]}/json").read()
        raise CommandError("the input device is not a TTY")
    identifier = client.request("POST", f"/containers/{call.arguments[0]}/exec", body=body).json()["Id"]
    try:
        if body["Detach"]:
            client.request("POST", f"/exec/{identifier}/start", body=_start_body(body)).read()
            return 0
        return _converse(call, identifier, body, keys)
    except ApiError as error:
        raise refusal(error, detach=bool(body["Detach"])) from error


def refusal(error: ApiError, *, detach: bool = False) -> CommandError:
    """What to say of an exec that could not start, and the exit code."""
    code = start_failure(str(error))
    known = code in (NOT_FOUND, NOT_EXECUTABLE) and not detach
    return CommandError(f"Error response from daemon: {error}", code if known else 1)


def exec_body(call: Call) -> dict[str, Any]:
    """The document of POST /containers/{id}/exec."""
    options = call.options
    detach = options.flag("detach")
    try:
        variables = environment.variables(options.many("env"), options.many("env_file"), own_variables())
    except ValueError as error:
        raise CommandError(str(error)) from error
    body: dict[str, Any] = {
        "User": options.text("user"),
        "Privileged": options.flag("privileged"),
        "Tty": options.flag("tty"),
        "AttachStdin": options.flag("interactive") and not detach,
        "AttachStderr": not detach,
        "AttachStdout": not detach,
        "Detach": detach,
        "DetachKeys": options.text("detach_keys"),
        "Env": variables or None,
        "WorkingDir": options.text("workdir"),
        "Cmd": list(call.arguments[1:]),
    }
    if body["Tty"] and any(found := terminal.size(1)):
        body["ConsoleSize"] = list(found)
    return body


def _start_body(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("Detach", "Tty", "ConsoleSize") if name in body}


def _converse(call: Call, identifier: str, body: dict[str, Any], keys: bytes) -> int:
    client, tty, start = call.client, bool(body["Tty"]), _start_body(body)
    if not tty and not body["AttachStdin"]:
        direct.listen(client, identifier, start)
        return direct.exit_code(client, identifier)
    with Scopes() as stack:
        sock = client.hijack(f"/exec/{identifier}/start", body=start)
        stack.callback(sock.close)
        if tty:
            resize = streaming.resizer(client.host, f"/exec/{identifier}")
            resize()
            stack.enter_context(terminal.on_resize(resize))
        how = streaming.Conversation(tty=tty, stdin=bool(body["AttachStdin"]), detach_keys=keys if tty else b"")
        if streaming.converse(sock, how):
            raise CommandError(LEFT)
    return direct.exit_code(client, identifier)
