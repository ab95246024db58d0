"""The short way of commands that act says and asks what the ordinary one does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import direct
from engine.cli.command import CommandError
from engine.cli.main import run
from engine.streams import Frame, encode

from .cli_daemon import Answer, Daemon

Outputs = pytest.CaptureFixture[str]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path / "s") as found:
        monkeypatch.setenv("NETPY_HOST", found.host)
        said = encode(Frame(1, b"out\n")) + encode(Frame(2, b"err\n"))
        found.routes |= {
            "GET /exec/e1/json": Answer(body={"Running": False, "ExitCode": 3}),
            "POST /containers/web/exec": Answer(status=201, body={"Id": "e1"}),
            "POST /exec/e1/start": Answer(hijack=lambda sock: sock.sendall(said)),
            "POST /networks/n/connect": Answer(),
            "POST /networks/n/disconnect": Answer(),
        }
        yield found


@pytest.mark.parametrize(
    "line",
    [
        "network connect n web",
        "network disconnect n web",
        "exec web true",
        "exec web sh -c -x",
        "container exec web true",
    ],
)
def test_the_direct_way_asks_what_the_ordinary_one_asks(daemon: Daemon, capsys: Outputs, line: str) -> None:
    def asked() -> list[tuple[str, object]]:
        found = [(request.line, request.body) for request in daemon.requests]
        daemon.requests.clear()
        return found

    code = direct.attempt(line.split())
    assert code == (3 if "exec" in line else 0)
    said, quick = capsys.readouterr(), asked()
    assert run(line.split()) == code
    assert (said, quick) == (capsys.readouterr(), asked())


@pytest.mark.parametrize(
    "line",
    [
        "exec",
        "exec web",
        "exec -i web true",
        "container exec",
        "image connect n web",
        "network connect n",
        "network connect --ip 10.9.0.7 n web",
        "network connect n web more",
        "network disconnect -f n web",
        "network disconnect n -f",
    ],
)
def test_what_the_direct_way_leaves_alone(daemon: Daemon, line: str) -> None:
    assert direct.attempt(line.split()) is None
    assert direct.attempt(["network", "connect", "", "web"]) is None
    assert daemon.requests == []


def test_without_a_daemon_the_ordinary_way_starts_one_or_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETPY_HOST", "unix:///nowhere/at/all")
    assert direct.attempt(["exec", "web", "true"]) is None
    assert direct.attempt(["network", "connect", "n", "web"]) is None


def test_an_exec_that_is_refused(daemon: Daemon, capsys: Outputs) -> None:
    refused = Answer(status=400, body={"message": 'exec: "x": executable file not found in $PATH'})
    daemon.routes["POST /exec/e1/start"] = refused
    with pytest.raises(CommandError) as error:
        direct.attempt(["exec", "web", "x"])
    assert error.value.code == 127
    assert run(["exec", "web", "x"]) == 127
    assert capsys.readouterr().err == f"{error.value}\n"
