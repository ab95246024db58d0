"""`inspect` of anything: the daemon's own document, indented, or what a template makes of it."""

from __future__ import annotations

import sys

from engine.cli.command import Call, CommandError, command
from engine.cli.flags import flag, text
from engine.cli.indent import indented_list
from engine.client import ApiError, Client
from engine.client.codec import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from engine.cli.templates.evaluation import Template

    Fetch = Callable[[Client, str], bytes]

_FORMAT = 'Print with a Go template, or "json"'
_KINDS = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")


def _fetch(client: Client, path: str, **query: object) -> bytes:
    return client.request("GET", path, query).read()


def _volume(client: Client, name: str) -> bytes:
    return _fetch(client, f"/volumes/{name}")


def _network(client: Client, name: str) -> bytes:
    return _fetch(client, f"/networks/{name}")


def _image(client: Client, name: str) -> bytes:
    return _fetch(client, f"/images/{name}/json")


def _container(sized: bool) -> Fetch:
    return lambda client, name: _fetch(client, f"/containers/{name}/json", size=sized or None)


@command(
    "inspect",
    "NAME|ID [NAME|ID...]",
    text("-f", "--format", help=_FORMAT),
    flag("-s", "--size", help="Show file sizes of containers"),
    text("--type", help="Only look at objects of this type: container, image, network, volume"),
    least=1,
    most=None,
)
def inspect(call: Call) -> int | None:
    """Return low-level information on netpy objects"""
    kind = call.options.text("type")
    if call.options.given("type") and kind not in _KINDS:
        names = ", ".join(f'"{name}"' for name in _KINDS)
        raise CommandError(f'unknown type: "{kind}": must be one of {names}')
    kinds: dict[str, Fetch] = {
        "container": _container(call.options.flag("size")),
        "image": _image,
        "network": _network,
        "volume": _volume,
    }
    wanted = [kinds[kind]] if kind in kinds else [] if kind else list(kinds.values())
    return _show(call, lambda client, name: _first(client, name, wanted, kind))


def _first(client: Client, name: str, wanted: Sequence[Fetch], kind: str) -> bytes:
    for fetch in wanted:
        try:
            return fetch(client, name)
        except ApiError as error:
            if error.status != 404 or kind:
                raise
    raise CommandError(f"Error: No such {kind or 'object'}: {name}")


@command("inspect", "CONTAINER [CONTAINER...]", text("-f", "--format", help=_FORMAT),
         flag("-s", "--size", help="Show file sizes"), least=1, most=None)  # fmt: skip
def container(call: Call) -> int | None:
    """Display detailed information on one or more containers"""
    return _show(call, _container(call.options.flag("size")))


@command("inspect", "IMAGE [IMAGE...]", text("-f", "--format", help=_FORMAT), least=1, most=None)
def image(call: Call) -> int | None:
    """Display detailed information on one or more images"""
    return _show(call, _image)


@command(
    "inspect",
    "NETWORK [NETWORK...]",
    text("-f", "--format", help=_FORMAT),
    flag("-v", "--verbose", help="Verbose output for diagnostics"),
    least=1,
    most=None,
)
def network(call: Call) -> int | None:
    """Display detailed information on one or more networks"""
    return _show(call, _network)


@command("inspect", "VOLUME [VOLUME...]", text("-f", "--format", help=_FORMAT), least=1, most=None)
def volume(call: Call) -> int | None:
    """Display detailed information on one or more volumes"""
    return _show(call, _volume)


def _show(call: Call, fetch: Fetch) -> int:
    """Print what was found, then say what was not. Returns the exit code."""
    form = call.options.text("format")
    template = None if form in ("", "json") else parsed(form)
    found: list[bytes] = []
    complaints: list[str] = []
    for name in call.arguments:
        try:
            found.append(fetch(call.client, name))
        except ApiError as error:
            complaints.append(f"Error response from daemon: {error}")
        except CommandError as error:
            complaints.append(str(error))
    if template is not None:
        complaints += _print_templates(template, found)
    elif form == "json":
        from engine.cli.templates.values import encoded

        print(encoded([loads(each) for each in found]))
    else:
        print(indented_list([each.decode() for each in found]))
    if complaints:
        sys.stdout.flush()
        print("\n".join(complaints), file=sys.stderr)
    return 1 if complaints else 0


def parsed(form: str) -> Template:
    """The template of a --format; 64 is the exit code for one that is none."""
    from engine.cli.templates.evaluation import Template, TemplateError

    try:
        return Template(form)
    except TemplateError as error:
        raise CommandError(f"template parsing error: {error}", 64) from error


def _print_templates(template: Template, found: Sequence[bytes]) -> list[str]:
    """Print what the template makes of each; returns what went wrong."""
    from engine.cli.templates.evaluation import TemplateError, document

    for each in found:
        data: Any = loads(each)
        try:
            print(template.render(document(data)))
        except TemplateError as error:
            print()
            return [f"template parsing error: {error}"]
    return []
