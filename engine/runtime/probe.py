"""Which OCI runtime works on this host: found out by running it.

crun is preferred, being the faster; but 1.8 refuses hosts where a v2 control group tree stands beside v1 hierarchies
and still offers controllers, and other hosts will have other reasons. So each candidate is asked for a container with
our own default configuration, whose program does not exist: it has to set up namespaces, mounts, control groups,
capabilities and seccomp to find that out. Exactly this complaint is the sign that all else worked. 10 to 40 ms, once.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.oci.spec import SpecRequest, oci_spec
from engine.runtime import cgroups, host
from engine.runtime.refusal import NOT_FOUND, explain
from netpy.errors import Unsupported
from netpy.faults import point

CANDIDATES = ("crun", "runc")
_TIMEOUT = 30.0
_PROGRAM = "/netpy-probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The runtime to use: its name, its path, and the path of conmon."""

    name: str
    binary: str
    conmon: str


def probe(folder: Path, requested: str = "") -> Choice:
    """The runtime asked for by name or path, or the first candidate that works. `folder` is there for the trial alone.

    Raises Unsupported, naming the Debian package to install, or what the runtimes said.
    """
    conmon = _program("conmon")
    if conmon is None:
        raise Unsupported("conmon is not installed: install the package conmon")
    reasons: list[str] = []
    for candidate in (requested,) if requested else CANDIDATES:
        binary = _program(candidate)
        if binary is None:
            reasons.append(f"{candidate} is not installed: install the package {Path(candidate).name}")
            continue
        reason = complaint(binary, folder)
        if not reason:
            return Choice(name=Path(binary).name, binary=binary, conmon=conmon)
        reasons.append(f"{candidate} does not work on this host: {reason}")
    raise Unsupported("no OCI runtime: " + "; ".join(reasons))


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def complaint(binary: str, folder: Path) -> str:
    """Why the runtime cannot run a container here; empty when it can."""
    hierarchy = cgroups.detect()
    _clear(binary, folder)  # of a trial that was cut off
    name = f"probe-{secrets.token_hex(8)}"
    group = cgroups.container_path(name)
    try:
        (folder / "rootfs").mkdir(parents=True)
        request = SpecRequest(
            id=name,
            rootfs=str(folder / "rootfs"),
            args=(_PROGRAM,),
            config={},
            host_config={},
            cgroup=group,
            facts=host.facts(hierarchy),
        )
        (folder / "config.json").write_text(json.dumps(oci_spec(request)))
        point("before trying a runtime")
        text = _run([binary, "--root", str(folder / "state"), "run", "--bundle", str(folder), name])
        point("after trying a runtime")
        refusal = explain(text, runtime=Path(binary).name, action="create", executable=_PROGRAM)
        return "" if refusal.exit_code == NOT_FOUND and _PROGRAM in refusal.message else text.strip() or "no answer"
    finally:
        _clear(binary, folder)
        with suppress(ExceptionGroup):
            cgroups.remove(hierarchy, group)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.decode(errors="replace")


def _clear(binary: str, folder: Path) -> None:
    for record in folder.glob("state/probe-*"):
        _run([binary, "--root", str(folder / "state"), "delete", "--force", record.name])
    shutil.rmtree(folder, ignore_errors=True)
