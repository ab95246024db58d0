"""What the command line says to mistakes: the message, the exit code, and nothing on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.main import run

from .cli_daemon import NETWORK, Answer, Daemon, Request, answering


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with answering(tmp_path / "s", monkeypatch) as found:
        yield found


Outputs = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["run", "--xx"], 125, "unknown flag: --xx\nSee 'netpy run --help'.\n"),
        (["run", "-m", "x", "b"], 125, "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'\nSee 'netpy run --help'.\n"),
        (["run", "-p", "a:1", "b"], 125, "netpy: invalid hostPort: a\nSee 'netpy run --help'.\n"),
        (["run", "Foo"], 125, "netpy: invalid reference format: repository name (library/Foo) must be lowercase\nSee 'netpy run --help'.\n"),
        (["run", "-d", "-a", "stdout", "b"], 1, "conflicting options: cannot specify both --attach and --detach\n"),
        (["run", "--pull", "x", "b"], 125, 'netpy: invalid pull option: \'x\': must be one of "always", "missing" or "never"\nSee \'netpy run --help\'.\n'),
        (["foo"], 1, "netpy: 'foo' is not a netpy command.\nSee 'netpy --help'\n"),
        (["network", "foo"], 1, "netpy: 'network foo' is not a netpy command.\nSee 'netpy network --help'\n"),
        (["rename", "a"], 1, '"netpy rename" requires exactly 2 arguments.\nSee \'netpy rename --help\'.\n\nUsage:  netpy rename CONTAINER NEW_NAME\n\nRename a container\n'),
        (["ps", "-f", "x"], 125, 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)\nSee \'netpy ps --help\'.\n'),
        (["inspect", "--type", "foo", "x"], 1, 'unknown type: "foo": must be one of "config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"\n'),
        (["tag", "a", "Foo"], 1, 'Error parsing reference: "Foo" is not a valid repository/tag: invalid reference format: repository name (library/Foo) must be lowercase\n'),
        (["exec", "-it", "web", "sh"], 1, "the input device is not a TTY\n"),
    ],
)  # fmt: skip
def test_mistakes(daemon: Daemon, capsys: Outputs, argv: list[str], code: int, message: str) -> None:
    assert run(argv) == code
    assert capsys.readouterr() == ("", message)


def test_no_daemon(tmp_path: Path, capsys: Outputs) -> None:
    host = f"unix://{tmp_path}/none"
    assert run(["-H", host, "ps", "-q"]) == 1
    assert capsys.readouterr().err == f"Cannot connect to the netpy daemon at {host}. Is the netpy daemon running?\n"
    assert run(["-H", host, "run", "x"]) == 125


def test_a_reader_that_goes_away_is_no_error(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Request) -> Answer:
        raise AssertionError

    read, write = os.pipe()
    os.close(read)
    saved = os.dup(1)
    try:
        os.dup2(write, 1)
        monkeypatch.setattr(sys, "stdout", os.fdopen(os.dup(1), "w"))
        daemon.routes["GET /networks"] = Answer(body=[NETWORK])
        daemon.routes["GET /never"] = gone
        assert run(["network", "ls", "-q"]) == 141
        os.dup2(1, sys.stdout.fileno())
        sys.stdout.close()
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write)
