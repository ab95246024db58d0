"""`netpy-cni install DIR`: writes the file that container runtimes run, `DIR/netpy-cni`.

It starts Python without the site module and with the paths that this installation has now, which halves the time that a
call takes before its first line. After a move or an upgrade of Python, install again.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

USAGE = """netpy-cni is a CNI plugin: a container runtime runs it, with CNI_COMMAND and a configuration.

    netpy-cni install [DIR]    write DIR/netpy-cni (/opt/cni/bin) for container runtimes to run
"""
_LAUNCHER = """#!{python} -IS
import sys

sys.path[:0] = {paths!r}
from netpy_cni_plugin.launch import main

main()
"""


def run(arguments: list[str]) -> int:
    """The command line. Returns the exit code."""
    if not 1 <= len(arguments) <= 2 or arguments[0] != "install":
        sys.stderr.write(USAGE)
        return 1
    try:
        path = write(Path(arguments[1] if len(arguments) == 2 else "/opt/cni/bin"))
    except OSError as error:
        sys.stderr.write(f"cannot install: {error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
    return 0


def write(directory: Path) -> Path:
    """The launcher, in that directory. Its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "netpy-cni"
    path.write_text(_LAUNCHER.format(python=sys.executable, paths=_paths()))
    path.chmod(0o755)
    return path


def _paths() -> list[str]:
    """Where our packages and those that netpy needs are found."""
    found: dict[str, None] = {}
    for name in ("netpy_cni_plugin", "netpy", "iptc"):
        spec = find_spec(name)
        if spec and spec.origin:
            found[str(Path(spec.origin).parent.parent)] = None
    return list(found)
