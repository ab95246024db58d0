"""Clients that vanish in the middle of what would never end: the daemon keeps neither their threads nor their sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from tests.e2e.crowd import resources
from tests.e2e.world import Daemon, eventually

pytestmark = pytest.mark.root

ROUNDS = 10
ENDLESS = (
    ("POST", "/containers/lasting/attach?stream=1&stdin=1&stdout=1&stderr=1"),
    ("POST", "/v1.41/containers/lasting/attach?stream=1&stdout=1"),
    ("GET", "/containers/lasting/logs?follow=1&stdout=1"),
    ("GET", "/containers/lasting/stats"),
    ("POST", "/containers/lasting/wait"),
    ("POST", "/containers/lasting/wait?condition=removed"),
    ("GET", "/events"),
)


def begin(daemon: Daemon, method: str, path: str, body: bytes = b"", *more: str) -> socket.socket:
    """Ask, and come back when the answer has begun."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(str(daemon.socket))
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *more, "", ""]
    sock.sendall("\r\n".join(lines).encode() + body)
    head = sock.recv(4096)
    assert head.split()[1] in (b"200", b"101"), head
    return sock


def begin_exec(daemon: Daemon) -> socket.socket:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        body = b'{"Cmd":["cat"],"AttachStdin":true,"AttachStdout":true}'
        head = (
            f"POST /containers/lasting/exec HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        )
        sock.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        answer = b""
        while data := sock.recv(4096):
            answer += data
    identity = json.loads(answer.partition(b"\r\n\r\n")[2])["Id"]
    kind = "Content-Type: application/json"
    return begin(daemon, "POST", f"/exec/{identity}/start", b"{}", kind, "Connection: Upgrade", "Upgrade: tcp")


def test_nothing_is_kept_for_who_has_gone(new_daemon: Callable[..., Daemon]) -> None:
    daemon = new_daemon("vanish")
    daemon("run", "-d", "-i", "--name", "lasting", "busybox", "sleep", "10000")
    pid = int((daemon.exec_root / "pid").read_text())
    for method, path in ENDLESS:
        begin(daemon, method, path).close()
    begin_exec(daemon).close()
    eventually(lambda: daemon("inspect", "-f", "{{json .ExecIDs}}", "lasting") == "null")
    before = resources(pid)
    for _ in range(ROUNDS):
        open_ones = [begin(daemon, method, path) for method, path in ENDLESS]
        open_ones.append(begin_exec(daemon))
        for sock in open_ones:
            sock.close()

    def settled() -> bool:
        threads, descriptors = resources(pid)
        return threads <= before[0] and descriptors <= before[1]

    eventually(settled, f"threads and descriptors go back to {before}", seconds=30)
    assert daemon("inspect", "-f", "{{.State.Running}}", "lasting") == "true"


def test_a_truncated_upload_leaves_nothing(new_daemon: Callable[..., Daemon]) -> None:
    daemon = new_daemon("cut")
    images = daemon("images", "-q")
    for path in ("/images/load", "/images/create?fromSrc=-&repo=cut", "/build?t=cut"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(daemon.socket))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sock.sendall(head.encode() + b"1000\r\n" + b"x" * 100)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(30)
        answer = b""
        while data := sock.recv(4096):
            answer += data
        sock.close()
        assert b"message" in answer or b"error" in answer, answer
    assert daemon("images", "-q") == images
