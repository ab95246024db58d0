"""`port` and `top`: small looks into one container."""

from __future__ import annotations

import sys

from engine.cli.command import Call, CommandError, command
from engine.cli.documents import entries, section
from engine.cli.rows import joined
from engine.cli.tables import aligned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@command("port", "CONTAINER [PRIVATE_PORT[/PROTO]]", least=1, most=2)
def port(call: Call) -> int | None:
    """List port mappings or a specific mapping for the container"""
    found: dict[str, Any] = call.client.request("GET", f"/containers/{call.arguments[0]}/json").json()
    published: dict[str, Any] = section(found["NetworkSettings"], "Ports")
    if len(call.arguments) == 1:
        for name in sorted(published, key=_port_order):
            for binding in entries(published, name):
                print(f"{name} -> {joined(binding['HostIp'], binding['HostPort'])}")
        return 0
    return _one(call, published)


def _one(call: Call, published: dict[str, Any]) -> int:
    name, wanted = call.arguments
    number, _, protocol = wanted.partition("/")
    if not number.isdigit():
        raise CommandError(f"Error: invalid port ({wanted})")
    bindings = published.get(f"{number}/{protocol or 'tcp'}")
    if not bindings:
        raise CommandError(f"Error: No public port '{wanted}' published for {name}")
    for binding in bindings:
        print(joined(binding["HostIp"], binding["HostPort"]))
    return 0


def _port_order(name: str) -> tuple[int, str]:
    number, _, protocol = name.partition("/")
    return int(number), protocol


@command("top", "CONTAINER [ps OPTIONS]", least=1, most=None)
def top(call: Call) -> int | None:
    """Display the running processes of a container"""
    name, *arguments = call.arguments
    found = call.client.request("GET", f"/containers/{name}/top", {"ps_args": " ".join(arguments) or None}).json()
    rows: list[list[str]] = [found["Titles"], *(found["Processes"] or [])]
    sys.stdout.write(aligned("\n".join("\t".join(row) for row in rows), minimum=20) + "\n")
