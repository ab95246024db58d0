"""Commands that move containers from state to state: one request per container, and on after failures."""

from __future__ import annotations

import sys

from engine.cli import pruning
from engine.cli.command import Call, CommandError, command, each
from engine.cli.filters import filters
from engine.cli.flags import flag, many, number, text
from engine.client import ApiError

_MANY = "CONTAINER [CONTAINER...]"
_SIGNAL = "Signal to send to the container"
_TIMEOUT = "Seconds to wait before killing the container"


def _post(call: Call, verb: str, **query: object) -> int:
    def act(name: str) -> str:
        call.client.request("POST", f"/containers/{name}/{verb}", query).read()
        return name

    return each(call, act)


def _ending(call: Call) -> dict[str, object]:
    options = call.options
    timeout = next((options.number(name) for name in ("timeout", "time") if options.given(name)), None)
    return {"signal": options.text("signal") or None, "t": timeout}


_ENDING = (
    text("-s", "--signal", help=_SIGNAL),
    number("-t", "--timeout", help=_TIMEOUT),
    number("--time", help=_TIMEOUT),
)


@command("stop", _MANY, *_ENDING, least=1, most=None)
def stop(call: Call) -> int | None:
    """Stop one or more running containers"""
    return _post(call, "stop", **_ending(call))


@command("restart", _MANY, *_ENDING, least=1, most=None)
def restart(call: Call) -> int | None:
    """Restart one or more containers"""
    return _post(call, "restart", **_ending(call))


@command("kill", _MANY, text("-s", "--signal", help=_SIGNAL), least=1, most=None)
def kill(call: Call) -> int | None:
    """Kill one or more running containers"""
    return _post(call, "kill", signal=call.options.text("signal") or None)


@command("pause", _MANY, least=1, most=None)
def pause(call: Call) -> int | None:
    """Pause all processes within one or more containers"""
    return _post(call, "pause")


@command("unpause", _MANY, least=1, most=None)
def unpause(call: Call) -> int | None:
    """Unpause all processes within one or more containers"""
    return _post(call, "unpause")


@command("wait", _MANY, least=1, most=None)
def wait(call: Call) -> int | None:
    """Block until one or more containers stop, then print their exit codes"""

    def act(name: str) -> str:
        return str(call.client.request("POST", f"/containers/{name}/wait").json()["StatusCode"])

    return each(call, act)


@command("rename", "CONTAINER NEW_NAME", least=2, most=2)
def rename(call: Call) -> int | None:
    """Rename a container"""
    old, new = (name.strip() for name in call.arguments)
    if not old or not new:
        raise CommandError("Error: Neither old nor new names may be empty")
    try:
        call.client.request("POST", f"/containers/{old}/rename", {"name": new}).read()
    except ApiError as error:
        raise CommandError(
            f"Error response from daemon: {error}\nError: failed to rename container named {old}"
        ) from error


@command(
    "rm",
    _MANY,
    flag("-f", "--force", help="Kill a running container first"),
    flag("-v", "--volumes", help="Remove its anonymous volumes too"),
    flag("-l", "--link", help="Remove the named link"),
    least=1,
    most=None,
)
def remove(call: Call) -> int | None:
    """Remove one or more containers"""
    options = call.options
    query = {
        "v": options.flag("volumes") or None,
        "force": options.flag("force") or None,
        "link": options.flag("link") or None,
    }

    def act(name: str) -> str | None:
        path = name.strip("/")
        if not path:
            raise CommandError("Container name cannot be empty")
        try:
            call.client.request("DELETE", f"/containers/{path}", query).read()
        except ApiError as error:
            if error.status == 404 and options.flag("force"):
                print(f"Error response from daemon: {error}", file=sys.stderr)
                return None
            raise
        return name

    return each(call, act)


@command(
    "prune",
    "",
    pruning.FORCE,
    many("--filter", help="Only those that match, such as label=a or until=24h", kind="filter"),
)
def prune(call: Call) -> int | None:
    """Remove all stopped containers"""
    wanted = filters(call.options.many("filter"))
    return pruning.prune(call, "This will remove all stopped containers.", [pruning.containers(wanted)])
