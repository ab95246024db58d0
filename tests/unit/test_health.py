"""Health checks: what each probe changes, and that probes run when they are due and only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.api.views.status import moment
from engine.api.views.status import status as status_text
from engine.containers import health
from engine.containers.health import Check
from engine.model import Health, Json, Probe, State
from netpy.errors import InvalidArgument
from tests.unit.container_lab import Lab, actions, status, until

MS = 1_000_000
CHECK = Check(command=("true",), retries=2, start_period=10)


def probe(code: int, output: str = "") -> Probe:
    return Probe(start="a", end="b", exit_code=code, output=output)


@pytest.mark.parametrize(
    ("before", "code", "age", "after"),
    [
        (("starting", 0), 0, 1, ("healthy", 0)),
        (("starting", 0), 1, 1, ("starting", 0)),
        (("starting", 0), 1, 10, ("starting", 1)),
        (("starting", 1), 1, 11, ("unhealthy", 2)),
        (("healthy", 0), 1, 1, ("healthy", 1)),  # the start period is over with the first success
        (("healthy", 1), -1, 1, ("unhealthy", 2)),
        (("unhealthy", 2), 7, 99, ("unhealthy", 3)),
        (("unhealthy", 9), 0, 99, ("healthy", 0)),
    ],
)
def test_a_probe_decides(before: tuple[Any, int], code: int, age: float, after: tuple[str, int]) -> None:
    found = health.after(CHECK, Health(status=before[0], failing_streak=before[1]), probe(code), age)
    assert (found.status, found.failing_streak) == after


def test_the_last_five_are_kept() -> None:
    present = Health()
    for code in range(1, 8):
        present = health.after(CHECK, present, probe(code), 0)
    assert [entry.exit_code for entry in present.log] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ({}, None),
        ({"Healthcheck": {"Test": []}}, None),
        ({"Healthcheck": {"Test": ["NONE"]}}, None),
        ({"Healthcheck": {"Test": ["ODD", "x"]}}, None),
        ({"Healthcheck": {"Test": ["CMD", "a", "b"]}}, ("a", "b")),
        ({"Healthcheck": {"Test": ["CMD-SHELL", "a b"]}}, ("/bin/sh", "-c", "a b")),
        ({"Healthcheck": {"Test": ["CMD-SHELL", "a"]}, "Shell": ["/bin/ash", "-ec"]}, ("/bin/ash", "-ec", "a")),
    ],
)
def test_forms_of_a_test(config: Json, command: tuple[str, ...] | None) -> None:
    found = health.check_of(config)
    assert (found and found.command) == command


def test_times_and_their_defaults() -> None:
    plain = health.check_of({"Healthcheck": {"Test": ["CMD", "a"]}})
    assert plain == Check(command=("a",), interval=30, timeout=30, retries=3, start_period=0, start_interval=5)
    told = {"Interval": 1500 * MS, "Timeout": 2000 * MS, "Retries": 7, "StartPeriod": 9000 * MS}
    found = health.check_of({"Healthcheck": {"Test": ["CMD", "a"], **told}})
    assert found == Check(command=("a",), interval=1.5, timeout=2, retries=7, start_period=9, start_interval=1.5)
    assert health.pause_before(CHECK, Health(), 9.9) == CHECK.start_interval
    assert health.pause_before(CHECK, Health(), 10) == CHECK.interval
    assert health.pause_before(CHECK, Health(status="healthy"), 1) == CHECK.interval


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"Interval": 1}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": -5}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": MS - 1}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"StartInterval": 1}, "StartInterval in Healthcheck cannot be less than 1ms"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
    ],
)
def test_what_cannot_be_is_refused(lab: Lab, document: Json, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        lab.create("web", {"Healthcheck": document})
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1s"), (0.5, "500ms"), (1.5, "1.5s"), (30, "30s"), (60, "1m0s"), (90, "1m30s"), (7200, "2h0m0s")],
)
def test_spans(seconds: float, text: str) -> None:
    assert health.span(seconds) == text


def test_output_is_cut() -> None:
    assert health.shown(b"x" * 4096) == "x" * 4096
    assert health.shown(b"x" * 4097) == "x" * 4096 + "..."
    assert health.timed_out(1, "") == "Health check exceeded timeout (1s)"
    assert health.timed_out(1, "so far") == "Health check exceeded timeout (1s): so far"


@pytest.mark.parametrize(
    ("verdict", "state", "text"),
    [
        ("starting", "running", "Up 5 seconds (health: starting)"),
        ("healthy", "running", "Up 5 seconds (healthy)"),
        ("unhealthy", "running", "Up 5 seconds (unhealthy)"),
        ("unhealthy", "paused", "Up 5 seconds (Paused)"),
    ],
)
def test_ps_tells(verdict: Any, state: Any, text: str) -> None:
    shown = State(status=state, started_at="2026-01-01T00:00:00Z", health=Health(status=verdict))
    assert status_text(shown, moment("2026-01-01T00:00:05Z")) == text


# ---- probing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def checked(lab: Lab, **times: int) -> str:
    """A running container whose probe ends with 4, as every pretended exec does."""
    document = {"Test": ["CMD", "probe"], "Interval": 3000 * MS, "Retries": 2, **times}
    return lab.run("web", {"Healthcheck": document})


def verdict(lab: Lab) -> tuple[str, int, int]:
    found = lab.containers.get("web").state.health
    assert found is not None
    return found.status, found.failing_streak, len(found.log)


def test_probes_run_at_their_interval_and_their_verdict_is_told(lab: Lab) -> None:
    lab.runtime.ends_at_once = True
    checked(lab)
    assert verdict(lab) == ("starting", 0, 0)
    assert lab.agenda.elapse() == [3.0]
    assert verdict(lab) == ("starting", 1, 1)
    assert lab.agenda.elapse() == [3.0]
    assert verdict(lab) == ("unhealthy", 2, 2)
    log = lab.containers.get("web").state.health
    assert log is not None
    assert (log.log[0].exit_code, log.log[0].output) == (4, "out\nerr\n")
    told = actions(lab)
    one = ["exec_create: probe ", "exec_start: probe ", "exec_die"]
    assert told[told.index("start") + 1 :] == [*one, *one, "health_status: unhealthy"]
    assert lab.containers.exec_ids(lab.containers.get("web")) == []


def test_a_probe_that_takes_too_long_is_killed(lab: Lab) -> None:
    checked(lab, Timeout=1000 * MS)
    lab.agenda.begin()
    until(lambda: lab.runtime.execs)
    assert lab.agenda.elapse() == [1.0]
    until(lambda: verdict(lab)[2] == 1)
    health_now = lab.containers.get("web").state.health
    assert health_now is not None
    assert health_now.log[0].exit_code == -1
    assert health_now.log[0].output.startswith("Health check exceeded timeout (1s)")


def test_nobody_probes_what_is_paused_or_has_ended(lab: Lab) -> None:
    lab.runtime.ends_at_once = True
    identity = checked(lab)
    lab.containers.pause("web")
    assert lab.agenda.due() == []
    assert verdict(lab)[0] == "unhealthy"
    lab.containers.unpause("web")
    assert lab.agenda.elapse() == [3.0]
    lab.runtime.end(identity, 1)
    until(lambda: status(lab, "web") == "exited")
    assert lab.agenda.due() == []
    lab.containers.start("web")
    assert verdict(lab) == ("starting", 0, 1)


def test_the_verdict_survives_the_daemon_and_probing_goes_on(lab: Lab) -> None:
    lab.runtime.ends_at_once = True
    checked(lab)
    lab.agenda.elapse()
    lab.agenda.elapse()
    lab.reboot()
    assert verdict(lab) == ("unhealthy", 2, 2)
    assert lab.agenda.elapse() == [3.0]
    assert verdict(lab) == ("unhealthy", 3, 3)


def test_a_probe_that_cannot_be_run_counts_as_failed(lab: Lab) -> None:
    lab.run("web", {"Healthcheck": {"Test": ["CMD", "nosuch"], "Retries": 1}})
    assert lab.agenda.elapse() == [30.0]
    state = lab.containers.get("web").state.health
    assert state is not None
    assert (state.status, state.log[0].exit_code) == ("unhealthy", -1)
    assert "executable file not found" in state.log[0].output


def test_the_image_check_is_taken_over_part_by_part(lab: Lab) -> None:
    lab.images.config["config"]["Healthcheck"] = {"Test": ["CMD", "x"], "Interval": 7000 * MS, "Retries": 4}
    lab.run("web", {"Healthcheck": {"Retries": 2}})
    assert lab.agenda.due() == [7.0]
    lab.create("off", {"Healthcheck": {"Test": ["NONE"]}})
    lab.containers.start("off")
    assert lab.containers.get("off").state.health is None
