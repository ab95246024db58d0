"""Streams over the API: hijacked sessions, half-closes, detaching, and clients that go away."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import streaming
from engine.api.hijack import DetachKeys, parse_keys
from netpy.errors import InvalidArgument
from tests.unit.fake_daemon import FakeDaemon, served
from tests.unit.test_api_http import Raw, get, message, post

UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")
READY = b"\x01\0\0\0\0\0\0\6ready\n"
BYE = b"\x02\0\0\0\0\0\0\4bye\n"


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    daemon = FakeDaemon(tmp_path)
    config = {"Image": "busybox", "OpenStdin": True, "StdinOnce": True}
    daemon.containers.create(name="plain", config=config, host_config={}, networks={})
    daemon.containers.create(name="tty", config=config | {"Tty": True}, host_config={}, networks={})
    daemon.containers.create(name="shared", config=config | {"StdinOnce": False}, host_config={}, networks={})
    return daemon


@pytest.fixture
def host(daemon: FakeDaemon, tmp_path: Path) -> Iterator[str]:
    with served(daemon, tmp_path / "s") as host:
        yield host


@pytest.fixture
def raw(host: str) -> Iterator[Raw]:
    client = Raw(host)
    yield client
    client.close()


def attach(name: str, flags: str = "stdin=1&stdout=1&stderr=1&stream=1", version: str = "1.47") -> bytes:
    return post(f"/v{version}/containers/{name}/attach?{flags}", b"", *UPGRADE)


def test_attach_is_upgraded_and_framed(raw: Raw, daemon: FakeDaemon) -> None:
    status, headers = raw.send(attach("plain")).head()
    assert status == 101
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert (headers["connection"], headers["upgrade"]) == ("Upgrade", "tcp")
    assert raw.file.read(len(READY)) == READY
    raw.send(b"hello")
    assert raw.file.read(13) == b"\x01\0\0\0\0\0\0\5hello"
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.file.read() == BYE
    assert daemon.containers.session.input_closed.is_set()
    assert daemon.containers.calls[-1] == (
        "attach",
        "plain",
        {"stdin": True, "stdout": True, "stderr": True, "logs": False, "stream": True},
    )


def test_before_1_42_the_type_was_raw_for_all(raw: Raw) -> None:
    assert raw.send(attach("plain", version="1.41")).head()[1]["content-type"] == "application/vnd.docker.raw-stream"


def test_without_upgrade_headers_it_is_a_200(raw: Raw) -> None:
    status, headers = raw.send(post("/containers/plain/attach?stream=1&stdout=1", b"")).head()
    assert (status, headers.get("upgrade")) == (200, None)
    assert raw.file.read(len(READY)) == READY


def test_a_client_without_stdin_half_closes_and_still_gets_everything(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(attach("plain", "stdout=1&stderr=1&stream=1")).sock.shutdown(socket.SHUT_WR)
    assert raw.head()[0] == 101
    assert raw.file.read(len(READY)) == READY
    session = daemon.containers.session
    session.write(b"late")
    assert raw.file.read(12) == b"\x01\0\0\0\0\0\0\4late"
    assert not session.input_closed.is_set() and not session.closed.is_set()
    session.finish()
    assert raw.ended()


def test_the_body_of_an_upgrade_request_is_not_standard_input(raw: Raw, daemon: FakeDaemon) -> None:
    body = json.dumps({"AttachStdin": True, "Cmd": ["cat"]}).encode()
    id = json.loads(raw.send(post("/containers/plain/exec", body)).answer()[2])["Id"]
    start = post(f"/exec/{id}/start", b'{"Detach":false,"Tty":false}', *UPGRADE)
    raw.send(start + b"real input")
    assert raw.head()[0] == 101
    assert raw.file.read(len(READY)) == READY
    assert raw.file.read(18) == b"\x01\0\0\0\0\0\0\x0areal input"
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.file.read() == BYE


def test_the_body_of_an_upgrade_request_may_come_late(raw: Raw) -> None:
    raw.send(post("/containers/plain/exec", b'{"AttachStdin":true,"Cmd":["cat"]}')).answer()
    start = post(f"/exec/{'e' * 64}/start", b'{"Detach":false}', *UPGRADE)
    for index in range(len(start)):
        raw.send(start[index : index + 1])
    assert raw.head()[0] == 101
    raw.send(b"x")
    assert raw.file.read(len(READY) + 9) == READY + b"\x01\0\0\0\0\0\0\1x"


def test_a_detached_exec_is_an_ordinary_answer(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(post("/containers/plain/exec", b'{"Cmd":["true"]}')).answer()
    assert raw.send(post(f"/exec/{'e' * 64}/start", b'{"Detach":true}')).answer()[0] == 200
    assert daemon.containers.calls[-1] == ("exec_start", "e" * 64, False, True)
    assert json.loads(raw.send(get(f"/exec/{'e' * 64}/json")).answer()[2])["ExitCode"] == 4
    assert raw.send(post(f"/exec/{'e' * 64}/resize?h=30&w=100", b"")).answer()[0] == 200
    assert daemon.containers.calls[-1] == ("exec_resize", "e" * 64, 30, 100)


def test_an_exec_that_cannot_start_says_so_in_its_stream(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(post("/containers/plain/exec", b'{"Cmd":["nope"],"Tty":true}')).answer()
    daemon.containers.exec_fails = "OCI runtime exec failed: no such file"
    raw.send(post(f"/exec/{'e' * 64}/start", b'{"Tty":false}', *UPGRADE))
    assert raw.head()[0] == 101
    raw.sock.shutdown(socket.SHUT_WR)
    words = b"OCI runtime exec failed: no such file\r\n"
    assert raw.file.read() == b"\x01\0\0\0\0\0\0" + bytes([len(words)]) + words


def test_refusals_come_before_the_upgrade(raw: Raw) -> None:
    answer = raw.send(post(f"/exec/{'f' * 64}/start", b"{}", *UPGRADE)).answer()
    assert (answer[0], message(answer)) == (404, f"No such exec instance: {'f' * 64}")
    assert raw.send(attach("nosuch")).answer()[0] == 404
    assert raw.send(attach("tty", "detachKeys=ctrl-%3F%3F")).answer()[0] == 400
    assert message(raw.send(post("/containers/plain/exec", b"{}")).answer()) == "no exec command specified"


def test_a_terminal_is_raw_and_detaches_by_keys(raw: Raw, daemon: FakeDaemon) -> None:
    status, headers = raw.send(attach("tty")).head()
    assert (status, headers["content-type"]) == (101, "application/vnd.docker.raw-stream")
    assert raw.file.read(6) == b"ready\n"
    raw.send(b"ls\x10")
    assert raw.file.read(2) == b"ls"
    raw.send(b"\x11rest")
    assert raw.ended()
    assert daemon.containers.session.closed.is_set()
    assert not daemon.containers.session.input_closed.is_set()


def test_the_end_of_input_ends_a_shared_shell_for_us_alone(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(attach("shared")).head()
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.file.read() == READY
    assert daemon.containers.session.closed.is_set()
    assert not daemon.containers.session.input_closed.is_set()


def test_a_client_that_goes_away_leaves_the_session(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(attach("plain", "stdout=1&stream=1")).head()
    raw.close()
    assert daemon.containers.session.closed.wait(10)


def test_a_client_that_dies_with_the_input_ends_it(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(attach("plain")).head()
    raw.close()
    assert daemon.containers.session.input_closed.wait(10)
    assert daemon.containers.session.closed.wait(10)


def test_a_client_that_goes_away_ends_following(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(get("/containers/plain/logs?stdout=1&follow=1")).head()
    raw.close()
    assert daemon.containers.log.closed.wait(10)


def test_a_client_that_goes_away_no_longer_waits(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(post("/containers/plain/wait?condition=next-exit", b"")).head()
    raw.close()
    assert daemon.containers.waiters[0].closed.wait(10)


def test_wait_sends_its_status_at_once(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(post("/containers/plain/wait?condition=next-exit", b""))
    status, headers = raw.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    daemon.containers.exit("plain", 3)
    raw.file.readline()
    assert json.loads(raw.file.readline()) == {"Error": None, "StatusCode": 3}
    assert raw.file.read(7) == b"\r\n0\r\n\r\n"
    assert raw.send(get("/_ping")).answer()[0] == 200


def test_wait_refuses_unknown_conditions(raw: Raw) -> None:
    answer = raw.send(post("/containers/plain/wait?condition=soon", b"")).answer()
    assert (answer[0], message(answer)) == (400, 'invalid condition: "soon"')


def test_logs(raw: Raw, daemon: FakeDaemon) -> None:
    asked = "stdout=1&stderr=1&tail=2&timestamps=1&since=1795255355.5&until=0"
    status, headers, body = raw.send(get(f"/containers/plain/logs?{asked}")).answer()
    assert (status, body) == (200, b"\x01\0\0\0\0\0\0\4out\n\x02\0\0\0\0\0\0\4err\n")
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert daemon.containers.calls[-1][2] == {
        "stdout": True,
        "stderr": True,
        "since": 1795255355.5,
        "until": None,
        "tail": 2,
        "follow": False,
        "timestamps": True,
        "details": False,
    }
    assert raw.send(get("/v1.41/containers/tty/logs?stdout=1&tail=all")).answer()[2] == b"out\nerr\n"
    assert daemon.containers.calls[-1][2]["tail"] is None
    answer = raw.send(get("/containers/plain/logs")).answer()
    assert (answer[0], message(answer)) == (400, "Bad parameters: you must choose at least one stream")
    assert "a Unix timestamp is wanted" in message(raw.send(get("/containers/tty/logs?stdout=1&since=x")).answer())


def test_events_are_lines_as_they_happen(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(get('/events?filters={"type":{"network":true}}'))
    assert raw.head()[0] == 200
    daemon.events.publish("container", "start", "c" * 64)
    daemon.events.publish("network", "create", "n" * 64, {"name": "x"})
    raw.file.readline()
    event = json.loads(raw.file.readline())
    assert (event["Type"], event["Action"], event["Actor"]["Attributes"]) == ("network", "create", {"name": "x"})


def test_events_until_now_end(raw: Raw, daemon: FakeDaemon) -> None:
    daemon.events.publish("network", "create", "n" * 64)
    lines = raw.send(get("/events?since=1&until=2")).answer()[2]
    assert lines == b""
    assert raw.send(get("/events?since=3&until=2")).answer()[0] == 400
    assert raw.send(get('/events?filters={"nope":["x"]}')).answer()[0] == 400
    assert daemon.events.listeners() == 0


def test_the_stop_ends_streams_and_idle_connections(daemon: FakeDaemon, tmp_path: Path) -> None:
    with served(daemon, tmp_path / "t") as host:
        clients = [Raw(host) for _ in range(4)]
        clients[0].send(get("/events")).head()
        clients[1].send(attach("plain")).head()
        daemon.containers.start("plain")
        clients[2].send(post("/containers/plain/wait", b"")).head()
        clients[3].send(get("/_ping")).answer()
    assert clients[0].file.read() == b"0\r\n\r\n"
    assert clients[1].file.read() == READY
    assert not daemon.containers.session.input_closed.is_set()
    assert clients[2].file.read() == b"0\r\n\r\n"
    assert clients[3].ended()
    for client in clients:
        client.close()


def test_many_clients_at_once(daemon: FakeDaemon, host: str) -> None:
    answers: list[bytes] = []

    def ask() -> None:
        client = Raw(host)
        for _ in range(20):
            answers.append(client.send(get("/_ping")).answer()[2])
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"OK"] * 400


def test_stats_carry_the_sample_before(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_PERIOD", 0.01)  # seconds between two samples
    one = json.loads(raw.send(get("/containers/plain/stats?stream=0&one-shot=1")).answer()[2])
    assert "precpu_stats" not in one
    raw.send(get("/containers/plain/stats"))
    assert raw.head()[0] == 200
    for present in (False, True):
        raw.file.readline()
        sample = json.loads(raw.file.readline())
        raw.file.readline()
        assert ("precpu_stats" in sample) is present


@pytest.mark.parametrize(
    ("keys", "pieces", "passed", "detached"),
    [
        ("", [b"a\x10\x11b"], b"a", True),
        ("", [b"\x10", b"\x11"], b"", True),
        ("", [b"\x10", b"x"], b"\x10x", False),
        ("", [b"\x10\x10\x11"], b"\x10", True),
        ("a,b,c", [b"ab", b"abc"], b"ab", True),
        ("ctrl-@,ctrl-_", [b"\0\x1f"], b"", True),
        ("x", [b"yyx"], b"yy", True),
    ],
)
def test_detach_keys(keys: str, pieces: list[bytes], passed: bytes, detached: bool) -> None:
    scanner = DetachKeys(parse_keys(keys))
    found = b""
    for piece in pieces:
        data, done = scanner.feed(piece)
        found += data
        if done:
            break
    assert (found, done) == (passed, detached)


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-pp", "ab", "a,,b", "é"])
def test_malformed_detach_keys(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid detach key"):
        parse_keys(text)
