"""Finds the daemon, and starts one where that is ours to do: as root, at the default socket, when none answers.

Does I/O: it connects, starts a process, and waits for its socket.
"""

from __future__ import annotations

import posix
import sys
import time

from engine.client import DEFAULT_HOST, Client, DaemonUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

LOG = "/var/log/netpy.log"
PATIENCE = 30.0


def connected(host: str = "") -> Client:
    """A client of the daemon at `host` (else $NETPY_HOST, else the default socket), started first if need be.

    Raises DaemonUnavailable if a daemon had to be started and did not come up; a foreign host is not tried here.
    """
    client = Client(host)
    if client.host == DEFAULT_HOST and posix.geteuid() == 0 and not client.reachable():
        start()
    return client


def start(arguments: tuple[str, ...] = (), *, host: str = DEFAULT_HOST, log: str | Path = LOG) -> None:
    """Start a daemon of its own session and wait until it answers. Its words go to `log`."""
    import os  # 20 ms, with these two, that every other command is spared
    import subprocess
    from pathlib import Path

    log = Path(log)
    print(f"netpy: no daemon is running; starting one (its log is {log})", file=sys.stderr, flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        begin = stream.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli.main", "daemon", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd="/",
            env=os.environ | {"PYTHONPATH": _search_path()},
            start_new_session=True,
        )
    deadline = time.monotonic() + PATIENCE
    client = Client(host)
    while not client.reachable():
        if process.poll() is not None:
            raise DaemonUnavailable(f"the netpy daemon could not start: {_last_words(log, begin)}")
        if time.monotonic() > deadline:
            raise DaemonUnavailable(f"the netpy daemon did not answer within {PATIENCE:.0f} s; see {log}")
        time.sleep(0.02)
    client.close()
    # it outlives us by design: nobody waits for it, and its own session takes it out of our terminal's reach
    process.returncode = 0


def _search_path() -> str:
    """Where our packages are, for a daemon whose working directory is the root."""
    import os
    from pathlib import Path

    here = str(Path(__file__).parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH", "")])])


def _last_words(log: Path, begin: int) -> str:
    text = log.read_bytes()[begin:].decode(errors="replace").strip()
    return text.splitlines()[-1] if text else f"it said nothing; see {log}"
