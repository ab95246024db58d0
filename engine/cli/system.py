"""`version`, `info` and `system df`: what client and daemon are, and what the daemon holds."""

from __future__ import annotations

import posix
import sys

from engine.cli.command import Call, CommandError, command
from engine.cli.documents import entries, section
from engine.cli.flags import text
from engine.cli.inspect import parsed
from engine.cli.units import binary_size
from engine.client import API_VERSION, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_FORMAT = 'Print with a Go template, or "json"'
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def _names(directory: str) -> list[str]:
    try:
        return posix.listdir(directory)
    except OSError:
        return []


def own_version() -> str:
    """The installed version, by the name of its `netpy-VERSION.dist-info`: importlib.metadata takes 30 ms for it."""
    for directory in sys.path:
        for name in _names(directory):
            if name.startswith("netpy-") and name.endswith(".dist-info"):
                return name[len("netpy-") : -len(".dist-info")]
    return "0.1.0+source"  # run from a checkout that is not installed


def version_line() -> str:
    return f"netpy version {own_version()}"


def _client_facts() -> dict[str, str]:
    machine = posix.uname().machine
    return {
        "Version": own_version(),
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "PythonVersion": sys.version.partition(" ")[0],
        "Os": "linux",
        "Arch": _MACHINES.get(machine, machine),
    }


@command("version", "", text("-f", "--format", help=_FORMAT))
def version(call: Call) -> int | None:
    """Show the netpy version information"""
    client = _client_facts()
    server: dict[str, Any] | None = None
    complaint = ""
    try:
        server = call.client.request("GET", "/version").json()
    except ClientError as error:
        complaint = str(error)
    form = call.options.text("format")
    facts = {"Client": client, "Server": server}
    print(_formatted(form, facts) if form else "\n".join(_version_lines(client, server)))
    if complaint:
        raise CommandError(complaint)


def _formatted(form: str, facts: Any) -> str:
    from engine.cli.templates.evaluation import TemplateError, document
    from engine.cli.templates.values import encoded

    if form == "json":
        return encoded(facts)
    try:
        return parsed(form).render(document(facts))
    except TemplateError as error:
        raise CommandError(f"template parsing error: {error}", 64) from error


def _fact(name: str, value: object, depth: int) -> str:
    return f"{' ' * depth}{name + ':':{19 - (depth - 1)}}{value}"


def _version_lines(client: Mapping[str, str], server: Mapping[str, Any] | None) -> list[str]:
    lines = [
        "Client:",
        _fact("Version", client["Version"], 1),
        _fact("API version", client["ApiVersion"], 1),
        _fact("Python version", client["PythonVersion"], 1),
        _fact("OS/Arch", f"{client['Os']}/{client['Arch']}", 1),
    ]
    if server is None:
        return lines
    lines += ["", f"Server: {section(server, 'Platform').get('Name', '')}".rstrip()]
    for component in entries(server, "Components"):
        details: Mapping[str, str] = section(component, "Details")
        lines += [f" {component['Name']}:", _fact("Version", component["Version"], 2)]
        lines += [_fact(title, _detail(details, key), 2) for key, title in _DETAILS.items() if details.get(key)]
    return lines


_DETAILS = {
    "ApiVersion": "API version",
    "GitCommit": "Git commit",
    "GoVersion": "Go version",
    "KernelVersion": "Kernel version",
    "Os": "OS/Arch",
}


def _detail(details: Mapping[str, str], key: str) -> str:
    match key:
        case "ApiVersion":
            return f"{details[key]} (minimum version {details.get('MinAPIVersion', '')})"
        case "Os":
            return f"{details[key]}/{details.get('Arch', '')}"
        case _:
            return details[key]


@command("info", "", text("-f", "--format", help=_FORMAT))
def info(call: Call) -> int | None:
    """Display system-wide information"""
    found: dict[str, Any] = call.client.request("GET", "/info").json()
    client = {"Version": own_version(), "Context": "default", "Debug": False}
    form = call.options.text("format")
    if form:
        print(_formatted(form, {**found, "ClientInfo": client}))
        return 0
    print(f"Client:\n Version:    {client['Version']}\n\nServer:")
    print("\n".join(_info_lines(found)))
    sys.stdout.flush()
    for warning in entries(found, "Warnings"):
        print(warning, file=sys.stderr)


def _info_lines(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f" Containers: {found.get('Containers', 0)}",
        *(f"  {state}: {found.get(f'Containers{state}', 0)}" for state in ("Running", "Paused", "Stopped")),
        f" Images: {found.get('Images', 0)}",
        f" Server Version: {found.get('ServerVersion', '')}",
        f" Storage Driver: {found.get('Driver', '')}",
        *(f"  {name}: {value}" for name, value in entries(found, "DriverStatus")),
        f" Logging Driver: {found.get('LoggingDriver', '')}",
        f" Cgroup Driver: {found.get('CgroupDriver', '')}",
        f" Cgroup Version: {found.get('CgroupVersion', '')}",
        " Plugins:",
        *(f"  {kind}: {' '.join(names)}" for kind, names in section(found, "Plugins").items() if names),
        f" Runtimes: {' '.join(sorted(found.get('Runtimes') or {}))}",
        f" Default Runtime: {found.get('DefaultRuntime', '')}",
        *_security_lines(entries(found, "SecurityOptions")),
        *(f" {title}: {found[key]}" for key, title in _MACHINE.items() if found.get(key) not in (None, "")),
        f" Total Memory: {binary_size(found.get('MemTotal') or 0)}",
        f" Docker Root Dir: {found.get('DockerRootDir', '')}",
        f" Debug Mode: {str(bool(found.get('Debug'))).lower()}",
    ]
    if labels := found.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in labels)]
    return [*lines, f" Live Restore Enabled: {str(bool(found.get('LiveRestoreEnabled'))).lower()}"]


_MACHINE = {
    "FirewallBackend": "Firewall Backend",
    "KernelVersion": "Kernel Version",
    "OperatingSystem": "Operating System",
    "OSType": "OSType",
    "Architecture": "Architecture",
    "NCPU": "CPUs",
    "Name": "Name",
    "ID": "ID",
}


def _security_lines(options: Sequence[str]) -> list[str]:
    if not options:
        return []
    lines = [" Security Options:"]
    for option in options:
        name, *details = option.split(",")
        lines.append(f"  {name.removeprefix('name=')}")
        lines += [f"   {key.title()}: {value}" for key, _, value in (each.partition("=") for each in details)]
    return lines
