"""The tree of commands, its help, and the fast path around it for what is asked most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import fast, registry
from engine.cli.command import Command, LazyGroup
from engine.cli.main import run

from .cli_daemon import CONTAINER_ID, IMAGE_ID, NETWORK, Answer, Daemon, answering


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with answering(tmp_path / "s", monkeypatch) as found:
        yield found


Outputs = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "argv",
    [["network", "ls"], ["ps"], ["ps", "-a"], ["images"], ["inspect", "web"], ["network", "inspect", "my_app_net"]],
)
def test_the_fast_path_prints_what_the_slow_one_does(daemon: Daemon, capsys: Outputs, argv: list[str]) -> None:
    container = {
        "Id": CONTAINER_ID,
        "Names": ["/é"],
        "Image": "x",
        "Created": 1,
        "Command": "sh",
        "ImageID": IMAGE_ID,
        "Ports": [],
    }
    image = {"Id": IMAGE_ID, "RepoTags": ["u:1"], "RepoDigests": None, "Created": 1, "Size": 77900000}
    daemon.routes["GET /networks"] = Answer(chunks=[b'[{"Name":"n","Id":"1","Driver":"null"', b',"Scope":"local"}]\n'])
    daemon.routes["GET /networks/my_app_net"] = Answer(body=NETWORK)
    daemon.routes["GET /containers/json"] = Answer(body=[container])
    daemon.routes["GET /images/json"] = Answer(body=[image])
    quick = fast.attempt(argv)
    first = [(request.line, request.query) for request in daemon.requests]
    assert run(argv) == 0
    assert quick == capsys.readouterr().out
    assert first == [(request.line, request.query) for request in daemon.requests[len(first) :]]


@pytest.mark.parametrize(
    "argv",
    [
        ["ps", "-q"],
        ["inspect", "nope"],
        ["inspect", "a/b"],
        ["inspect", "-f"],
        ["inspect", "é"],
        [],
        ["network", "inspect", "?x"],
    ],
)
def test_the_fast_path_leaves_the_unusual_alone(daemon: Daemon, argv: list[str]) -> None:
    assert fast.attempt(argv) is None


def test_the_fast_path_needs_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in (f"unix://{tmp_path}/none", "tcp://127.0.0.1:1"):
        monkeypatch.setenv("NETPY_HOST", host)
        assert fast.attempt(["ps"]) is None


# the command tree


def commands(group: LazyGroup, path: str = "netpy") -> Iterator[tuple[str, str, Any]]:
    for name, entry in group.entries.items():
        found = group.get_command(registry.ROOT.make_context("netpy", []), name)
        assert found is not None, entry.where
        yield f"{path} {name}", entry.summary, found
        if isinstance(found, LazyGroup):
            yield from commands(found, f"{path} {name}")


def test_every_command_exists_and_says_what_its_group_says() -> None:
    found = list(commands(registry.ROOT))
    assert len(found) > 70
    for path, summary, command in found:
        assert command.help == summary, path
        if isinstance(command, Command):
            spellings = [spelling for option in command.params for spelling in option.opts]
            assert len(spellings) == len(set(spellings)), path


def test_help(capsys: Outputs) -> None:
    assert run([]) == run(["--help"]) == run(["network"]) == run(["run", "--help"]) == run(["--version"]) == 0
    out = capsys.readouterr().out
    assert (
        "\nUsage:  netpy run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nCreate and run a new container from an image\n"
        in out
    )
    assert "  -p, --publish list" in out
    assert "Usage:  netpy network [OPTIONS] COMMAND" in out or "Usage:  netpy network COMMAND" in out
