"""`events`: what happens at the daemon, one line each, as it happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from engine.cli.command import Call, CommandError, command
from engine.cli.documents import section
from engine.cli.filters import filters
from engine.cli.flags import many, text
from engine.cli.formatting import unescaped
from engine.cli.inspect import parsed
from engine.cli.logs import moment
from engine.cli.templates.evaluation import TemplateError, document
from engine.cli.templates.values import encoded


@command(
    "events",
    "",
    many("-f", "--filter", help="Keep what matches a condition, such as event=start", kind="filter"),
    text("--format", help='Print with a Go template, or "json"'),
    text("--since", help="Begin with the events since this moment"),
    text("--until", help="End at this moment"),
)
def events(call: Call) -> int | None:
    """Get real time events from the server"""
    form = call.options.text("format")
    template = None if form in ("", "json") else parsed(unescaped(form))
    query = {
        "since": moment(call, "since"),
        "until": moment(call, "until"),
        "filters": filters(call.options.many("filter")) or None,
    }
    with call.client.request("GET", "/events", query) as answer:
        for event in answer.objects():
            try:
                if template is not None:
                    print(template.render(document(event)), flush=True)
                else:
                    print(encoded(event) if form else line(event), flush=True)
            except TemplateError as error:
                raise CommandError(f"template parsing error: {error}", 64) from error


def line(event: Mapping[str, Any]) -> str:
    """`2026-11-21T10:02:23.757534584Z container create <id> (image=busybox, name=web)`."""
    nanoseconds = int(event.get("timeNano") or int(event.get("time") or 0) * 10**9)
    seconds, rest = divmod(nanoseconds, 10**9)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}" + (
        "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    )
    actor = section(event, "Actor")
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(section(actor, "Attributes").items()))
    text = f"{when} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text
