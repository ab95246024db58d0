"""The executable: netavark's `create`, `setup NETNS`, `teardown NETNS` and `info`, JSON in and JSON out.

Errors are `{"error": "…"}` on standard output and exit code 1, as netavark wants them; podman shows them to its user.
netpy is imported by the commands that need it, so that `info` answers at once. I/O: standard streams, environment.

Environment: NETPY_NETAVARK_ROOT, the directory of the state (/run/netpy-netavark), which also makes the name of the
instance that marks links and rules; NETPY_NETAVARK_FIREWALL: auto, nftables or iptables.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from netpy.oneshot import Choice, Session

API_VERSION = "1.0.0"
ROOT = "/run/netpy-netavark"
USAGE = "usage: netpy create|info, netpy setup|teardown NETNS (a netavark plugin; its input comes from podman)"
_ARGUMENTS = {"info": 0, "create": 0, "setup": 1, "teardown": 1}


def main() -> int:
    """The console script."""
    try:
        answer = run(sys.argv[1:])
    except Exception as error:
        print(json.dumps({"error": _words(error)}))
        return 1
    if answer is not None:
        print(json.dumps(answer, indent=1))
    return 0


def run(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What the command answers, or None. Raises whatever went wrong."""
    command = arguments[0] if arguments else ""
    if len(arguments) != 1 + _ARGUMENTS.get(command, -2):
        raise ValueError(USAGE)
    if command == "info":
        return {"version": version("netpy-as-netavark"), "api_version": API_VERSION}
    document = _input(command)
    if os.geteuid() != 0:
        raise PermissionError("netpy's networks need root: rootless podman cannot use them")
    if command == "create":
        from netpy_as_netavark.creation import complete

        with _session() as session:
            return complete(session, document)
    return _plugged(command, arguments[1], document)


def _plugged(command: str, netns: str, document: object) -> dict[str, Any] | None:
    from netpy_as_netavark import plugin
    from netpy_as_netavark.messages import call

    asked = call(document)
    with _session() as session:
        if command == "setup":
            return plugin.setup(session, asked, netns)
        plugin.teardown(session, asked)
    return None


def _session() -> AbstractContextManager[Session]:
    from netpy import Settings
    from netpy.oneshot import session

    root = Path(os.environ.get("NETPY_NETAVARK_ROOT") or ROOT)
    firewall = os.environ.get("NETPY_NETAVARK_FIREWALL") or "auto"
    if firewall not in ("auto", "nftables", "iptables"):
        raise ValueError(f"NETPY_NETAVARK_FIREWALL is {firewall!r}: say auto, nftables or iptables")
    return session(root, Settings(instance=root.name, host_id=root.name), cast("Choice", firewall))


def _input(command: str) -> object:
    text = sys.stdin.buffer.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{command}: standard input is no JSON: {error}") from error


def _words(error: Exception) -> str:
    """An error in a line; one that nobody foresaw has its traceback on standard error, for podman's log."""
    from netpy import NetpyError

    if isinstance(error, ExceptionGroup):
        return f"{error.message}: " + "; ".join(map(str, cast("Sequence[Exception]", error.exceptions)))
    if not isinstance(error, NetpyError | ValueError | PermissionError):
        import traceback

        traceback.print_exception(error)
        return f"internal error: {error!r}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
