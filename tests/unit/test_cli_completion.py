"""Completion: what is offered for a command line, and that bash, zsh and fish, driven in a terminal, really complete."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from engine.cli.completion.naming import answer
from engine.cli.completion.wanted import wanted
from engine.cli.main import run
from engine.cli.registry import ROOT

from .cli_daemon import IMAGE_ID, NETWORK_ID, Answer, Daemon

HERE = str(Path(engine.__file__).parents[1])
WEB = {"Names": ["/web", "/other/alias"], "Image": "busybox", "Status": "Up 2 minutes"}
IMAGES = [
    {"Id": IMAGE_ID, "RepoTags": ["busybox:latest", "127.0.0.1:5000/team/app:1.0", "team/web:vim"]},
    {"Id": IMAGE_ID, "RepoTags": None},
]
NETWORKS = [{"Name": name, "Id": NETWORK_ID, "Driver": "bridge"} for name in ("bridge", "my_net")]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path / "s") as found:
        monkeypatch.setenv("NETPY_HOST", found.host)
        found.routes |= {
            "GET /containers/json": Answer(body=[WEB]),
            "GET /images/json": Answer(body=IMAGES),
            "GET /networks": Answer(body=NETWORKS),
            "GET /volumes": Answer(body={"Volumes": [{"Name": "data", "Driver": "local"}]}),
            "GET /info": Answer(body={"Plugins": {"Network": ["bridge", "macvlan"]}}),
        }
        yield found


def offered(line: str) -> list[str]:
    """The candidates for a command line that ends where the cursor is."""
    words = line.split(" ")[1:]
    return [each.partition("\t")[0] for each in answer(wanted(ROOT, words), words[-1])[1:]]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("netpy network cr", ["create"]),
        ("netpy netw", ["network"]),
        ("netpy help net", ["network"]),
        ("netpy run --network-a", ["--network-alias"]),
        ("netpy run -it --netw", ["--network", "--network-alias"]),
        ("netpy run --restart un", ["unless-stopped"]),
        ("netpy run --restart=un", ["--restart=unless-stopped"]),
        ("netpy run --rm=", ["--rm=true", "--rm=false"]),
        ("netpy run --cap-add NET_A", ["NET_ADMIN"]),
        ("netpy run --pull ", ["always", "missing", "never"]),
        ("netpy run --network my", ["my_net"]),
        ("netpy run --network=my", ["--network=my_net"]),
        ("netpy run -v da", ["data:"]),
        ("netpy run --rm -e A=1 busy", ["busybox:latest", "busybox"]),
        ("netpy run 127.0.0.1:5000/", ["127.0.0.1:5000/team/app:1.0"]),
        ("netpy run -it --pid container:", ["container:web"]),
        ("netpy run --name x --network my_net team/web:", ["team/web:vim"]),
        ("netpy stop w", ["web"]),
        ("netpy container stop -t 2 w", ["web"]),
        ("netpy logs --tail 2 w", ["web"]),
        ("netpy network connect my_net w", ["web"]),
        ("netpy network connect my", ["my_net"]),
        ("netpy network create --driver ma", ["macvlan"]),
        ("netpy ps --filter sta", ["status="]),
        ("netpy inspect my", ["my_net"]),
        ("netpy rmi team/", ["team/web:vim"]),
        ("netpy -H unix:///x/y sto", ["stop"]),
    ],
)
def test_what_is_offered(daemon: Daemon, line: str, some: list[str]) -> None:
    assert offered(line) == some


@pytest.mark.parametrize(
    "line",
    ["netpy nosuch x", "netpy run busybox ls -", "netpy network nosuch ", "netpy stop -- -", "netpy run --name "],
)
def test_what_is_not_ours_to_offer(daemon: Daemon, line: str) -> None:
    assert offered(line) == []


def test_files_are_the_shells(daemon: Daemon) -> None:
    for words in (["run", "--env-file", ""], ["load", "-i", ""], ["run", "busybox", "cat", ""]):
        assert answer(wanted(ROOT, words), "")[0] == "files"
    assert answer(wanted(ROOT, ["run", "-v", ""]), "")[:2] == ["files nospace", "data:\tlocal volume"]


def test_only_what_a_command_can_act_on_is_asked_for(daemon: Daemon) -> None:
    for command, states in (("stop", {"running": True}), ("unpause", {"paused": True})):
        offered(f"netpy {command} ")
        assert daemon.requests[-1].query["filters"] == [f'{{"status":{{"{next(iter(states))}":true}}}}']


def test_without_a_daemon_names_are_left_out_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NETPY_HOST", f"unix://{tmp_path}/nobody")
    assert run(["__complete", "stop", ""]) == 0
    assert run(["__complete", "run", "--network", "h"]) == 0
    assert capfd.readouterr() == ("-\n-\n", "")


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "csh"]) == 1
    assert 'no completion for "csh"' in capsys.readouterr().err


# the real shells


TYPED = {  # what is typed before the Tab, and the words of the command line then
    "netpy network conn": ["netpy", "network", "connect"],
    "netpy stop w": ["netpy", "stop", "web"],
    "netpy run --network=my": ["netpy", "run", "--network=my_net"],
    "netpy run 127.0.0.1:5000/te": ["netpy", "run", "127.0.0.1:5000/team/app:1.0"],
    "netpy rmi team/web:v": ["netpy", "rmi", "team/web:vim"],
    "netpy run --env-file some-fi": ["netpy", "run", "--env-file", "some-file.env"],
    "netpy run --restart unl": ["netpy", "run", "--restart", "unless-stopped"],
}
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
READY = {
    "bash": "bind 'set enable-bracketed-paste off'; source ./script; echo re''ady\n",
    "zsh": "bindkey -e; unsetopt prompt_cr prompt_sp zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source ./script; echo re''ady\n",
    "fish": "source ./script; echo re''ady\n",
}


class Terminal:
    """A shell in a pseudo-terminal."""

    def __init__(self, argv: list[str], directory: Path) -> None:
        self._ours, theirs = pty.openpty()
        path = f"{directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {
            "PATH": path,
            "TERM": "dumb",
            "HOME": str(directory),
            "NETPY_HOST": os.environ["NETPY_HOST"],
            "PS1": "$ ",
        }
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv], stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=environment
        )
        os.close(theirs)
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, words: str) -> str:
        """Everything said up to these words, which are then forgotten."""
        deadline = time.monotonic() + 60
        while words not in self.said:
            assert time.monotonic() < deadline, f"no {words!r} in {self.said!r}"
            if select.select([self._ours], [], [], 1)[0]:
                self.said += os.read(self._ours, 65536).decode(errors="replace")
        before, _, self.said = self.said.partition(words)
        return before

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes(daemon: Daemon, tmp_path: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = subprocess.run(
        [sys.executable, "-m", "engine.cli.main", "completion", shell], cwd=HERE, capture_output=True, check=True
    )
    (tmp_path / "script").write_bytes(script.stdout)
    (tmp_path / "some-file.env").write_text("A=1\n")
    program = tmp_path / "netpy"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={HERE} exec {sys.executable} -m engine.cli.main "$@"\n')
    program.chmod(0o755)
    terminal = Terminal(SHELLS[shell], tmp_path)
    try:
        terminal.type(READY[shell])
        terminal.until("ready")
        for typed, words in TYPED.items():
            # ^A goes to the beginning of the line: it is printed word by word, not run
            terminal.type(f"{typed}\t\x01printf '<%s>' \n")
            terminal.until("".join(f"<{word}>" for word in words))
    finally:
        terminal.close()
