"""busybox's udhcpc, run in sandboxes: once to get a lease, then for as long as the endpoint is there, to keep it.

A client that keeps a lease has a session of its own and outlives the daemon. It is known again by its pidfile, which
is among its arguments too, so that no number that was given out anew is taken for it. Beside the pidfile is the last
report of the script. No other records are needed: what is in the directory is all there is. I/O: processes, files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from netpy.errors import DriverError
from netpy_dhcp.lease import Lease, parsed

SCRIPT = Path(__file__).with_name("report.sh")
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
PAUSE = 2  # s between two questions to the servers
_BOUND, _END = 1.5, 5.0  # s to wait for a client that has just been started, and for one that releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A client's task. `id` names its files; `address` (with prefix length) and `router` are those it is to keep."""

    id: str
    netns: str
    link: str
    hostname: str = ""
    address: str = ""
    router: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """The link that a lease is got with, before the endpoint has its own."""

    parent: str
    mode: str
    mac: str


@cache
def program() -> tuple[str, ...]:
    """The command that is udhcpc, looked for until it is found. DriverError names the packages that bring it."""
    path = f"{os.environ.get('PATH', '')}:{PATH}"
    if found := shutil.which("udhcpc", path=path):
        return (found,)
    busybox = shutil.which("busybox", path=path)
    if busybox and "udhcpc" in _said(busybox, "--list").split():
        return (busybox, "udhcpc")
    raise DriverError("driver dhcp: there is no udhcpc on this host: install busybox-static (or udhcpc)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The clients of one network. `root` is the directory of their files; it need not exist."""

    root: Path
    command: tuple[str, ...] = field(default_factory=program)

    def lease(self, ask: Ask, stand: Stand, seconds: int) -> Lease:
        """Get a lease by way of a link that is there for as long as that takes. DriverError where there is none."""
        report = self._file(ask.id, "first")
        report.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._plug(ask, stand)
            tries = ("-n", "-q", "-t", str(max(1, seconds // PAUSE)), "-T", str(PAUSE))
            done = self._run(ask, report, *tries, limit=seconds + 10)
            if not report.exists():
                raise DriverError(_failure(done, stand.parent, seconds))
            return parsed(report.read_bytes())
        except ValueError as error:
            raise DriverError(f"driver dhcp: the server on {stand.parent} leased no usable address: {error}") from error
        finally:
            report.unlink(missing_ok=True)
            self.unplug(ask)

    def unplug(self, ask: Ask) -> None:
        """Remove the link of `lease`, where it is still there."""
        if Path(ask.netns).exists():
            _tool(*_inside(ask.netns), "ip", "link", "del", _temporary(ask))

    def keep(self, ask: Ask) -> None:
        """Start the client that renews the lease, unless it is there."""
        if self.alive(ask.id):
            return
        self.root.mkdir(parents=True, exist_ok=True)
        self._forget(ask.id)
        pidfile, address = self._file(ask.id, "pid"), ask.address.partition("/")[0]
        argv = [*self._argv(ask), "-R", "-S", "-p", str(pidfile), "-t", "5", "-T", "3", "-A", "20", "-r", address]
        _detached(argv, self._environment(ask, self._file(ask.id, "lease")))

    def end(self, id: str) -> None:
        """End a client; it gives its lease back. Nothing happens where there is none."""
        if pid := self.alive(id):
            report = self._file(id, "lease")
            _until(lambda: report.exists() or not self.alive(id), _BOUND)
            report.unlink(missing_ok=True)  # from here on the script leaves the address alone
            _send(pid, signal.SIGTERM)
            if not _until(lambda: not self.alive(id), _END):
                _send(pid, signal.SIGKILL)
        self._forget(id)

    def alive(self, id: str) -> int:
        """The client's process id, or 0."""
        pidfile = self._file(id, "pid")
        with suppress(OSError, ValueError):
            pid = int(pidfile.read_text())
            if str(pidfile).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        return 0

    def all(self) -> Iterator[str]:
        """The ids that have files here."""
        yield from sorted({path.name.partition(".")[0] for path in self.root.glob("*.*")})

    def report(self, id: str) -> tuple[Lease, float] | None:
        """What the client said last, and when (Unix time)."""
        with suppress(OSError, ValueError):
            path = self._file(id, "lease")
            return parsed(path.read_bytes()), path.stat().st_mtime
        return None

    def close(self) -> None:
        """End all clients of the network, and remove the directory."""
        for id in self.all():
            self.end(id)
        with suppress(OSError):  # not empty, or not there
            for directory in (self.root, *self.root.parents[:2]):
                directory.rmdir()

    def _plug(self, ask: Ask, stand: Stand) -> None:
        self.unplug(ask)
        name = _temporary(ask)
        kind = ("type", "macvlan", "mode", stand.mode)
        made = _tool("ip", "link", "add", "link", stand.parent, "name", name, "address", stand.mac,
                     "netns", ask.netns, *kind)  # fmt: skip
        made = made if made.returncode else _tool(*_inside(ask.netns), "ip", "link", "set", name, "up")
        if made.returncode:
            raise DriverError(f"driver dhcp: no macvlan link on parent {stand.parent}: {made.stderr.strip()}")

    def _run(self, ask: Ask, report: Path, *more: str, limit: float) -> subprocess.CompletedProcess[str]:
        report.unlink(missing_ok=True)
        argv = [*self._argv(ask, _temporary(ask)), *more]
        if ask.address:
            argv += ["-r", ask.address.partition("/")[0]]
        return _tool(*argv, env=self._environment(ask, report, given=False), limit=limit)

    def _argv(self, ask: Ask, link: str = "") -> list[str]:
        named = ["-x", f"hostname:{ask.hostname}"] if ask.hostname else []
        options = ["-f", "-i", link or ask.link, "-s", str(SCRIPT), "-O", "search", *named]
        return [*_inside(ask.netns), *self.command, *options]

    def _environment(self, ask: Ask, report: Path, *, given: bool = True) -> dict[str, str]:
        own = {"NETPY_ADDRESS": ask.address, "NETPY_ROUTER": ask.router} if given else {}
        return {"PATH": PATH, "NETPY_LEASE": str(report), **own}

    def _file(self, id: str, kind: str) -> Path:
        return self.root / f"{id}.{kind}"

    def _forget(self, id: str) -> None:
        for path in self.root.glob(f"{id}.*"):
            path.unlink(missing_ok=True)


def _temporary(ask: Ask) -> str:
    return f"dh-{ask.id[:12]}"


def _inside(netns: str) -> tuple[str, str]:
    return "nsenter", f"--net={netns}"


def _failure(done: subprocess.CompletedProcess[str], parent: str, seconds: int) -> str:
    said = done.stderr.strip().splitlines()
    if any("no lease" in line or "nak" in line.lower() for line in said) or not said:
        refused = any("nak" in line.lower() for line in said)
        what = "the DHCP server refused one (NAK)" if refused else f"no DHCP server answered within {seconds} s"
        return f"driver dhcp: no lease on parent {parent}: {what}"
    return f"driver dhcp: no lease on parent {parent}: udhcpc: {said[-1]}"


def _until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _said(*argv: str) -> str:
    return _tool(*argv).stdout


def _detached(argv: Sequence[str], env: dict[str, str]) -> None:
    """Start a program that is nobody's child; what it says goes to syslog alone, as a pipe would hold us up."""
    null = subprocess.DEVNULL
    try:
        subprocess.run(
            ["setsid", "--fork", *argv], env=env, stdin=null, stdout=null, stderr=null, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DriverError(f"driver dhcp: the DHCP client cannot be started: {error}") from error


def _tool(*argv: str, env: dict[str, str] | None = None, limit: float = 20) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    environment = {"PATH": PATH} if env is None else env
    try:
        return subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
        )
    except FileNotFoundError as error:
        raise DriverError(f"driver dhcp: {error.filename} is not on this host") from error
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"driver dhcp: {argv[0]} did not end within {limit:g} s: killed") from error
