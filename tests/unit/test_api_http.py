"""The API's HTTP: what the wire may carry, what is refused, and what a connection survives. Raw sockets throughout."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api.connection import Connection
from engine.api.decode import loads
from engine.api.hangup import Hangups
from engine.api.reply import Reply
from engine.api.request import JSON_LIMIT, Request
from engine.api.wire import HEAD_LIMIT
from tests.unit.fake_daemon import FakeDaemon, served


class Raw:
    """A client that sends exactly what it is told."""

    def __init__(self, host: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(host.removeprefix("unix://"))
        self.file = self.sock.makefile("rb")

    def send(self, data: bytes) -> Raw:
        self.sock.sendall(data)
        return self

    def head(self) -> tuple[int, dict[str, str]]:
        status = self.file.readline()
        headers: dict[str, str] = {}
        while line := self.file.readline().rstrip(b"\r\n"):
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return int(status.split()[1]), headers

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
            return status, headers, body
        return status, headers, self.file.read(int(headers.get("content-length", 0)))

    def ended(self) -> bool:
        return self.file.read(1) == b""

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    return FakeDaemon(tmp_path)


@pytest.fixture
def raw(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Raw]:
    with served(daemon, tmp_path / "s") as host:
        client = Raw(host)
        yield client
        client.close()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def message(answer: tuple[int, dict[str, str], bytes]) -> str:
    return json.loads(answer[2])["message"]


def test_ping_tells_the_version(raw: Raw) -> None:
    status, headers, body = raw.send(get("/_ping")).answer()
    assert (status, body) == (200, b"OK")
    assert headers["api-version"] == "1.47"
    assert headers["docker-experimental"] == "false"
    assert headers["ostype"] == "linux"
    assert headers["server"].startswith("netpy/")
    assert headers["content-type"] == "text/plain; charset=utf-8"


def test_head_has_the_length_but_no_body(raw: Raw) -> None:
    raw.send(b"HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert raw.head()[1]["content-length"] == "2"
    assert raw.send(get("/v1.41/_ping")).answer()[2] == b"OK"


def test_head_of_a_stream_ends_it(raw: Raw, daemon: FakeDaemon) -> None:
    raw.send(b"HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert raw.head()[0] == 200
    assert raw.send(get("/_ping")).answer()[0] == 200
    assert daemon.events.listeners() == 0


def test_pipelined_requests_are_answered_in_order(raw: Raw) -> None:
    raw.send(get("/networks/host") + post("/networks/create", b'{"Name":"x"}') + get("/networks/x"))
    assert json.loads(raw.answer()[2])["Name"] == "host"
    assert raw.answer()[0] == 201
    assert json.loads(raw.answer()[2])["Name"] == "x"


def test_chunked_bodies(raw: Raw) -> None:
    head = b"POST /networks/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw.send(head + b'5\r\n{"Nam\r\n8;ext=1\r\ne": "y"}\r\n0\r\nTrailer: t\r\n\r\n' + get("/networks/y"))
    assert raw.answer()[0] == 201
    assert json.loads(raw.answer()[2])["Name"] == "y"


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n", b"\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"f" * 5000]
)
def test_malformed_chunks_are_refused(raw: Raw, chunks: bytes) -> None:
    raw.send(b"POST /networks/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    answer = raw.answer()
    assert answer[0] == 400
    assert "malformed chunked encoding" in message(answer)
    assert raw.ended()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /_ping\r\n\r\n",  # HTTP/0.9
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_malformed_http_is_refused_and_the_connection_ends(raw: Raw, garbage: bytes) -> None:
    answer = raw.send(garbage).answer()
    assert answer[0] == 400
    assert message(answer).startswith("malformed HTTP request")
    assert raw.ended()


def test_a_truncated_head_is_told(raw: Raw) -> None:
    raw.send(b"GET /_ping HTT").sock.shutdown(socket.SHUT_WR)
    answer = raw.answer()
    assert answer[0] == 400
    assert "incomplete" in message(answer)


def test_a_truncated_body_is_told(raw: Raw) -> None:
    raw.send(post("/networks/create", b'{"Name"')[:-1]).sock.shutdown(socket.SHUT_WR)
    answer = raw.answer()
    assert answer[0] == 400
    assert "in the middle" in message(answer)


def test_an_oversized_head_is_refused(raw: Raw) -> None:
    raw.send(b"GET /_ping HTTP/1.1\r\nX: " + b"a" * (HEAD_LIMIT + 100))
    assert raw.answer()[0] == 431
    assert raw.ended()


def test_an_oversized_document_is_refused(raw: Raw) -> None:
    raw.send(post("/networks/create", b'{"Name":"' + b"a" * JSON_LIMIT + b'"}'))
    answer = raw.answer()
    assert answer[0] == 413
    assert str(JSON_LIMIT) in message(answer)


def test_unread_bodies_do_not_become_requests(raw: Raw) -> None:
    raw.send(post("/containers/nosuch/start", b"GET /networks/host HTTP/1.1\r\n\r\n") + get("/_ping"))
    assert raw.answer()[0] == 404
    assert raw.answer()[2] == b"OK"


def test_expect_continue_is_granted_when_the_body_is_wanted(raw: Raw) -> None:
    request = post("/networks/create", b'{"Name":"z"}', "Expect: 100-continue")
    raw.send(request[:-12])
    assert raw.head()[0] == 100
    assert raw.send(request[-12:]).answer()[0] == 201


def test_expect_continue_is_not_granted_to_the_refused(raw: Raw) -> None:
    raw.send(post("/nowhere", b"x" * 100, "Expect: 100-continue")[:-100])
    status, headers, _ = raw.answer()
    assert (status, headers["connection"]) == (404, "close")
    assert raw.ended()


def test_unknown_expectations_and_codings(raw: Raw, tmp_path: Path) -> None:
    assert raw.send(post("/networks/create", b"{}", "Expect: miracles")).answer()[0] == 417
    other = Raw(f"unix://{tmp_path / 's'}")
    other.send(b"POST /networks/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
    assert other.answer()[0] == 501
    other.close()


def test_http_1_0_gets_an_unchunked_answer_and_the_end(raw: Raw, daemon: FakeDaemon) -> None:
    daemon.containers.create(name="a", config={"Image": "busybox"}, host_config={}, networks={})
    raw.send(b"GET /containers/a/logs?stdout=1 HTTP/1.0\r\n\r\n")
    status, headers = raw.head()
    assert (status, headers.get("transfer-encoding"), headers["connection"]) == (200, None, "close")
    assert raw.file.read() == b"\x01\0\0\0\0\0\0\4out\n\x02\0\0\0\0\0\0\4err\n"


def test_connection_close_is_honoured(raw: Raw) -> None:
    assert raw.send(get("/_ping", "Connection: close")).answer()[1]["connection"] == "close"
    assert raw.ended()


def test_other_upgrades_are_ordinary_requests(raw: Raw) -> None:
    raw.send(get("/_ping", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"))
    assert raw.answer()[0] == 200
    assert raw.send(get("/_ping")).answer()[0] == 200


def test_stray_line_ends_between_requests_are_forgiven(raw: Raw) -> None:
    assert raw.send(b"\r\n\r\n" + get("/_ping")).answer()[0] == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1.99/_ping", "client version 1.99 is too new. Maximum supported API version is 1.47"),
        ("/v1.12/info", "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade"),
    ],
)
def test_versions_out_of_range(raw: Raw, path: str, words: str) -> None:
    answer = raw.send(get(path)).answer()
    assert answer[0] == 400
    assert message(answer).startswith(words)


def test_unknown_paths_and_methods(raw: Raw) -> None:
    answer = raw.send(get("/v1.47/nowhere")).answer()
    assert (answer[0], answer[2]) == (404, b'{"message":"page not found"}\n')
    assert raw.send(get("/networks/create/connect/x")).answer()[0] == 404
    answer = raw.send(b"PUT /v1.47/networks HTTP/1.1\r\nHost: x\r\n\r\n").answer()
    assert (answer[0], answer[2]) == (404, b'{"message":"page not found"}\n')
    assert raw.send(b"OPTIONS /v1.47/networks HTTP/1.1\r\nHost: x\r\n\r\n").answer()[0] == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "got EOF while reading request body"),
        (b"{", "unexpected end of input at line 1, column 2"),
        (b"{nope}", "invalid character 'n' at line 1, column 2"),
        (b'{"a": 1} x', "invalid character 'x' at line 1, column 10"),
        (b"[1]", "the document must be an object, not a list"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"\xff\xfe", "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid JSON"),
        (b'{"Name": 5}', "Name must be a string, not a number"),
        (b'{"Name": "x", "Internal": "yes"}', "Internal must be a boolean, not a string"),
        (b'{"Name": "x", "IPAM": {"Config": [5]}}', "Config[0] must be an object, not a number"),
        (b'{"Name": "x", "Labels": {"a": null, "b": []}}', "b must be a string, not a list"),
    ],
)
def test_malformed_json_is_named(raw: Raw, body: bytes, words: str) -> None:
    answer = raw.send(post("/networks/create", body)).answer()
    assert answer[0] == 400
    assert message(answer).startswith("invalid JSON: ") and words in message(answer)


def test_a_wrong_content_type_is_refused(raw: Raw) -> None:
    answer = raw.send(post("/networks/create", b"{}", "Content-Type: text/plain")).answer()
    assert message(answer) == "unsupported Content-Type header (text/plain): must be 'application/json'"


def test_a_bug_is_a_500_and_the_daemon_lives_on(raw: Raw, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture) -> None:
    answer = raw.send(post("/containers/x/pause", b"")).answer()
    assert answer[0] == 500
    assert message(answer) == "internal error: RuntimeError: the fake has a bug"
    assert "the fake has a bug" in caplog.text and "Traceback" in caplog.text
    assert raw.send(get("/_ping")).answer()[0] == 200


def test_a_group_of_errors_is_told_whole(raw: Raw) -> None:
    answer = raw.send(post("/containers/x/unpause", b"")).answer()
    assert (answer[0], message(answer)) == (409, "two: one thing; another")


def test_an_idle_client_is_sent_away() -> None:
    ours, theirs = socket.socketpair()
    hangups = Hangups()
    Connection(ours, lambda request: Reply(), hangups, idle=0.01).run()
    assert theirs.recv(1) == b""
    theirs.close()
    hangups.close()


def test_a_stream_that_breaks_lacks_its_last_chunk(caplog: pytest.LogCaptureFixture) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("broken")

    def handler(request: Request) -> Reply:
        return Reply(stream=pieces())

    ours, theirs = socket.socketpair()
    theirs.sendall(get("/"))
    theirs.shutdown(socket.SHUT_WR)
    hangups = Hangups()
    Connection(ours, handler, hangups).run()
    hangups.close()
    assert theirs.makefile("rb").read().endswith(b"\r\n\r\n3\r\none\r\n")
    theirs.close()
    assert "broken" in caplog.text


def test_numbers_are_not_read_as_constants() -> None:
    assert loads(b'{"a": 1e3}') == {"a": 1000.0}
