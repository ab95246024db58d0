"""The short way for commands that act, as they are mostly typed: `exec`, `network connect`, `network disconnect`.

Without the command tree and what its flags need, that is a fifth of such a command's time. Whatever has flags, or finds
no daemon to speak to, is left to the ordinary path before anything has been asked. Does I/O on sockets.
"""

from __future__ import annotations

from _socket import SHUT_WR

from engine.cli.documents import endpoint_settings
from engine.cli.frames import arriving, show
from engine.client import ApiError, Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_PATIENCE = 10.0
_STEP = 0.01


def attempt(arguments: list[str]) -> int | None:
    """The exit code of a command line that is one of ours. Raises ClientError and CommandError as the others do."""
    act = _meant(arguments)
    if act is None:
        return None
    client = Client()
    try:
        return act(client) if client.reachable() else None  # else one may have to be started first
    finally:
        client.close()


def _meant(arguments: list[str]) -> Callable[[Client], int] | None:
    match arguments:
        case ["network", "connect" | "disconnect" as verb, network, container] if _are_plain(network, container):
            return lambda client: _plug(client, verb, network, container)
        case ["exec", container, *command] | ["container", "exec", container, *command]:
            known = command and _are_plain(container)
            return (lambda client: _execute(client, container, command)) if known else None
        case _:
            return None


def listen(client: Client, identifier: str, start: dict[str, Any]) -> None:
    """Start an exec that has neither a terminal nor an input, and print what it says until its end."""
    with client.hijack(f"/exec/{identifier}/start", body=start) as sock:
        try:  # noqa: SIM105 - contextlib would be the dearest of the imports here
            sock.shutdown(SHUT_WR)
        except OSError:
            pass  # already gone: the reader sees the end
        show(arriving(sock))


def exit_code(client: Client, identifier: str) -> int:
    """What an exec ended with. Other daemons may end its streams before they know it: those are asked again."""
    waited = 0.0
    while True:
        found = client.request("GET", f"/exec/{identifier}/json").json()
        if not found.get("Running") or waited > _PATIENCE:
            return int(found.get("ExitCode") or 0)
        import time

        time.sleep(_STEP)
        waited += _STEP


def _are_plain(*words: str) -> bool:
    """Whether none is a flag, or nothing at all."""
    return all(word and word[0] != "-" for word in words)


def _plug(client: Client, verb: str, network: str, container: str) -> int:
    body: dict[str, Any] = {"Container": container}
    if verb == "connect":
        extra = {"MacAddress": "", "GwPriority": 0}
        body["EndpointConfig"] = endpoint_settings({}, links=None, aliases=[], driver_opts={}, extra=extra)
    else:
        body["Force"] = False
    client.request("POST", f"/networks/{network}/{verb}", body=body).read()
    return 0


def _execute(client: Client, container: str, command: Sequence[str]) -> int:
    body: dict[str, Any] = {
        "User": "",
        "Privileged": False,
        "Tty": False,
        "AttachStdin": False,
        "AttachStderr": True,
        "AttachStdout": True,
        "Detach": False,
        "DetachKeys": "",
        "Env": None,
        "WorkingDir": "",
        "Cmd": list(command),
    }
    identifier = client.request("POST", f"/containers/{container}/exec", body=body).json()["Id"]
    try:
        listen(client, identifier, {"Detach": False, "Tty": False})
    except ApiError as error:
        from engine.cli.execute import refusal

        raise refusal(error) from error
    return exit_code(client, identifier)
