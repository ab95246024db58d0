"""A crowd of clients at one daemon: each creates containers, starts them, executes in them, removes them, again and again.

Every client goes for containers of its own, whose verbs must never fail, and now and then for one name that all want,
where Docker too tells all but one that it is taken. Afterwards nothing may be left: no container, no drift of the
network, no thread and no descriptor of the daemon. A request that is not answered within two minutes is a deadlock.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.client import ApiError, Client
from engine.streams import Decoder
from tests.e2e.world import Daemon, eventually, new_world

PATIENCE = 120.0  # seconds
SPARE_THREADS, SPARE_DESCRIPTORS = 12, 24  # schedulers and pools that come up with the first work and stay


@dataclass
class Tally:
    """What the crowd saw. `slowest` is in seconds, by verb."""

    visits: int = 0
    verbs: Counter[str] = field(default_factory=Counter[str])
    slowest: dict[str, float] = field(default_factory=dict[str, float])
    wrong: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, verb: str, took: float) -> None:
        with self.lock:
            self.verbs[verb] += 1
            self.slowest[verb] = max(took, self.slowest.get(verb, 0.0))

    def blame(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)


class Visitor:
    """One client. `networks` are those it may choose from."""

    def __init__(self, host: str, tally: Tally, number: int, networks: tuple[str, ...]) -> None:
        self._client = Client(host)
        self._tally = tally
        self._number = number
        self._networks = networks
        self._chance = random.Random(number)

    def stay(self, until: float) -> None:
        """Come again until that time."""
        visit = 0
        while time.monotonic() < until and not self._tally.wrong:
            visit += 1
            try:
                self._visit(f"crowd-{self._number}-{visit}")
                if visit % 3 == 0:
                    self._scramble()
            except Exception as error:
                self._tally.blame(f"client {self._number}, visit {visit}: {type(error).__name__}: {error}")
            with self._tally.lock:
                self._tally.visits += 1
        self._client.close()

    def _visit(self, name: str) -> None:
        body = {
            "Image": "busybox",
            "Cmd": ["sleep", "1000"],
            "HostConfig": {"NetworkMode": self._chance.choice(self._networks)},
        }
        if self._chance.random() < 0.3:
            body["ExposedPorts"] = {"80/tcp": {}}
            body["HostConfig"]["PublishAllPorts"] = True
        id = self._ask("create", "POST", "/containers/create", {"name": name}, body)["Id"]
        self._ask("start", "POST", f"/containers/{id}/start")
        self._execute(id, name)
        state = self._ask("inspect", "GET", f"/containers/{id}/json")["State"]
        assert state["Running"], f"{name} is {state['Status']}, with exit code {state['ExitCode']}: {state['Error']}"
        if self._chance.random() < 0.2:
            shown = self._ask("list", "GET", "/containers/json", {"filters": {"name": {name: True}}})
            assert id in [each["Id"] for each in shown]
        if self._chance.random() < 0.3:
            self._ask("kill", "POST", f"/containers/{id}/kill")
            ended = self._ask("wait", "POST", f"/containers/{id}/wait")
            assert ended["StatusCode"] == 137, f"killed {name} ended with {ended}"
        self._ask("remove", "DELETE", f"/containers/{id}", {"force": True, "v": True})

    def _execute(self, id: str, name: str) -> None:
        body = {"Cmd": ["echo", name], "AttachStdout": True, "AttachStderr": True}
        exec_id = self._ask("exec", "POST", f"/containers/{id}/exec", body=body)["Id"]
        begun = time.monotonic()
        said = bytearray()
        decoder = Decoder()
        with self._client.hijack(f"/exec/{exec_id}/start", body={"Detach": False, "Tty": False}) as sock:
            sock.settimeout(PATIENCE)
            while data := sock.recv(65536):
                for frame in decoder.feed(data):
                    said += frame.data
        self._tally.note("exec-start", time.monotonic() - begun)
        assert said.decode() == f"{name}\n", f"exec in {name} said {bytes(said)!r}"
        code = self._ask("exec-inspect", "GET", f"/exec/{exec_id}/json")["ExitCode"]
        assert code == 0, f"exec in {name} ended with {code}"

    def _scramble(self) -> None:
        """Go for what everybody wants."""
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"]}
        self._ask("claim", "POST", "/containers/create", {"name": "crowd-shared"}, body, allowed=(409,))
        self._ask("use", "POST", "/containers/crowd-shared/start", allowed=(404, 409))
        self._ask("drop", "DELETE", "/containers/crowd-shared", {"force": True}, allowed=(404, 409))

    def _ask(
        self, verb: str, method: str, path: str, query: Any = None, body: Any = None, allowed: tuple[int, ...] = ()
    ) -> Any:
        begun = time.monotonic()
        try:
            with self._client.request(method, path, query, body) as response:
                content = response.read()
        except ApiError as error:
            if error.status not in allowed:
                raise AssertionError(f"{verb}: {error.status} {error.message}") from error
            return None
        finally:
            self._tally.note(verb, time.monotonic() - begun)
        return json.loads(content) if content.strip() else None


def gather(daemon: Daemon, *, seconds: float, clients: int) -> Tally:
    """Send the crowd in and wait until it has left."""
    tally = Tally()
    daemon("network", "create", "crowd")
    host = daemon.environment["NETPY_HOST"]
    until = time.monotonic() + seconds
    visitors = [Visitor(host, tally, number, ("crowd", "bridge", "crowd", "none")) for number in range(clients)]
    threads = [threading.Thread(target=visitor.stay, args=(until,), daemon=True) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()) + PATIENCE)
        if thread.is_alive():
            tally.blame(f"a client got no answer within {PATIENCE:.0f} s: {daemon.tail()}")
            break
    return tally


def trial(daemon: Daemon, *, seconds: float, clients: int) -> Tally:
    """The crowd, and what it left; AssertionError names what is wrong."""
    assert daemon.process
    pid = int((daemon.exec_root / "pid").read_text())
    daemon("run", "--rm", "busybox", "true")
    before = resources(pid)
    tally = gather(daemon, seconds=seconds, clients=clients)
    assert not tally.wrong, "\n".join(tally.wrong[:10]) + daemon.tail()
    daemon.run("rm", "-f", "crowd-shared", check=False)
    daemon("network", "rm", "crowd")
    assert daemon("ps", "-aq") == "", "containers are left"
    daemon("network", "check")  # fails where the kernel has what it should not

    def settled() -> bool:
        now = resources(pid)
        return now[0] <= before[0] + SPARE_THREADS and now[1] <= before[1] + SPARE_DESCRIPTORS

    _await(settled, lambda: f"threads and descriptors went from {before} to {resources(pid)}")
    left = (
        [str(path) for path in (daemon.exec_root / "netns").glob("*")] if (daemon.exec_root / "netns").is_dir() else []
    )
    assert not left, f"network namespaces are left: {left}"
    return tally


def resources(pid: int) -> tuple[int, int]:
    """A process's threads and open descriptors."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _await(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    try:
        eventually(condition, seconds=30)
    except AssertionError:
        raise AssertionError(what()) from None


def main() -> int:
    """`scripts/crowd [SECONDS] [CLIENTS]`."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    world = new_world()
    daemon = Daemon(world, "crowd")
    try:
        daemon.start()
        daemon.import_busybox()
        tally = trial(daemon, seconds=seconds, clients=clients)
    except AssertionError as error:
        print(f"failed: {error}")
        return 1
    finally:
        daemon.close()
        world.close()
        shutil.rmtree(world.root, ignore_errors=True)
    print(f"{clients} clients in {seconds:.0f} s: {tally.visits} visits, no error, nothing left")
    for verb, count in tally.verbs.most_common():
        print(f"  {verb:13} {count:6}   slowest {tally.slowest[verb]:6.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
