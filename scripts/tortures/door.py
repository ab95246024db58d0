"""The part `door`: who may come in, what lies open, and what the processes could do. Looked at on a real daemon.

A finding is a file that others may read, a way to the API for somebody who is not root, or a privilege that nobody
needs.
"""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.world import NETPY, Daemon, new_world

from .tally import Options, Tally

UNIT = Path(__file__).resolve().parents[1] / "netpy.service"
NOBODY = 65534
_SETPCAP_KEPT = 1 << 19 | 1 << 21  # SYS_PTRACE, SYS_ADMIN: what the name server goes into sandboxes with


def run(options: Options) -> Tally:
    tally = Tally(part="door")
    for backend in options.backends:
        with daemon(backend) as netpy:
            for name, wrong in (*looked_at(netpy), *refused(netpy)):
                tally.count("checks")
                if wrong:
                    tally.blame(f"{backend}: {name}: {wrong}")
    for line in verified(tally):
        tally.blame(line)
    return tally


@contextlib.contextmanager
def daemon(backend: str) -> Iterator[Daemon]:
    """A daemon with a network, a volume, and a container that has a secret in its environment."""
    world = new_world()
    netpy = Daemon(world, name="door", flags=("--firewall-backend", backend))
    try:
        netpy.start()
        netpy.import_busybox()
        netpy("network", "create", "n")
        flags = ("--network", "n", "-e", "SECRET=hunter2", "-v", "vault:/vault")
        netpy("run", "-d", "--name", "safe", *flags, "busybox", "sh", "-c", "echo hunter2 | tee /vault/s; sleep 1000")
        yield netpy
    finally:
        netpy.close()
        world.close()
        shutil.rmtree(world.root, ignore_errors=True)


def looked_at(netpy: Daemon) -> Iterator[tuple[str, str]]:
    """(what was looked at, what is wrong with it)."""
    found = netpy.socket.stat()
    yield "the socket's mode", "" if stat.S_IMODE(found.st_mode) == 0o660 else oct(found.st_mode)
    owners = (found.st_uid, found.st_gid) == (0, _group())
    yield "the socket's owners", "" if owners else f"{found.st_uid}:{found.st_gid}"
    for root in (netpy.data_root, netpy.exec_root):
        open_files = [str(path) for path in _open_to_others(root) if _is_telling(path)]
        yield f"what others can read below {root.name}", "; ".join(open_files[:5])
        loose = [str(path) for path in _writable_by_others(root)]
        yield f"what others can write below {root.name}", "; ".join(loose[:5])
    pid = _process(b"netpy.nameserver", str(netpy.exec_root))
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    for field in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        more = int(status[field], 16) & ~_SETPCAP_KEPT
        yield f"the name server's {field}", f"{more:x} too much" if more else ""
    yield "the name server's NoNewPrivs", "" if status["NoNewPrivs"] == "1" else "off"
    assert netpy.process
    listening = _inet_listeners(netpy)
    yield "what the daemon listens on", "; ".join(listening)


def refused(netpy: Daemon) -> Iterator[tuple[str, str]]:
    """(what was tried, how it got on)."""
    yield "nobody connects to the API", "" if not _connects(netpy.socket) else "connected"
    control = netpy.exec_root / "dns.sock"
    yield "nobody connects to the name server", "" if not _connects(control) else "connected"
    for address in ("tcp://0.0.0.0:2375", "tcp://127.0.0.1:2376", "http://127.0.0.1:2375", "unix://relative.sock"):
        command = [
            NETPY,
            "daemon",
            "--data-root",
            str(netpy.data_root / "x"),
            "--exec-root",
            str(netpy.exec_root / "x"),
        ]
        done = subprocess.run([*command, "-H", address], capture_output=True, text=True, timeout=20, check=False)
        said = done.returncode != 0 and "only unix:///absolute/path and fd:// are served" in done.stderr
        yield f"the daemon does not serve {address}", "" if said else f"exit {done.returncode}: {done.stderr[:200]}"
    yield "the daemon does not serve a TCP socket that it is handed", _handed_over(netpy)


def verified(tally: Tally) -> Iterator[str]:
    """What systemd has to say about the unit, where it is installed."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        tally.notes.append("systemd-analyze is not installed: the unit was not verified")
        return
    done = subprocess.run([analyze, "verify", "--man=no", str(UNIT)], capture_output=True, text=True, check=False)
    tally.count("checks")
    yield from (line for line in done.stderr.splitlines() if UNIT.name in line)


def _group() -> int:
    with contextlib.suppress(KeyError):
        return grp.getgrnam("netpy").gr_gid
    return 0


def _open_to_others(root: Path) -> Iterator[Path]:
    """Files below that somebody who is neither root nor in a group of root's can come to and read."""
    if not root.stat().st_mode & stat.S_IXOTH:
        return
    for entry in root.iterdir() if os.access(root, os.R_OK) else ():
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode) and not entry.is_mount():
            yield from _open_to_others(entry)
        elif stat.S_ISREG(mode) and mode & stat.S_IROTH:
            yield entry


def _is_telling(path: Path) -> bool:
    """Whether a file that all may read says anything: a process id and the log of this trial do not."""
    return path.name not in {"pid", "log"}


def _writable_by_others(root: Path) -> Iterator[Path]:
    if not root.stat().st_mode & stat.S_IXOTH:
        return
    for entry in root.iterdir():
        mode = entry.lstat().st_mode
        if stat.S_ISLNK(mode) or (entry.is_dir() and entry.is_mount()):
            continue
        if mode & stat.S_IWOTH:
            yield entry
        if stat.S_ISDIR(mode):
            yield from _writable_by_others(entry)


def _process(program: bytes, root: str) -> int:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if program in words and root.encode() in words:
                return int(entry.parent.name)
    raise AssertionError(f"no process {program} for {root}")


def _inet_listeners(netpy: Daemon) -> list[str]:
    assert netpy.process
    said = netpy.world.at(netpy.world.host, "ss", "-Hltnp", check=False).stdout.splitlines()
    return [line for line in said if f"pid={netpy.process.pid}," in line and "LISTEN" in line]


def _connects(path: Path) -> bool:
    """Whether a process of nobody's gets a connection."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _handed_over(netpy: Daemon) -> str:
    """As systemd would, with LISTEN_FDS; in a namespace of the world's, where nobody else is."""
    script = (
        "import os,socket,sys\n"
        "made=socket.create_server(('127.0.0.1',0))\n"
        "made.fileno()==3 or os.dup2(made.fileno(),3)\n"
        "os.set_inheritable(3,True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='1')\n"
        "os.execv(sys.argv[1],sys.argv[1:])\n"
    )
    root = netpy.world.root / "handed"
    arguments = ["daemon", "--data-root", f"{root}/d", "--exec-root", f"{root}/e", "-H", "fd://"]
    python = [str(Path(NETPY).with_name("python")), "-c", script]
    command = ["nsenter", f"--net={netpy.world.outside}", *python, NETPY, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        try:
            _, said = started.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            started.terminate()
            return "it serves"
    return "" if "only Unix sockets are served" in said else f"exit {started.returncode}: {said[-200:]}"
