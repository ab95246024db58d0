"""The crash matrix: the daemon is killed at every place of every operation, and started again.

An operation is first done once while the places that it passes are noted: the fault points of the code, then the system
calls that leave something behind (`scripts.tortures.crash_fuses`). For each of them it is prepared and begun, and the
daemon dies there. Afterwards:

* residents must have noticed nothing, neither while the daemon was dead nor later;
* `netpy network check` is empty, and the daemon's log has no traceback;
* the operation is wholly done or wholly undone; when undone, everything that can be left behind is as before;
* the same command can be given again, and taken back;
* when all is cleared away, what is there is what was there at first.

The start of the daemon is an operation like others, with something half-done for it to find.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from engine.client import ApiError, DaemonUnavailable
from scripts.tortures import crash_traces as traces
from scripts.tortures.crash_fuses import NONE, Calls, Fuse, Points, quiet
from scripts.tortures.crash_operations import (
    DONE,
    UNDONE,
    Operation,
    Step,
    create_t,
    operations,
    refused,
    remove_t,
    run_t,
    start_t,
)
from scripts.tortures.crash_stage import Stage, settled
from scripts.tortures.crash_traces import Traces
from scripts.tortures.tally import Options, Tally

OWN = ("/overlay/", "/containers/")  # a container that exists may keep its own files: they go with it
SAMPLE = 2  # operations of a brief run, for each way to die
HALVES = (  # what a daemon may find when it starts: an operation that was cut off at a point
    ("start", "after the monitor reports #1", start_t),
    ("rm -f", "unmounting its file system #1", remove_t),
)


class Matrix:
    """One backend's trials."""

    def __init__(self, stage: Stage, backend: str, tally: Tally) -> None:
        self.fuse: Fuse = Points()
        self._stage = stage
        self._backend = backend
        self._tally = tally
        self._clean: Traces = Traces()
        self._ids: set[str] = set()
        self._operations: set[str] = set()
        self._where = ""

    def note_clean(self) -> None:
        """What is there now is what must be there after every trial."""
        self._clean = self._traces()

    # ---- an operation --------------------------------------------------------------------------------------------

    def places(self, operation: Operation) -> list[str]:
        """The places that the operation passes."""
        found: list[str] = []
        with self._trial(operation, "nothing killed"):
            operation.before(self._stage)
            self.fuse.light(self._stage, NONE)
            operation.act(self._stage)
            found = quiet(self._stage, self.fuse)
            self.fuse.put_out(self._stage)
            self._expect(operation, operation.outcome(self._stage), (DONE,))
        self._count(operation, found)
        return found

    def interrupt(self, operation: Operation, place: str) -> None:
        """Kill the daemon at that place, start it again, and look at everything."""
        with self._trial(operation, place):
            stage = self._stage
            operation.before(stage)
            before = self._traces()
            self.fuse.light(stage, place)
            self._cut_off(operation.act)
            if not stage.dead():
                self._tally.count("places not met again")
                return
            self._tally.count("faults injected")
            self._revive()
            outcome = self._expect(operation, operation.outcome(stage), (DONE, UNDONE))
            if outcome == UNDONE:
                self._compare("undone, but", before, (*OWN, *operation.keeps))
            self._once_more(operation, outcome)

    def _once_more(self, operation: Operation, outcome: str) -> None:
        """The same command again, from where it was left."""
        stage = self._stage
        if outcome == DONE:
            answer = refused(stage, operation.act) if operation.name != "restart" else ""
            if answer.startswith("5"):
                self._blame(f"done, and given again: {answer}")
            self._ask("taking it back", operation.undo)
            if operation.name != "restart":
                self._expect(operation, operation.outcome(stage), (UNDONE,))
        if outcome in (DONE, UNDONE) and operation.name != "restart":
            self._ask("the same command again", operation.act)
            self._expect(operation, operation.outcome(stage), (DONE,))

    # ---- the daemon's own start ----------------------------------------------------------------------------------

    def starts(self, half: Step, at: str, name: str) -> list[tuple[Operation, str]]:
        """The operation "start of the daemon", for every place that it passes when it finds `half`."""

        def broken(stage: Stage) -> None:
            (create_t if half is start_t else run_t)(stage)
            stage.arm(at)
            self._cut_off(half)
            stage.arm("")
            assert stage.dead(), f"{at} is on the way"

        operation = Operation(
            name=f"daemon start after half of {name}", before=broken, act=_up, undo=_up, outcome=_is_up
        )
        found: list[tuple[Operation, str]] = []
        with self._trial(operation, "nothing killed"):
            operation.before(self._stage)
            self.fuse.light(self._stage, NONE)
            self._stage.up()
            found = [(operation, place) for place in quiet(self._stage, self.fuse)]
        self._count(operation, found)
        return found

    def _count(self, operation: Operation, found: Sequence[object]) -> None:
        self._tally.count("operations", operation.name not in self._operations)
        self._tally.count(self.fuse.places, len(found))
        self._operations.add(operation.name)

    def interrupt_start(self, operation: Operation, place: str) -> None:
        """Kill the daemon at a point of its start, and start it once more."""
        with self._trial(operation, place):
            operation.before(self._stage)
            self.fuse.light(self._stage, place)
            if self._stage.up() and not settled(self._stage.dead, 3):
                self._tally.count("places not met again")
                return
            self._tally.count("faults injected")
            self._revive()

    # ---- around them ---------------------------------------------------------------------------------------------

    @contextmanager
    def _trial(self, operation: Operation, place: str) -> Iterator[None]:
        """Prepared, and cleared away; whatever goes wrong is a finding, and the next trial begins clean."""
        stage = self._stage
        self._where = f"{self._backend}: {operation.name}: {place}"
        try:
            yield
        except (ApiError, DaemonUnavailable, AssertionError, OSError, TypeError) as error:
            self._blame(f"{type(error).__name__}: {error}")
        finally:
            self.fuse.put_out(stage)
            if stage.dead() and not stage.up():
                raise RuntimeError(f"{self._where}: the daemon does not come up again{stage.daemon.tail()}")
            Operation.clear(stage)
            self._compare("cleared away, but", self._clean)
            self._judge_log()

    def _cut_off(self, act: Step) -> None:
        try:
            act(self._stage)
        except (DaemonUnavailable, OSError):
            settled(self._stage.dead, 5)
        except ApiError as error:
            self._blame(f"answered instead of dying: {error}")
        settled(self._stage.dead, 3)

    def _revive(self) -> None:
        stage = self._stage
        self.fuse.put_out(stage)
        self._remember_ids()
        for complaint in stage.complaints():
            self._blame(f"while the daemon was dead: {complaint}")
        if not stage.up():
            self._blame(f"the daemon does not start again{stage.daemon.tail()}")
            return
        for complaint in stage.complaints():
            self._blame(f"after it came back: {complaint}")
        for line in stage.drift():
            self._blame(f"drift: {line}")

    def _expect(self, operation: Operation, outcome: str, wanted: Sequence[str]) -> str:
        if outcome not in wanted:
            self._blame(f"{' or '.join(wanted)} expected of {operation.name}: {outcome}")
        return outcome

    def _ask(self, what: str, step: Step) -> None:
        if answer := refused(self._stage, step):
            self._blame(f"{what}: {answer}")

    def _compare(self, what: str, before: Traces, kept: Sequence[str] = ()) -> None:
        left: list[str] = []

        def same() -> bool:
            nonlocal left
            left = [
                line for line in traces.difference(before, self._traces()) if not any(mark in line for mark in kept)
            ]
            return not left

        settled(same, 15)
        for line in left[:6]:
            self._blame(f"{what} {line}")
        if left and what.startswith("cleared"):
            self._clean = self._traces()  # told once

    def _judge_log(self) -> None:
        log = self._stage.daemon.exec_root / "log"
        text = log.read_text(errors="replace")
        if "Traceback" in text:
            self._blame(f"in the log: {text[text.index('Traceback') :][-600:]}")
        if self._tally.findings and self._tally.findings[-1].startswith(self._where):
            for line in text.splitlines()[-4:]:
                self._tally.findings[-1] += f"\n        log: {line}"
        log.write_text("")

    def _remember_ids(self) -> None:
        self._ids |= {id for kind, id in traces.records(self._stage.daemon) if kind == "container"}

    def _traces(self) -> Traces:
        self._remember_ids()
        return traces.taken(self._stage.daemon, self._ids)

    def _blame(self, what: str) -> None:
        self._tally.blame(f"{self._where}: {what}")


def _up(stage: Stage) -> None:
    stage.up()


def _is_up(stage: Stage) -> str:
    return DONE if not stage.dead() else UNDONE


def run(options: Options) -> Tally:
    """Every operation, every place, on both backends; a brief run takes a sample, on the first of them."""
    tally = Tally(part="crash")
    chance = random.Random(options.seed)
    for backend in options.backends[:1] if options.brief else options.backends:
        stage = Stage(backend, f"crash-{backend[:3]}")
        try:
            stage.settle()
            matrix = Matrix(stage, backend, tally)
            matrix.note_clean()
            for fuse in (Points(), Calls()):
                matrix.fuse = fuse
                if options.brief:
                    _sample(matrix, chance)
                else:
                    _all(matrix)
        finally:
            stage.close()
    return tally


def _all(matrix: Matrix) -> None:
    for operation in operations():
        places = matrix.places(operation)
        for place in places:
            matrix.interrupt(operation, place)
    for name, at, half in HALVES:
        found = matrix.starts(half, at, name)
        for operation, place in found:
            matrix.interrupt_start(operation, place)


def _sample(matrix: Matrix, chance: random.Random) -> None:
    for operation in chance.sample(list(operations()), SAMPLE):
        places = matrix.places(operation)
        for place in chance.sample(places, min(2, len(places))):
            matrix.interrupt(operation, place)
