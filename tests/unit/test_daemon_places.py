"""The daemon's places in the file system: sockets, locks, the pid file."""

from __future__ import annotations

import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import listening
from engine.tenancy import Tenancy, close_to_others
from netpy.errors import Conflict, InvalidArgument, KernelError

GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a short name: the path of a socket may have 107 bytes."""
    monkeypatch.chdir(tmp_path)
    yield Path()


def test_a_socket_is_for_its_group_alone(place: Path) -> None:
    path = place / "run" / "s.sock"
    with listening.listen(path, GROUP) as made, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert status.st_gid == os.getgid()
        made.accept()[0].close()


def test_a_stale_socket_is_replaced_and_a_live_one_refused(place: Path) -> None:
    path = place / "s.sock"
    listening.listen(path, GROUP).close()
    assert path.exists()
    with listening.listen(path, GROUP), pytest.raises(Conflict, match="another daemon does"):
        listening.listen(path, GROUP)


def test_a_file_in_the_way_is_left_alone(place: Path) -> None:
    path = place / "s.sock"
    path.write_text("precious")
    with pytest.raises(Conflict, match="no socket"):
        listening.listen(path, GROUP)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long(place: Path) -> None:
    with pytest.raises(KernelError, match="cannot listen on unix://"):
        listening.listen(place / ("x" * 120), GROUP)


def test_all_or_nothing(place: Path) -> None:
    (place / "b").write_text("")
    with pytest.raises(Conflict):
        listening.open_all([f"unix://{place.absolute()}/a", f"unix://{place.absolute()}/b"], GROUP)
    listening.listen(place / "a", GROUP).close()


@pytest.mark.parametrize(
    "environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": "7", "LISTEN_FDS": "0"}]
)
def test_no_sockets_from_systemd(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="no sockets found via socket activation"):
        listening.passed(environment, 7)


def test_sockets_from_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    monkeypatch.setattr(listening, "FIRST_PASSED", right.detach())
    (found,) = listening.passed({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7)
    with left, found:
        left.sendall(b"x")
        assert found.recv(1) == b"x"
        assert not found.get_inheritable()


def test_a_tcp_socket_from_systemd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "FIRST_PASSED", socket.create_server(("127.0.0.1", 0)).detach())
    with pytest.raises(InvalidArgument, match="only Unix sockets are served"):
        listening.passed({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7)


def test_nobody_else_comes_to_what_containers_are_made_of(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for directory in (data, run, run / "containers"):
        directory.mkdir(mode=0o755)
    close_to_others(data, run)
    close_to_others(data, run)
    assert data.stat().st_mode & 0o777 == 0o710
    assert {path.name: path.stat().st_mode & 0o777 for path in run.iterdir()} == {
        "containers": 0o700,
        "runtime": 0o700,
        "netns": 0o700,
    }


def test_one_daemon_per_root(tmp_path: Path) -> None:
    data, run, pidfile = tmp_path / "data", tmp_path / "run", tmp_path / "pid"
    first = Tenancy([data, run], pidfile)
    assert pidfile.read_text() == str(os.getpid())
    with pytest.raises(Conflict, match=f"another netpy daemon \\(pid {os.getpid()}\\) is already using {run}"):
        Tenancy([tmp_path / "other", run], tmp_path / "pid2")
    Tenancy([tmp_path / "other"], tmp_path / "pid2").close()
    first.close()
    assert not pidfile.exists()
    Tenancy([data, run], pidfile).close()


@pytest.mark.parametrize("content", ["", "nonsense", "999999999", "1"])
def test_a_stale_pid_file_stands_in_nobodys_way(tmp_path: Path, content: str) -> None:
    pidfile = tmp_path / "pid"
    pidfile.write_text(content)
    Tenancy([tmp_path], pidfile).close()


def test_a_foreign_pid_file_is_left_at_the_end(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    tenancy = Tenancy([tmp_path], pidfile)
    pidfile.write_text("1")
    tenancy.close()
    assert pidfile.read_text() == "1"


def test_a_root_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match=f"cannot use {tmp_path}/file/data"):
        Tenancy([tmp_path / "file" / "data"], tmp_path / "pid")
