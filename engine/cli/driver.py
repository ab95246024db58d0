"""`driver` commands, for those who use drivers and those who write them; and `network create --help-options`.

What a running daemon knows is asked of it: `ls` and the options. Writing and trying a driver takes none.
"""

from __future__ import annotations

import sys

from engine.cli import site
from engine.cli.command import Call, CommandError, command
from engine.cli.tables import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engine.client import Client


@command("ls", "", least=0, most=0)
def drivers(call: Call) -> int | None:
    """List drivers of networks and of addresses"""
    rows = [["KIND", "NAME", "FROM"]]
    for found in call.client.request("GET", "/netpy/drivers").json():
        origin = "built in" if found["BuiltIn"] else found["Problem"] or found["Origin"]
        rows.append([found["Kind"], found["Name"], origin])
    sys.stdout.write(table(rows))


@command("options", "DRIVER", least=1, most=1)
def options(call: Call) -> int | None:
    """Show the options of a network driver"""
    return print_options(call.client, call.arguments[0], "")


@command("new", "NAME [DIRECTORY]", least=1, most=2)
def new(call: Call) -> int | None:
    """Write a package with a driver that works, its tests and its README"""
    from pathlib import Path

    from engine.cli import skeleton

    name = call.arguments[0]
    try:
        files = skeleton.files(name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    root = Path(call.arguments[1] if len(call.arguments) > 1 else f"netpy-{name}")
    if root.exists() and any(root.iterdir()):
        raise CommandError(f"{root} exists and is not empty")
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    module = skeleton.module_of(name)
    print(f"{root}: driver {name}. Next:\n\n  cd {root}\n  netpy driver test {module}\n  pip install -e .")


@command("test", "MODULE[:ATTRIBUTE]", least=1, most=1)
def test(call: Call) -> int | None:
    """Hold a driver to the rules that every driver keeps"""
    site.require()
    from engine.cli import trial

    return trial.report(call.arguments[0])


def print_options(client: Client, driver: str, ipam: str) -> int:
    """The options of a driver, and of an IPAM driver that is named beside it, as tables."""
    found = client.request("GET", f"/netpy/drivers/{driver}").json()
    _print_table(f"Options of driver {driver} (-o KEY=VALUE)", found["Options"], any_option=found["AnyOption"])
    if found["EndpointOptions"]:
        print()
        title = f"Options of endpoints with driver {driver} (--driver-opt KEY=VALUE)"
        _print_table(title, found["EndpointOptions"], any_option=False)
    if ipam and ipam not in ("default", "null"):
        found = client.request("GET", f"/netpy/ipam/{ipam}").json()
        print()
        title = f"Options of ipam driver {ipam} (--ipam-opt KEY=VALUE)"
        _print_table(title, found["Options"], any_option=found["AnyOption"])
    return 0


def _print_table(title: str, options: list[dict[str, Any]], *, any_option: bool) -> None:
    print(f"{title}:\n" if options else f"{title}: {'any, passed on as they are' if any_option else 'none'}")
    if options:
        rows = [["OPTION", "TYPE", "DEFAULT", "MEANING"]]
        rows += [[each["Name"], each["Type"], each["Default"] or "-", each["Help"]] for each in options]
        sys.stdout.write(table(rows))
