"""Scarcity: every operation while something is used up, and again when it is back.

Whatever is lacking, an operation succeeds, or is refused with words and leaves things as they were; the daemon stays
alive, residents notice nothing, the kernel is as the records say. As soon as there is enough again the same command
works, and in the end nothing is left. Addresses, host ports and the ports of a bridge are used up by containers.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.client import ApiError, DaemonUnavailable
from scripts.tortures import crash_traces as traces
from scripts.tortures.crash_operations import DONE, UNDONE, Operation, operations, refused
from scripts.tortures.crash_stage import Stage, settled
from scripts.tortures.crash_traces import Traces
from scripts.tortures.scarcity_lacks import Lack, lacks
from scripts.tortures.tally import Options, Tally

SIZE = "48m"  # of the file system that is filled
MAKING = ("network create", "network connect", "create", "create with an address and a volume", "start, publishing")
SPEECHLESS = "hung up without an answer"  # what was lacking was room for the answer itself: anything may be done
SAMPLE = 5  # trials of a brief run
BRIDGE_PORTS = 1023  # BR_MAX_PORTS of the kernel, less one


class Trials:
    """One backend's trials."""

    def __init__(self, stage: Stage, backend: str, tally: Tally) -> None:
        self._stage = stage
        self._backend = backend
        self._tally = tally
        self._where = ""
        self._clean: Traces = Traces()
        self._ids: set[str] = set()

    def note_clean(self) -> None:
        """What is there now is what must be there after every trial."""
        self._clean = self._traces()

    def _traces(self) -> Traces:
        self._ids |= {id for kind, id in traces.records(self._stage.daemon) if kind == "container"}
        return traces.taken(self._stage.daemon, self._ids)

    def go_without(self, operation: Operation, lack: Lack) -> None:
        """The operation while something is lacking, and when it is back."""
        stage = self._stage
        with self._trial(f"{operation.name} with {lack.name}"):
            operation.before(stage)
            with lack.within(stage):
                answer = self._answer(operation)
                self._residents("meanwhile")
            self._tally.count("operations refused" if answer else "operations that went through")
            outcome = operation.outcome(stage)
            if not answer and outcome != DONE:
                self._blame(f"said to be done: {outcome}")
            if answer and SPEECHLESS not in answer and operation.name in MAKING and outcome != UNDONE:
                self._blame(f"refused ({answer}), and left as {outcome}")
            if outcome not in (DONE, UNDONE):  # half of a removal: the daemon sees to the rest
                settled(lambda: operation.outcome(stage) in (DONE, UNDONE), 8)
                outcome = operation.outcome(stage)
            if outcome != DONE and (again := refused(stage, operation.act)):
                self._blame(f"does not work when it is back: {again}; before: {answer}")
            if operation.name != "restart" and (outcome := operation.outcome(stage)) != DONE:
                self._blame(f"when it is back: {outcome}")
            drift = [] if settled(lambda: not stage.drift(), 8) else stage.drift()  # what was left over is mended soon
            for line in drift:
                self._blame(f"drift: {line}")
            if drift:
                stage.ask("POST", "/netpy/repair")  # told once

    def _answer(self, operation: Operation) -> str:
        try:
            answer = refused(self._stage, operation.act)
        except (DaemonUnavailable, OSError) as error:  # no descriptor or no thread for the connection
            return f"503 {error}"
        if answer and (len(answer) < 12 or "Traceback" in answer or "object has no attribute" in answer):
            self._blame(f"refused without words: {answer}")
        return answer

    # ---- used up by containers -----------------------------------------------------------------------------------

    def addresses(self) -> None:
        """A network with five addresses for containers."""
        stage = self._stage
        with self._trial("out of addresses"):
            stage.network("narrow", "10.97.0.0/29")
            self._fill("narrow", lambda n: stage.run(f"full{n}", "sleep 1000", network="narrow"), 5, "10.97.0.0/29")

    def host_ports(self) -> None:
        """Four ephemeral ports on the host."""
        stage = self._stage
        with self._trial("out of host ports"):
            setting = "net.ipv4.ip_local_port_range"
            before = stage.world.at(stage.world.host, "sysctl", "-n", setting).stdout.strip()
            try:
                self._ranged(f"{setting}=41000 41003")
                self._fill("home", lambda n: stage.run(f"full{n}", "sleep 1000", ":80/tcp"), 4, "port")
            finally:
                self._ranged(f"{setting}={before}")

    def _ranged(self, setting: str) -> None:
        """A daemon looks at the range when it starts."""
        self._stage.world.at(self._stage.world.host, "sysctl", "-qw", setting)
        self._stage.kill()
        assert self._stage.up(), self._stage.daemon.tail()

    def bridge_ports(self) -> None:
        """A bridge that has all the ports it can have but two."""
        stage = self._stage
        with self._trial("out of bridge ports"):
            stage.network("crowded", "10.96.0.0/16")
            bridge = f"br-{stage.found_network('crowded')['Id'][:12]}"
            lines = [
                f"link add pl{n} group 77 master {bridge} type veth peer name pr{n} group 77\n"
                for n in range(BRIDGE_PORTS - 2)
            ]
            stage.world.at(stage.world.host, "ip", "-batch", "-", input="".join(lines))
            try:
                self._fill("crowded", lambda n: stage.run(f"full{n}", "sleep 1000", network="crowded"), 2, "")
            finally:
                stage.world.at(stage.world.host, "ip", "link", "del", "group", "77", check=False)

    def _fill(self, network: str, run: Callable[[int], object], capacity: int, named: str) -> None:
        """As many containers as there is room for; one more is refused by name; with one gone there is room again."""
        stage = self._stage
        for number in range(capacity):
            run(number)
        answer = refused(stage, lambda _: run(capacity))
        self._tally.count("operations refused")
        if not answer or named not in answer:
            self._blame(f"one too many: {answer or 'was taken'}")
        stage.tolerant("DELETE", f"/containers/full{capacity}", force=True)
        stage.ask("DELETE", "/containers/full0", force=True)
        if again := refused(stage, lambda _: run(capacity + 1)):
            self._blame(f"no room although one has gone: {again}")
        for line in stage.drift():
            self._blame(f"drift: {line}")
        for number in range(capacity + 2):
            stage.tolerant("DELETE", f"/containers/full{number}", force=True)
        if network != "home":
            stage.ask("DELETE", f"/networks/{network}")

    # ---- around them ---------------------------------------------------------------------------------------------

    @contextmanager
    def _trial(self, what: str) -> Iterator[None]:
        stage = self._stage
        self._where = f"{self._backend}: {what}"
        self._tally.count("scarcities tried")
        try:
            yield
        except (ApiError, DaemonUnavailable, AssertionError, OSError, TypeError, subprocess.SubprocessError) as error:
            self._blame(f"{type(error).__name__}: {error}")
        if stage.dead():
            self._blame(f"the daemon is dead{stage.daemon.tail()}")
            stage.up()
        self._residents("afterwards")
        self._traces()  # while the records still name them
        Operation.clear(stage)
        self._compare()
        log = stage.daemon.exec_root / "log"
        text = log.read_text(errors="replace")
        if "Traceback" in text:
            self._blame(f"in the log: {text[text.index('Traceback') :][-700:]}")
        log.write_text("")

    def _residents(self, when: str) -> None:
        for complaint in self._stage.complaints():
            self._blame(f"{when}: {complaint}")

    def _compare(self) -> None:
        left: list[str] = []

        def same() -> bool:
            nonlocal left
            left = traces.difference(self._clean, self._traces())
            return not left

        settled(same, 15)
        for line in left[:6]:
            self._blame(line)
        if left:  # told once, and no trouble for the trials that follow
            self._stage.kill()
            self._stage.up()
            Operation.clear(self._stage)
            self.note_clean()

    def _blame(self, what: str) -> None:
        self._tally.blame(f"{self._where}: {what}")


@contextmanager
def _stage(backend: str) -> Iterator[Stage]:
    """A stage whose data root is a small file system of its own."""
    stage = Stage(backend, f"scarce-{backend[:3]}")
    root = stage.daemon.data_root
    root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(root)], check=True)
    try:
        yield stage
    finally:
        stage.close()
        subprocess.run(["umount", "-l", str(root)], check=False)
        root.rmdir()


def run(options: Options) -> Tally:
    """Every operation with every lack, on both backends; a brief run takes a sample."""
    tally = Tally(part="scarcity")
    chance = random.Random(options.seed)
    for backend in options.backends[:1] if options.brief else options.backends:
        with _stage(backend) as stage:
            stage.settle()
            trials = Trials(stage, backend, tally)
            trials.note_clean()
            pairs = [(operation, lack) for operation in operations() for lack in lacks()]
            for operation, lack in chance.sample(pairs, SAMPLE) if options.brief else pairs:
                trials.go_without(operation, lack)
            trials.addresses()
            if not options.brief:
                trials.host_ports()
                trials.bridge_ports()
    return tally
