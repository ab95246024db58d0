"""The client: hosts, requests, answers in every framing, connections that break. Against a scripted server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.client import ApiError, Client, ClientError, DaemonUnavailable, target

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@contextmanager
def scripted(path: Path, *answers: bytes, until: bytes = b"") -> Iterator[list[bytes]]:
    """A server that takes one connection, and one request for each answer; gives the requests it saw.

    A request is what comes at once, or what comes up to `until`.
    """
    seen: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                request = connection.recv(1 << 20)
                while not request.endswith(until):
                    request += connection.recv(1 << 20)
                seen.append(request)
                connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def client(path: Path) -> Iterator[Client]:
    client = Client(f"unix://{path}")
    yield client
    client.close()


def test_a_request_on_the_wire(path: Path, client: Client) -> None:
    with scripted(path, OK) as seen:
        query = {"a b": "c&d", "all": True, "no": False, "gone": None, "names": ["x", "y"], "filters": {"n": ["é"]}}
        with client.request("POST", "/networks/create", query, {"Name": "x"}) as response:
            assert (response.status, response.read()) == (200, b"OK")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    expected = (
        "/v1.47/networks/create?a%20b=c%26d&all=1&no=0&names=x&names=y&filters=%7B%22n%22:%5B%22%5Cu00e9%22%5D%7D"
    )
    assert head.decode().split("\r\n") == [
        f"POST {expected} HTTP/1.1",
        "Host: netpy",
        "Content-Type: application/json",
        "Content-Length: 12",
    ]
    assert body == b'{"Name":"x"}'


def test_paths_are_encoded() -> None:
    assert target("/images/a b?c#d/json", None) == "/v1.47/images/a%20b%3Fc%23d/json"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 11\r\n\r\nhello world",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\n",
        b"\r\nhello world",
    ],
)
def test_bodies_in_every_framing(path: Path, framing: bytes, client: Client) -> None:
    with scripted(path, b"HTTP/1.1 200 OK\r\n" + framing), client.request("GET", "/x") as response:
        assert response.read() == b"hello world"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 11\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_truncated_body_is_an_error(path: Path, framing: bytes, client: Client) -> None:
    with scripted(path, b"HTTP/1.1 200 OK\r\n" + framing), client.request("GET", "/x") as response:
        reading = pytest.raises(DaemonUnavailable, match="hung up in the middle of an answer")
        with reading:
            response.read()


def test_objects_come_line_by_line(path: Path, client: Client) -> None:
    lines = b'{"a":1}\r\n{"b"', b":2}\n\n", b'{"c":3}'
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with scripted(path, answer), client.request("GET", "/x") as response:
        assert list(response.objects()) == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_connections_are_reused_and_stale_ones_are_not(path: Path, client: Client) -> None:
    with scripted(path, OK, b"HTTP/1.1 204 No Content\r\n\r\n", OK) as seen:
        assert client.request("GET", "/a").read() == b"OK"
        assert client.request("GET", "/b").read() == b""
        assert client.request("GET", "/c").read() == b"OK"
    assert len(seen) == 3
    path.unlink()
    with scripted(path, OK):
        assert client.request("GET", "/d").read() == b"OK"


def test_an_answer_that_was_not_read_is_not_reused(path: Path, client: Client) -> None:
    with scripted(path, OK):
        client.request("GET", "/a").close()
    path.unlink()
    with scripted(path, OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n", 1)):
        assert client.request("GET", "/b").read() == b"OK"
    path.unlink()
    with scripted(path, OK):
        assert client.request("GET", "/c").read() == b"OK"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message":"No such container: x"}\n', "No such container: x"),
        (b"plain words", "plain words"),
        (b"", "request returned status 404"),
        (b"[1]", "[1]"),
    ],
)
def test_errors_carry_the_daemons_words(path: Path, body: bytes, message: str, client: Client) -> None:
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)
    with scripted(path, head + body), pytest.raises(ApiError) as caught:
        client.request("GET", "/x")
    assert (caught.value.status, caught.value.message, str(caught.value)) == (404, message, message)


def test_streams_are_uploaded_in_chunks(path: Path, client: Client) -> None:
    with scripted(path, OK, until=b"\r\n0\r\n\r\n") as seen:
        assert client.request("POST", "/x", None, iter([b"abc", b"", b"de"])).read() == b"OK"
    assert seen[0].endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in seen[0] and b"Content-Length" not in seen[0]


def test_an_early_refusal_of_an_upload_is_heard(path: Path, client: Client) -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    with scripted(path, refusal), pytest.raises(ApiError, match="no"):
        client.request("POST", "/x", None, endless())


def test_continue_is_passed_over(path: Path, client: Client) -> None:
    with scripted(path, b"HTTP/1.1 100 Continue\r\n\r\n" + OK):
        assert client.request("GET", "/x").read() == b"OK"


@pytest.mark.parametrize("head", [b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_hijack_gives_the_socket_just_behind_the_head(path: Path, head: bytes, client: Client) -> None:
    with scripted(path, head + b"stream") as seen, client.hijack("/exec/x/start", {}, {}) as sock:
        assert sock.recv(100) == b"stream"
    assert b"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" in seen[0]


def test_hijack_may_be_refused(path: Path, client: Client) -> None:
    refusal = b'HTTP/1.1 409 Conflict\r\nContent-Length: 17\r\n\r\n{"message":"why"}'
    with scripted(path, refusal), pytest.raises(ApiError, match="why"):
        client.hijack("/exec/x/start")


def test_heads_may_come_in_pieces(path: Path, client: Client) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(client.request("GET", "/x").read()))
    thread.start()
    connection, _ = listener.accept()
    connection.recv(1 << 16)
    for index in range(len(OK)):
        connection.sendall(OK[index : index + 1])
    thread.join(10)
    connection.close()
    listener.close()
    assert answers == [b"OK"]


def test_no_daemon(path: Path) -> None:
    host = f"unix://{path}"
    words = f"Cannot connect to the netpy daemon at {host}. Is the netpy daemon running?"
    with pytest.raises(DaemonUnavailable) as caught:
        Client(host).request("GET", "/_ping")
    assert str(caught.value) == words
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with pytest.raises(DaemonUnavailable) as caught:
        Client(str(path)).request("GET", "/_ping")
    assert str(caught.value) == words.replace(host, str(path))


def test_permission_denied_is_told_apart(monkeypatch: pytest.MonkeyPatch, path: Path, client: Client) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("engine.client._connect", refuse)
    with pytest.raises(DaemonUnavailable, match="permission denied while trying to connect to the netpy daemon socket"):
        client.request("GET", "/_ping")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200"])
def test_a_daemon_that_dies_before_its_answer(path: Path, answer: bytes, client: Client) -> None:
    with scripted(path, answer), pytest.raises(DaemonUnavailable, match="hung up without an answer"):
        client.request("GET", "/x")


def test_something_else_at_the_socket(path: Path, client: Client) -> None:
    with scripted(path, b"SSH-2.0-OpenSSH\r\n\r\n"), pytest.raises(ClientError, match="not HTTP"):
        client.request("GET", "/x")


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        answers: list[bytes] = []
        thread = threading.Thread(target=lambda: answers.append(client.request("GET", "/x").read()))
        thread.start()
        connection, _ = listener.accept()
        with connection:
            assert b"\r\nHost: 127.0.0.1\r\n" in connection.recv(1 << 16)
            connection.sendall(OK)
            thread.join(10)
        client.close()
        assert answers == [b"OK"]


@pytest.mark.parametrize("host", ["nonsense", "unix://relative", "tcp://", "tcp://x:y", "ssh://x", "unix://"])
def test_hosts_that_make_no_sense(host: str) -> None:
    with pytest.raises(ClientError, match="unable to parse netpy host"):
        Client(host)


def test_the_host_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETPY_HOST", "tcp://example:1")
    assert Client().host == "tcp://example:1"
    assert Client("/run/x").host == "/run/x"
    monkeypatch.delenv("NETPY_HOST")
    assert Client().host == "unix:///run/netpy/netpy.sock"


def test_it_imports_next_to_nothing() -> None:
    code = "import engine.client, sys; print([m for m in ('http', 'json', 'click', 'typing', 'urllib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
