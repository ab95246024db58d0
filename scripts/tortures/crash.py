"""The crash matrix: the daemon is killed at every point of every operation, and started again.

An operation is first done once while the points that it passes are noted (`netpy.faults`). Then, for each of them, it
is prepared, begun, and the daemon dies there. Afterwards:

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

OWN = ("/overlay/", "/containers/")
SAMPLE = 3  # operations of a brief run
HALVES = (  # what a daemon may find when it starts: an operation that was cut off at a point
    ("start", "after the monitor reports #1", start_t),
    ("rm -f", "unmounting its file system #1", remove_t),
)


class Matrix:
    """One backend's trials."""

    def __init__(self, stage: Stage, backend: str, tally: Tally) -> None:
        self._stage = stage
        self._backend = backend
        self._tally = tally
        self._clean: Traces = Traces()
        self._ids: set[str] = set()
        self._where = ""

    def note_clean(self) -> None:
        """What is there now is what must be there after every trial."""
        self._clean = self._traces()

    # ---- an operation --------------------------------------------------------------------------------------------

    def places(self, operation: Operation) -> list[str]:
        """The points that the operation passes."""
        with self._trial(operation, "nothing killed"):
            operation.before(self._stage)
            self._stage.arm("-")
            operation.act(self._stage)
            self._stage.arm("")
            self._expect(operation, operation.outcome(self._stage), (DONE,))
            return self._stage.seen()
        return []

    def interrupt(self, operation: Operation, place: str) -> None:
        """Kill the daemon at that place, start it again, and look at everything."""
        with self._trial(operation, place):
            stage = self._stage
            operation.before(stage)
            before = self._traces()
            stage.arm(place)
            self._cut_off(operation.act)
            if not stage.dead():
                self._tally.count("places not met again")
                stage.arm("")
                return
            self._tally.count("faults injected")
            self._revive()
            outcome = self._expect(operation, operation.outcome(stage), (DONE, UNDONE))
            if outcome == UNDONE:
                self._compare("undone, but", before)
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
            self._stage.arm("-")
            self._stage.up()
            self._stage.arm("")
            found = [(operation, place) for place in self._stage.seen()]
        return found

    def interrupt_start(self, operation: Operation, place: str) -> None:
        """Kill the daemon at a point of its start, and start it once more."""
        with self._trial(operation, place):
            operation.before(self._stage)
            self._stage.arm(place)
            if self._stage.up():
                self._tally.count("places not met again")
                self._stage.arm("")
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
            stage.arm("")
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
        settled(self._stage.dead, 1)

    def _revive(self) -> None:
        stage = self._stage
        stage.arm("")
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

    def _compare(self, what: str, before: Traces) -> None:
        left: list[str] = []

        def same() -> bool:
            nonlocal left
            left = traces.difference(before, self._traces())
            if what.startswith("undone"):  # a container that exists may keep its own files: they go with it
                left = [line for line in left if not any(place in line for place in OWN)]
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
    """Every operation, every point, on both backends; a brief run takes a sample, on the first of them."""
    tally = Tally(part="crash")
    chance = random.Random(options.seed)
    for backend in options.backends[:1] if options.brief else options.backends:
        stage = Stage(backend, f"crash-{backend[:3]}")
        try:
            stage.settle()
            matrix = Matrix(stage, backend, tally)
            matrix.note_clean()
            if options.brief:
                _sample(matrix, tally, chance)
            else:
                _all(matrix, tally)
        finally:
            stage.close()
    return tally


def _all(matrix: Matrix, tally: Tally) -> None:
    for operation in operations():
        places = matrix.places(operation)
        tally.count("operations")
        tally.count("points", len(places))
        for place in places:
            matrix.interrupt(operation, place)
    for name, at, half in HALVES:
        found = matrix.starts(half, at, name)
        tally.count("operations")
        tally.count("points", len(found))
        for operation, place in found:
            matrix.interrupt_start(operation, place)


def _sample(matrix: Matrix, tally: Tally, chance: random.Random) -> None:
    for operation in chance.sample(list(operations()), SAMPLE):
        places = matrix.places(operation)
        tally.count("operations")
        for place in chance.sample(places, min(2, len(places))):
            matrix.interrupt(operation, place)
