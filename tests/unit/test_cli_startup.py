"""What a command costs before it speaks to the daemon: the imports that it must not make, and the light stand-ins."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.cli import fast, system
from engine.cli.main import run
from engine.cli.records import changed, record
from engine.cli.references import reference
from engine.cli.scopes import Ignored, Scopes, scoped
from engine.cli.streaming import Conversation, receive
from engine.client.codec import dumps, loads
from engine.streams import Frame, encode

from .cli_daemon import CONTAINER_ID, IMAGE_ID, NETWORK_ID, Answer, Daemon

Outputs = pytest.CaptureFixture[str]
ROOT = str(Path(engine.__file__).parents[1])
HEAVY = [
    "click",
    "contextlib",
    "csv",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "importlib",
    "inspect",
    "ipaddress",
    "json",
    "os",
    "pathlib",
    "re",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "typing",
    "urllib",
]
CONTAINER: dict[str, Any] = {
    "Id": CONTAINER_ID,
    "Names": ["/web"],
    "Image": "x",
    "ImageID": IMAGE_ID,
    "Created": 1,
    "Command": "sh",
    "Ports": [],
    "Config": {"Tty": False, "OpenStdin": False},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8800"}]}},
}
NETWORK = {"Name": "n", "Id": NETWORK_ID, "Driver": "bridge", "Scope": "local"}
DONE = Answer(status=204)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path / "s") as found:
        monkeypatch.setenv("NETPY_HOST", found.host)
        found.routes |= {
            "GET /containers/json": Answer(body=[CONTAINER]),
            "GET /containers/web/json": Answer(body=CONTAINER),
            f"GET /containers/{CONTAINER_ID}/logs": Answer(chunks=[encode(Frame(1, b"out\n"))]),
            "GET /images/json": Answer(
                body=[{"Id": IMAGE_ID, "RepoTags": ["u:1"], "RepoDigests": None, "Created": 1, "Size": 7}]
            ),
            "GET /networks": Answer(body=[NETWORK]),
            "GET /networks/n": Answer(body=NETWORK),
            "GET /version": Answer(body={"Version": "1", "Platform": {"Name": "netpy"}, "Components": []}),
            "GET /exec/e1/json": Answer(body={"Running": False, "ExitCode": 0}),
            "POST /containers/create": Answer(status=201, body={"Id": CONTAINER_ID, "Warnings": []}),
            "POST /containers/web/exec": Answer(status=201, body={"Id": "e1"}),
            "POST /containers/web/wait": Answer(body={"StatusCode": 0}),
            f"POST /containers/{CONTAINER_ID}/wait": Answer(chunks=[b'{"StatusCode":0}\n']),
            f"POST /containers/{CONTAINER_ID}/start": DONE,
            f"POST /containers/{CONTAINER_ID}/attach": Answer(hijack=lambda sock: sock.sendall(b"\1\0\0\0\0\0\0\2a\n")),
            "POST /exec/e1/start": Answer(hijack=lambda sock: sock.sendall(b"\1\0\0\0\0\0\0\2a\n")),
            "POST /networks/create": Answer(status=201, body={"Id": NETWORK_ID}),
            "POST /networks/n/connect": Answer(),
            "POST /networks/n/disconnect": Answer(),
            "DELETE /containers/web": DONE,
            "DELETE /networks/n": DONE,
            **{f"POST /containers/web/{verb}": DONE for verb in ("start", "stop", "kill", "rename")},
        }
        yield found


@pytest.mark.parametrize(
    "line",
    [
        "run --rm --network n busybox true",
        "run -d --network n --network-alias a -p 8080:80 -e A=1 -v /a:/b busybox:1.36 sleep 9",
        "create --name web team/x_y-z:1.0",
        "start web",
        "stop -t 1 web",
        "kill web",
        "rm -f web",
        "exec web true",
        "ps",
        "ps -aq",
        "ps --no-trunc --filter name=web",
        "images",
        "images -q",
        "logs --tail 5 web",
        "inspect web",
        "inspect web n",
        "port web",
        "wait web",
        "rename web db",
        "network create n",
        "network create --subnet 10.9.0.0/24 n",
        "network rm n",
        "network connect --ip 10.9.0.7 n web",
        "network disconnect n web",
        "network ls",
        "network inspect n",
        "version",
    ],
)
def test_hot_commands_import_nothing_heavy(daemon: Daemon, line: str) -> None:
    daemon.routes["GET /containers/n/json"] = Answer(status=404, body={"message": "No such container: n"})
    daemon.routes["GET /images/n/json"] = Answer(status=404, body={"message": "No such image: n"})
    code = (
        f"import sys; sys.path.insert(0, {ROOT!r}); before = set(sys.modules)\n"
        "from engine.cli.main import run\n"
        "code = run(sys.argv[1:])\n"
        f"print([name for name in {HEAVY!r} if name in set(sys.modules) - before], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, *line.split()],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


# the fast path


@pytest.mark.parametrize(
    "line",
    [
        "ps -q",
        "ps -aq",
        "ps -a -q",
        "ps --all",
        "ps --quiet -a",
        "container ls -a",
        "images -q",
        "images -a",
        "image ls",
        "network ls -q",
        "network ls --quiet",
        "container inspect web",
        "network inspect n",
    ],
)
@pytest.mark.parametrize("flag", ["", "-H", "--host"])
def test_variants_of_the_fast_path(
    daemon: Daemon, capsys: Outputs, monkeypatch: pytest.MonkeyPatch, line: str, flag: str
) -> None:
    argv = line.split()
    if flag:
        monkeypatch.setenv("NETPY_HOST", "unix:///nowhere/at/all")
        argv = [flag, daemon.host, *argv]
    quick = fast.attempt(argv)
    asked = [(request.line, request.query) for request in daemon.requests]
    assert run(argv) == 0
    assert quick == capsys.readouterr().out
    assert asked == [(request.line, request.query) for request in daemon.requests[1:]]


@pytest.mark.parametrize(
    "line",
    ["ps -n", "ps x", "ps -", "ps --", "images -q u", "network ls -a", "inspect web n", "-H", "-H x", "-H ssh://x ps"],
)
def test_what_the_fast_path_leaves_alone(daemon: Daemon, line: str) -> None:
    assert fast.attempt(line.split()) is None
    assert daemon.requests == []


# words


def test_a_detached_container_is_named_before_it_fails_to_start(daemon: Daemon, capsys: Outputs) -> None:
    printed: list[str] = []

    def refuse(_: object) -> Answer:
        printed.append(capsys.readouterr().out)
        return Answer(status=500, body={"message": "port is already allocated"})

    daemon.routes[f"POST /containers/{CONTAINER_ID}/start"] = refuse
    assert run(["run", "-d", "busybox"]) == 125
    assert printed == [f"{CONTAINER_ID}\n"]
    expected = "netpy: Error response from daemon: port is already allocated.\nSee 'netpy run --help'.\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["netwrok", "ls"], "'netwrok' is not a netpy command.\nSee 'netpy --help'\nDid you mean this? network\n"),
        (["network", "craete"], "'network craete' is not a netpy command.\nSee 'netpy network --help'\nDid you mean this? create\n"),
        (["xyzzy"], "'xyzzy' is not a netpy command.\nSee 'netpy --help'\n"),
    ],
)  # fmt: skip
def test_typing_errors(capsys: Outputs, argv: list[str], told: str) -> None:
    assert run(argv) == 1
    assert capsys.readouterr() == ("", f"netpy: {told}")


def test_the_process_ends_with_the_commands_exit_code(daemon: Daemon, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "engine.cli.main", "-H", daemon.host]
    quick = subprocess.run([*program, "ps", "-q"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (quick.returncode, quick.stdout, quick.stderr) == (0, f"{CONTAINER_ID[:12]}\n", "")
    wrong = subprocess.run([*program, "run", "--nope"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (125, "")
    assert wrong.stderr == "unknown flag: --nope\nSee 'netpy run --help'.\n"


def test_the_version_is_the_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netpy-7.8.9.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path)])
    assert system.own_version() == "7.8.9"
    monkeypatch.setattr(sys, "path", [])
    assert system.own_version() == "0.1.0+source"


# stand-ins for the standard library, against the real thing


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(DOCUMENTS)
def test_documents_are_written_and_read_as_json_does(document: Any) -> None:
    assert dumps(document) == json.dumps(document, separators=(",", ":")).encode()
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=1) + "\r\n"):
        assert loads(text) == document
        assert loads(text.encode("utf-8", "surrogatepass")) == document


@pytest.mark.parametrize("text", [b"", b"nope", b"{", b'{"a":1} x', b'["a"', b'"\n"', "\ufeff[]".encode()])
def test_what_is_no_document(text: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        loads(text)
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        dumps({"a": object()})


# as github.com/distribution/reference has them
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@given(st.text(alphabet="ab0._-A é", max_size=8), st.text(alphabet="aZ0._-é ", max_size=4))
def test_image_names_follow_the_grammar(name: str, tag: str) -> None:
    fits = COMPONENT.fullmatch(name) is not None and TAG.fullmatch(tag) is not None
    try:
        found = reference(f"{name}:{tag}")
    except ValueError:
        assert not fits
    else:
        assert fits
        assert (found.path, found.tag) == (f"library/{name}", tag)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20))), st.lists(st.integers(0, 200)))
def test_frames_may_be_cut_anywhere(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    whole = b"".join(encode(Frame(stream, data)) for stream, data in frames)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in pairwise(places)]
    with pytest.MonkeyPatch.context() as patched:
        out, err = _Sink(), _Sink()
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        receive(iter(pieces), Conversation(tty=False, stdin=False))
    for number, sink in ((1, out), (2, err)):
        assert sink.heard == b"".join(data for stream, data in frames if stream == number)


class _Sink:
    """A standard stream that remembers its bytes."""

    def __init__(self) -> None:
        self.heard = b""
        self.buffer = self

    def write(self, data: bytes) -> None:
        self.heard += data

    def flush(self) -> None:
        pass


def test_scopes_are_left_in_order_whatever_happens() -> None:
    said: list[str] = []

    @scoped
    def speaking(name: str) -> Iterator[None]:
        said.append(f"in {name}")
        try:
            yield
        finally:
            said.append(f"out {name}")

    with pytest.raises(ZeroDivisionError), Scopes() as stack:
        stack.enter_context(speaking("a"))
        stack.callback(lambda: 1 // 0)
        stack.enter_context(speaking("b"))
        with Ignored(ValueError):
            raise UnicodeError
        raise KeyError
    assert said == ["in a", "in b", "out b", "out a"]


@record
class _Point:
    x: int
    y: int = 2


def test_records_are_values() -> None:
    point = _Point(1)
    assert (point, hash(point), repr(point)) == (_Point(x=1, y=2), hash(_Point(1, 2)), "_Point(x=1, y=2)")
    assert point != _Point(1, 3)
    assert point != (1, 2)
    assert changed(point, y=5) == _Point(1, 5)
    for build in (lambda: _Point(), lambda: _Point(1, 2, 3), lambda: _Point(1, z=3)):  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="_Point has the fields x, y"):
            build()
    with pytest.raises(AttributeError, match="cannot change 'x'"):
        point.x = 3  # type: ignore[misc]
