"""Terminals, conversations with a process, progress displays, and the small readers of times, names and keys."""

from __future__ import annotations

import io
import os
import pty
import socket
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.cli import launch, progress, terminal
from engine.cli.filters import duration, filters, timestamp
from engine.cli.flags import BadValue
from engine.cli.references import reference
from engine.cli.streaming import Conversation, converse, forwarded_signals, receive
from engine.client import DEFAULT_HOST, Client, DaemonUnavailable
from engine.streams import STDERR, STDOUT, Frame, encode

from .cli_daemon import Answer, Daemon

Outputs = pytest.CaptureFixture[str]


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_input_goes_up_and_frames_come_down(capsys: Outputs) -> None:
    read, write = os.pipe()
    heard: list[bytes] = []
    with pair() as (ours, theirs):

        def process() -> None:
            while piece := theirs.recv(4096):
                heard.append(piece)
            theirs.sendall(encode(Frame(STDOUT, b"got it\n")) + encode(Frame(STDERR, b"all\n")))
            theirs.close()

        thread = threading.Thread(target=process)
        thread.start()
        os.write(write, b"hello")
        os.close(write)
        assert converse(ours, Conversation(tty=False, stdin=True), read) is False
        thread.join()
    os.close(read)
    assert b"".join(heard) == b"hello"
    assert capsys.readouterr() == ("got it\n", "all\n")


def test_without_input_the_half_close_comes_at_once(capsys: Outputs) -> None:
    with pair() as (ours, theirs):
        theirs.sendall(encode(Frame(STDOUT, b"x")))

        def process() -> None:
            assert theirs.recv(10) == b""
            theirs.close()

        thread = threading.Thread(target=process)
        thread.start()
        converse(ours, Conversation(tty=False, stdin=False))
        thread.join()
    assert capsys.readouterr().out == "x"


def test_keys_detach_and_the_terminal_is_put_back(capsys: Outputs) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    keys = terminal.key_sequence("ctrl-p,ctrl-q")
    with pair() as (ours, theirs):

        def type_keys() -> None:
            theirs.sendall(b"prompt$ ")
            theirs.recv(1)  # raw mode is on once a key has come through
            os.write(master, b"\x10\x11")

        thread = threading.Thread(target=type_keys)
        thread.start()
        os.write(master, b"a\n")
        assert converse(ours, Conversation(tty=True, stdin=True, detach_keys=keys), slave) is True
        thread.join()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
    assert capsys.readouterr().out == "prompt$ "


def test_streams_that_were_not_asked_for_are_dropped(capsys: Outputs) -> None:
    frames = [encode(Frame(STDOUT, b"out")) + encode(Frame(STDERR, b"err"))]
    receive(iter(frames), Conversation(tty=False, stdin=False, stderr=False))
    assert capsys.readouterr() == ("out", "")


def test_signals_reach_the_container(tmp_path: Path) -> None:
    import signal

    with Daemon(tmp_path / "s") as daemon:
        daemon.routes["POST /containers/web/kill"] = Answer(status=204)
        with forwarded_signals(daemon.host, "web"):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert [request.query for request in daemon.requests] == [{"signal": ["TERM"]}, {"signal": ["INT"]}]


@pytest.mark.parametrize(
    ("typed", "passed", "found"),
    [
        ([b"abc"], b"abc", False),
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_the_key_filter(typed: list[bytes], passed: bytes, found: bool) -> None:
    keys = terminal.KeyFilter(terminal.key_sequence(""))
    answers = [keys.feed(piece) for piece in typed]
    assert (b"".join(piece for piece, _ in answers), answers[-1][1]) == (passed, found)


def test_key_names() -> None:
    assert terminal.key_sequence("ctrl-a,x,ctrl-@,ctrl-_") == b"\x01x\x00\x1f"
    for text in ("foo", "ctrl-1", "ctrl-ab", "a,,b"):
        with pytest.raises(ValueError, match="Unknown character"):
            terminal.key_sequence(text)


def test_sizes_of_terminals() -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 100))
    assert terminal.size(slave) == (30, 100)
    assert terminal.is_terminal(slave)
    os.close(master)
    os.close(slave)
    assert (terminal.size(slave), terminal.is_terminal(slave)) == ((0, 0), False)


LAYERS = [
    {"status": "Pulling from library/x", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aa"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "bb"},
    {"status": "Downloading", "progressDetail": {"current": 100, "total": 200}, "id": "aa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aa"},
    {"status": "Digest: sha256:b7"},
    {"stream": "Loaded image: x\n"},
]


def test_progress_without_a_terminal_says_what_happened() -> None:
    out = io.StringIO()
    progress.show(LAYERS, out, terminal=False)
    assert out.getvalue() == (
        "latest: Pulling from library/x\naa: Pulling fs layer\nbb: Pulling fs layer\naa: Pull complete\n"
        "Digest: sha256:b7\nLoaded image: x\n"
    )


def screen(text: str) -> list[str]:
    """The lines a terminal would show, of the few sequences that we use."""
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(text):
        char = text[position]
        if text.startswith("\x1b[", position):
            end = next(i for i in range(position + 2, len(text)) if text[i].isalpha())
            count, kind = int(text[position + 2 : end] or 1), text[end]
            row += {"A": -count, "B": count}.get(kind, 0)
            lines[row] = "" if kind == "K" else lines[row]
            position = end + 1
            continue
        if char == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif char == "\r":
            column = 0
        else:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
        position += 1
    return lines


def test_progress_on_a_terminal_has_a_line_per_layer() -> None:
    out = io.StringIO()
    progress.show(LAYERS[:4], out, terminal=True)
    bar = "[" + "=" * 25 + ">" + " " * 25 + "]     100B/200B"
    assert screen(out.getvalue())[:3] == [
        "latest: Pulling from library/x",
        f"aa: Downloading {bar}",
        "bb: Pulling fs layer",
    ]
    progress.show(LAYERS, out := io.StringIO(), terminal=True)
    assert [line for line in screen(out.getvalue()) if line][-3:] == [
        "bb: Pulling fs layer",
        "Digest: sha256:b7",
        "Loaded image: x",
    ]


def test_progress_stops_at_an_error() -> None:
    out = io.StringIO()
    with pytest.raises(progress.StreamError, match="no space left"):
        progress.show([LAYERS[0], {"errorDetail": {"message": "no space left"}}, LAYERS[1]], out, terminal=False)
    assert out.getvalue() == "latest: Pulling from library/x\n"


@pytest.mark.parametrize(
    ("text", "repository", "short", "full"),
    [
        ("ubuntu", "docker.io/library/ubuntu", "ubuntu:latest", "docker.io/library/ubuntu:latest"),
        ("a/b:1", "docker.io/a/b", "a/b:1", "docker.io/a/b:1"),
        ("localhost:5000/x", "localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("localhost/x", "localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("index.docker.io/x:2", "docker.io/library/x", "x:2", "docker.io/library/x:2"),
        (
            "x@sha256:" + "a" * 64,
            "docker.io/library/x",
            "x@sha256:" + "a" * 64,
            "docker.io/library/x@sha256:" + "a" * 64,
        ),
    ],
)
def test_image_names(text: str, repository: str, short: str, full: str) -> None:
    found = reference(text)
    assert (found.repository, found.named(), found.named(full=True)) == (repository, short, full)


@pytest.mark.parametrize("text", ["", "x:", "x:a b", "-x", "x@md5", "a//b", "x:é", "a/b/", ":1"])
def test_bad_image_names(text: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        reference(text)


def test_filters_and_times() -> None:
    assert filters(["name=a", "NAME = b", "label=k=v"]) == {"name": {"a": True, "b": True}, "label": {"k=v": True}}
    with pytest.raises(BadValue, match="bad format of filter"):
        filters(["x"])
    assert [duration(text) for text in ("1h30m", "1.5s", "-2m", "0", "100ms")] == [5400.0, 1.5, -120.0, 0.0, 0.1]
    for text in ("", "1", "x", "1h2"):
        with pytest.raises(ValueError, match="duration"):
            duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("1700000000", "1700000000"),
        ("1700000000.5", "1700000000.5"),
        ("10m", "999400"),
        ("2013-01-02T13:23:37Z", "1357133017"),
        ("2013-01-02T13:23:37+01:00", "1357129417"),
        ("2013-01-02T13:23:37.123456789Z", "1357133017.123456001"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    assert timestamp(text, 1_000_000.0) == expected


# starting a daemon


def test_only_the_default_daemon_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(launch, "start", lambda: started.append("one"))
    monkeypatch.delenv("NETPY_HOST", raising=False)
    monkeypatch.setattr(launch, "DEFAULT_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setattr("engine.client.DEFAULT_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setattr("posix.geteuid", lambda: 1000)
    launch.connected()
    monkeypatch.setattr("posix.geteuid", lambda: 0)
    launch.connected(f"unix://{tmp_path}/other")
    assert started == []
    launch.connected()
    assert started == ["one"]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter that stands in for the daemon's: a script that a test writes."""
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def test_a_daemon_that_does_not_come_up_says_why(pretend: Path, tmp_path: Path, capsys: Outputs) -> None:
    pretend.write_text("#!/bin/sh\necho first\necho 'netpy daemon: must be run as root'\nexit 1\n")
    pretend.chmod(0o755)
    log = tmp_path / "logs" / "netpy.log"
    with pytest.raises(DaemonUnavailable, match="could not start: netpy daemon: must be run as root"):
        launch.start(host=f"unix://{tmp_path}/s", log=log)
    assert capsys.readouterr().err == f"netpy: no daemon is running; starting one (its log is {log})\n"
    assert log.read_text().startswith("first\n")


def test_a_daemon_that_comes_up_is_waited_for(pretend: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen(); s.accept()"
    program = tmp_path / "daemon.py"
    program.write_text(code)
    pretend.write_text(f"#!/bin/sh\nexec {Path('/proc/self/exe').resolve()} -IS {program}\n")
    pretend.chmod(0o755)
    launch.start(host=f"unix://{path}", log=tmp_path / "log")
    assert path.is_socket()


def test_the_default_host_is_the_clients() -> None:
    assert launch.DEFAULT_HOST == DEFAULT_HOST
    assert Client("unix:///x").host == "unix:///x"
