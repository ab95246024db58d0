"""`logs`: what a container has written, and what it writes from now on."""

from __future__ import annotations

import time

from engine.cli import streaming
from engine.cli.command import Call, CommandError, command
from engine.cli.filters import timestamp
from engine.cli.flags import flag, text

_WHEN = " a time (2013-01-02T13:23:37Z) or a span before now (42m)"


def moment(call: Call, name: str) -> str | None:
    """A --since or --until as the API takes it. Raises CommandError."""
    try:
        return timestamp(call.options.text(name), time.time()) or None
    except ValueError as error:
        raise CommandError(f'invalid value for "{name}": {error}') from error


@command(
    "logs",
    "CONTAINER",
    flag("--details", help="Show extra details provided to logs"),
    flag("-f", "--follow", help="Follow log output"),
    text("--since", help="Show logs since" + _WHEN),
    text("--until", help="Show logs before" + _WHEN),
    text("-n", "--tail", help="Number of lines to show from the end", default="all"),
    flag("-t", "--timestamps", help="Show timestamps"),
    least=1,
    most=1,
)
def logs(call: Call) -> int | None:
    """Fetch the logs of a container"""
    options = call.options
    since, until = moment(call, "since"), moment(call, "until")
    found = call.client.request("GET", f"/containers/{call.arguments[0]}/json").json()
    query: dict[str, object] = {
        "stdout": True,
        "stderr": True,
        "since": since,
        "until": until,
        "timestamps": options.flag("timestamps") or None,
        "follow": options.flag("follow") or None,
        "details": options.flag("details") or None,
        "tail": options.text("tail"),
    }
    with call.client.request("GET", f"/containers/{found['Id']}/logs", query) as answer:
        tty = bool(found["Config"]["Tty"])
        streaming.receive(answer.chunks(), streaming.Conversation(tty=tty, stdin=False))
