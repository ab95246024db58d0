"""Help and manual: what is shown on a terminal and to a pipe, and that man's own checkers have nothing to say."""

from __future__ import annotations

import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

import engine
from engine.cli.command import Context, LazyGroup
from engine.cli.examples import EXAMPLES, examples
from engine.cli.flags import Options, Parser
from engine.cli.main import run
from engine.cli.manual import pages
from engine.cli.registry import ROOT

HERE = str(Path(engine.__file__).parents[1])
Outputs = pytest.CaptureFixture[str]


def shown(*arguments: str, columns: int = 80, **environment: str) -> str:
    """What a command prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    argv = [sys.executable, "-m", "engine.cli.main", *arguments]
    around = {"PATH": os.environ["PATH"], "TERM": "xterm", **environment}
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=HERE, env=around)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass  # the last writer has gone
    os.close(ours)
    assert process.wait() == 0
    return said.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours_and_a_pipe_does_not(capsys: Outputs) -> None:
    assert run(["run", "--help"]) == 0
    plain = capsys.readouterr().out
    assert "\x1b" not in plain
    coloured = shown("run", "--help", columns=200)
    assert "\x1b[1;33mUsage:\x1b[0m" in coloured
    assert "\x1b[36m" in coloured
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured.splitlines()][:4] == plain.splitlines()[:4]


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_colours_can_be_refused(setting: dict[str, str]) -> None:
    assert "\x1b" not in shown("--help", **setting)


def test_descriptions_are_wrapped_under_their_column() -> None:
    lines = shown("run", "--help", columns=90, NO_COLOR="1").split("Options:\n")[1].splitlines()
    assert max(map(len, lines)) <= 90
    column = lines[0].index(lines[0].split(maxsplit=2)[2])
    assert all(line[:column].isspace() or line.lstrip().startswith("-") for line in lines if line)


@pytest.mark.parametrize("words", [["network", "create"], ["run"], ["network"], []])
def test_help_by_name_is_the_commands_help(capsys: Outputs, words: list[str]) -> None:
    assert run(["help", *words]) == 0
    by_name = capsys.readouterr().out
    assert run([*words, "--help"]) == 0
    assert capsys.readouterr().out == by_name


def test_help_for_what_there_is_not(capsys: Outputs) -> None:
    assert run(["help", "netwrok"]) == 1
    assert "Did you mean this? network" in capsys.readouterr().err


def test_the_same_command_by_other_names(capsys: Outputs) -> None:
    run(["ps", "--help"])
    assert (
        "Aliases:\n  netpy ps, netpy container ls, netpy container list, netpy container ps\n"
        in capsys.readouterr().out
    )
    run(["network", "check", "--help"])
    assert "Aliases" not in capsys.readouterr().out


def test_examples_are_lines_that_the_parser_takes() -> None:
    for words in EXAMPLES:
        for _, line in examples(words):
            argv = re.split(r" (?:[|<>]|\$\()", line)[0].split()[1:]
            group: LazyGroup = ROOT
            if argv[0] not in ROOT.entries:
                continue
            while isinstance(found := group.get_command(Context("netpy", Options({}), []), argv.pop(0)), LazyGroup):
                group = found
                if argv[0] not in group.entries:
                    break
            else:
                Parser(found.params, interspersed=found.interspersed).parse_args(argv)


def test_pages_are_clean_and_complete(tmp_path: Path) -> None:
    assert run(["manpages", str(tmp_path)]) == 0
    names = {path.stem for path in tmp_path.iterdir()}
    assert {"netpy", "netpy-run", "netpy-network", "netpy-network-create"} <= names
    assert not any("__" in name or name == "netpy-manpages" for name in names)
    files = sorted(map(str, tmp_path.iterdir()))
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-ww", "-z", "-Tutf8", *files], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
    if shutil.which("mandoc"):
        subprocess.run(["mandoc", "-Tlint", "-Wwarning", *files], check=True)


def test_pages_are_the_same_every_time() -> None:
    assert dict(pages(ROOT, "1", "2026-01-01")) == dict(pages(ROOT, "1", "2026-01-01"))
