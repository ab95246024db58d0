"""Churn: thousands of containers through dozens of networks, and a daemon that is killed now and then.

Several clients at once, each along a lane of its own that a seeded generator lays out (`churn_model`). After each round
the daemon's answers are held against what must be there, ports and names are asked with packets, and after some the
daemon is ended, with SIGTERM or SIGKILL, and started again. Then the memory of a daemon that has run for a while is
compared with that of the same daemon after a good deal more, and in the end everything is as before.
"""

from __future__ import annotations

import gc
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scripts.tortures.churn_client import Auditor, Walker
from scripts.tortures.churn_model import lane
from scripts.tortures.tally import Options, Tally
from tests.e2e.world import Daemon, World, eventually, new_world

POOLS = ("--default-address-pool", "base=10.128.0.0/12,size=24")  # those by default are 31 networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """`containers` in all, a third of them after the last restart; `rounds` between looks.

    `growth` is what the daemon's private memory may have become at the end, times that of the warm daemon.
    """

    containers: int = 2000
    networks: int = 50
    lanes: int = 4
    rounds: int = 24
    restarts: int = 8
    growth: float = 1.1


BRIEF = Size(containers=60, networks=8, lanes=2, rounds=3, restarts=2, growth=1.2)
TEST = Size(containers=16, networks=6, lanes=2, rounds=2, restarts=1, growth=1.5)  # it is not even warm


def run(options: Options) -> Tally:
    """On the first backend asked for; both together would tell little more."""
    tally = Tally(part="churn")
    churn(options.backends[0], options.seed, BRIEF if options.brief else Size(), tally)
    return tally


def churn(backend: str, seed: int, size: Size, tally: Tally) -> None:
    """One run in a world of its own."""
    with ExitStack() as cleanup:
        world = new_world()
        cleanup.callback(shutil.rmtree, world.root, ignore_errors=True)
        cleanup.callback(world.close)
        daemon = Daemon(world, f"churn-{backend[:3]}", flags=("--firewall-backend", backend, *POOLS))
        cleanup.callback(daemon.close)
        daemon.start()
        daemon.import_busybox()
        daemon("run", "--rm", "busybox", "true")
        _Churn(world, daemon, seed, size, tally).run()


class _Churn:
    def __init__(self, world: World, daemon: Daemon, seed: int, size: Size, tally: Tally) -> None:
        self._world, self._daemon = world, daemon
        self._size, self._tally = size, tally
        share = size.networks // size.lanes
        self._lanes = [lane(number, seed, share) for number in range(size.lanes)]

    def run(self) -> None:
        size, tally = self._size, self._tally
        before = self._standing()
        self._rounds(size.containers * 2 // 3, size.restarts)
        self._restart(size.restarts)
        self._rounds(size.containers * 5 // 6, 0)
        self._leave()
        warm = self._memory()
        self._rounds(size.containers, 0)
        self._leave()
        self._compare(warm)
        left = self._standing()
        for what, thing in sorted(left ^ before):
            tally.blame(f"{'left' if (what, thing) in left else 'gone'}: {what} {thing}")
        tally.count("containers", sum(each.begun for each in self._lanes))
        tally.count("networks", self._size.networks)

    def _rounds(self, target: int, restarts: int) -> None:
        """Until that many containers have been run, with a look after each round and that many restarts."""
        size = self._size
        begun = sum(each.begun for each in self._lanes)
        rounds = max(1, size.rounds * (target - begun) // size.containers)
        for number in range(1, rounds + 1):
            goal = begun + (target - begun) * number // rounds
            self._together(lambda walker, goal=goal: walker.walk_until(-(-goal // size.lanes)))
            self._audit()
            if number * restarts // rounds > (number - 1) * restarts // rounds:
                self._restart(number)
                self._audit()

    def _leave(self) -> None:
        self._together(lambda walker: walker.leave())
        self._audit()

    def _together(self, work: Callable[[Walker], None]) -> None:
        """Each walker in a thread of its own; the first failure of each is told."""

        def walk(walker: Walker) -> None:
            try:
                work(walker)
            except Exception as error:
                self._tally.blame(f"lane {walker.lane.number}: {type(error).__name__}: {error}")
            finally:
                walker.close()

        walkers = [Walker(each, self._daemon) for each in self._lanes]
        threads = [threading.Thread(target=walk, args=(walker,)) for walker in walkers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._tally.count("requests granted", sum(walker.steps - walker.mistakes for walker in walkers))
        self._tally.count("mistakes refused", sum(walker.mistakes for walker in walkers))
        if self._tally.findings:
            raise AssertionError("\n".join(self._tally.findings) + self._daemon.tail())

    def _audit(self) -> None:
        auditor = Auditor(self._world, self._daemon)
        for line in auditor.audit(self._lanes):
            self._tally.blame(line)
        self._tally.count("answers checked", auditor.answers)
        auditor.close()

    def _restart(self, number: int) -> None:
        (self._daemon.kill if number % 2 else self._daemon.stop)()
        self._daemon.start()
        self._tally.count("daemon restarts")

    def _memory(self) -> int:
        """The daemon's private memory in KiB, when it has settled: the least of a few looks."""
        pid = int((self._daemon.exec_root / "pid").read_text())
        gc.collect()
        seen: list[int] = []

        def settled() -> bool:
            seen.append(private(pid))
            return len(seen) > 40

        eventually(settled, "", 60)
        return min(seen)

    def _compare(self, warm: int) -> None:
        now = self._memory()
        self._tally.count("KiB private of a warm daemon", warm)
        self._tally.count("KiB private at the end", now)
        if now > warm * self._size.growth:
            self._tally.blame(f"the daemon's private memory grew from {warm} KiB to {now} KiB")

    def _standing(self) -> frozenset[tuple[str, str]]:
        """What is there of ours when no container is: links, rules, files, namespaces; threads and descriptors."""
        host, daemon = self._world.host, self._daemon
        rules = self._world.at(host, "nft", "-s", "list", "ruleset").stdout.splitlines()
        rules += self._world.at(host, "iptables-legacy", "-S").stdout.splitlines()
        links = [line.split()[1] for line in self._world.at(host, "ip", "-o", "link").stdout.splitlines()]
        found = {("rule", line.strip()) for line in rules if " limit rate over " not in line} | {
            ("link", name) for name in links
        }
        for root, depth in ((daemon.data_root, "*/*"), (daemon.exec_root, "*"), (daemon.exec_root, "*/*")):
            found |= {("file", str(path)) for path in root.glob(depth) if not _comes_and_goes(path)}
        return frozenset(found)


def private(pid: int) -> int:
    """Private memory of a process in KiB (USS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _comes_and_goes(path: Path) -> bool:
    return path.suffix in {".log", ".db-wal", ".db-shm"}
