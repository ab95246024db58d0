"""Run, attach, exec and logs against a daemon of canned answers: what they ask, print and return."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.main import run

from .cli_daemon import CONTAINER, CONTAINER_ID, OUT_ERR, Answer, Daemon, answering, runnable

CID = CONTAINER_ID


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with answering(tmp_path / "s", monkeypatch) as found:
        yield found


Outputs = pytest.CaptureFixture[str]


def test_run_goes_in_dockers_order(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    assert run(["run", "--name", "web", "--rm", "busybox", "sh", "-c", "exit 3"]) == 3
    assert capsys.readouterr() == ("out\n", "WARNING: careful\nerr\n")
    assert daemon.lines() == [
        "POST /containers/create",
        f"POST /containers/{CID}/attach",
        f"POST /containers/{CID}/wait",
        f"POST /containers/{CID}/start",
    ]
    create, attach, wait, _ = daemon.requests
    assert (create.query, create.body["Cmd"]) == ({"name": ["web"]}, ["sh", "-c", "exit 3"])
    assert attach.query == {"stream": ["1"], "stdout": ["1"], "stderr": ["1"]}
    assert wait.query == {"condition": ["removed"]}


def test_run_detached_prints_the_id(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    assert run(["run", "-d", "busybox"]) == 0
    assert capsys.readouterr().out == f"{CID}\n"
    assert daemon.lines() == ["POST /containers/create", f"POST /containers/{CID}/start"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nosuch": executable file not found in $PATH: unknown', 127),
        ('exec: "/etc": permission denied', 126),
        ("Bind for 0.0.0.0:18080 failed: port is already allocated", 125),
    ],
)
@pytest.mark.parametrize("detached", [True, False])
def test_a_container_that_cannot_start(
    daemon: Daemon, capsys: Outputs, message: str, code: int, detached: bool
) -> None:
    runnable(daemon)
    daemon.routes[f"POST /containers/{CID}/start"] = Answer(status=500, body={"message": message})
    assert run(["run", *(["-d"] if detached else []), "busybox"]) == code
    expected = f"WARNING: careful\nnetpy: Error response from daemon: {message}.\nSee 'netpy run --help'.\n"
    assert capsys.readouterr() == (f"{CID}\n" if detached else "", expected)  # it was made, and stays


def test_a_missing_image_is_pulled(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    created = daemon.routes["POST /containers/create"]
    assert isinstance(created, Answer)
    missing = Answer(status=404, body={"message": "No such image: busybox:latest"})
    daemon.routes["POST /containers/create"] = [missing, created]
    daemon.routes["POST /images/create"] = Answer(chunks=[b'{"status":"Pulling"}\n'])
    assert run(["run", "-d", "busybox"]) == 0
    assert capsys.readouterr().err == "Unable to find image 'busybox:latest' locally\nPulling\nWARNING: careful\n"
    assert daemon.requests[1].query == {"fromImage": ["docker.io/library/busybox"], "tag": ["latest"]}


def test_a_missing_image_is_not_pulled_for_never(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/create"] = Answer(status=404, body={"message": "No such image: busybox:latest"})
    assert run(["run", "--pull", "never", "busybox"]) == 125
    assert "No such image: busybox:latest" in capsys.readouterr().err
    assert daemon.lines() == ["POST /containers/create"]


def test_a_pull_that_fails_half_way_fails_the_run(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/create"] = Answer(status=404, body={"message": "No such image: x:latest"})
    daemon.routes["POST /images/create"] = Answer(chunks=[b'{"status":"Pulling"}\n{"error":"manifest unknown"}\n'])
    assert run(["run", "x"]) == 125
    assert capsys.readouterr().err.endswith("netpy: manifest unknown\nSee 'netpy run --help'.\n")


def test_dry_runs_print_the_plan(daemon: Daemon, capsys: Outputs) -> None:
    plan = Answer(body={"Plan": "+ bridge br0\n"})
    for path in ("/containers/create", "/networks/create", "/networks/front/connect"):
        daemon.routes[f"POST {path}"] = plan
    assert run(["run", "--dry-run", "x"]) == run(["network", "create", "--dry-run", "x"]) == 0
    assert run(["network", "connect", "--dry-run", "front", "web"]) == 0
    assert capsys.readouterr().out == "+ bridge br0\n" * 3
    assert [request.query for request in daemon.requests] == [{"dryrun": ["1"]}] * 3


def test_the_id_file(daemon: Daemon, capsys: Outputs, tmp_path: Path) -> None:
    runnable(daemon)
    target = str(tmp_path / "cid")
    assert run(["run", "-d", "--cidfile", target, "x"]) == 0
    assert Path(target).read_text() == CID
    capsys.readouterr()
    assert run(["run", "-d", "--cidfile", target, "x"]) == 125
    assert "container ID file found, make sure the other container isn't running" in capsys.readouterr().err


# attach, exec, logs


def test_exec_prints_and_returns_what_the_process_did(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/exec"] = Answer(status=201, body={"Id": "e1"})
    daemon.routes["POST /exec/e1/start"] = OUT_ERR
    still = Answer(body={"Running": True, "ExitCode": None})
    daemon.routes["GET /exec/e1/json"] = [still, Answer(body={"Running": False, "ExitCode": 4})]
    assert run(["exec", "-e", "Z=1", "-w", "/", "web", "sh", "-c", "x"]) == 4
    assert capsys.readouterr() == ("out\n", "err\n")
    assert daemon.requests[0].body == {
        "User": "",
        "Privileged": False,
        "Tty": False,
        "AttachStdin": False,
        "AttachStderr": True,
        "AttachStdout": True,
        "Detach": False,
        "DetachKeys": "",
        "Env": ["Z=1"],
        "WorkingDir": "/",
        "Cmd": ["sh", "-c", "x"],
    }
    assert daemon.requests[1].body == {"Detach": False, "Tty": False}
    assert [request.line.split()[0] for request in daemon.requests] == ["POST", "POST", "GET", "GET"]


def test_exec_detached_does_not_stay(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/exec"] = Answer(status=201, body={"Id": "e1"})
    daemon.routes["POST /exec/e1/start"] = Answer(status=200)
    assert run(["exec", "-d", "web", "true"]) == 0
    assert capsys.readouterr() == ("", "")
    assert daemon.requests[1].body == {"Detach": True, "Tty": False}


def test_start_attached(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon, code=7)
    assert run(["start", "-a", "web"]) == 7
    assert capsys.readouterr() == ("out\n", "err\n")
    assert run(["start", "-a", "web", "db"]) == 1
    assert capsys.readouterr().err == "you cannot start and attach multiple containers at once\n"


def test_start_goes_on_after_a_failure(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/start"] = Answer(status=204)
    assert run(["start", "nope", "web"]) == 1
    err = "Error response from daemon: No such container: nope\nError: failed to start containers: nope\n"
    assert capsys.readouterr() == ("web\n", err)


def test_attach_needs_a_running_container(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    assert run(["attach", "web"]) == 3
    assert capsys.readouterr() == ("out\n", "err\n")
    stopped = CONTAINER | {"State": {"Running": False, "Paused": False, "Restarting": False}}
    daemon.routes["GET /containers/web/json"] = Answer(body=stopped)
    assert run(["attach", "web"]) == 1
    assert capsys.readouterr().err == "You cannot attach to a stopped container, start it first\n"


def test_logs(daemon: Daemon, capsys: Outputs) -> None:
    frames = [b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0", b"\0\0\0\x04err\n"]
    daemon.routes[f"GET /containers/{CID}/logs"] = Answer(chunks=frames)
    assert run(["logs", "--tail", "2", "-t", "--since", "5", "web"]) == 0
    assert capsys.readouterr() == ("out\n", "err\n")
    assert daemon.requests[1].query == {
        "stdout": ["1"],
        "stderr": ["1"],
        "since": ["5"],
        "timestamps": ["1"],
        "tail": ["2"],
    }
    assert run(["logs", "--since", "foo", "web"]) == 1
    assert capsys.readouterr().err == 'invalid value for "since": failed to parse value as time or duration: "foo"\n'
