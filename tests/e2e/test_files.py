"""Files and trees in and out of containers, by the command line and by clients that misbehave."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import NETPY, Daemon, eventually

pytestmark = pytest.mark.root


BACKENDS = ("nftables",)  # files have nothing to do with firewalls: once is enough


@pytest.fixture
def box(netpy: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A running container `box` with a volume, a bind that is read-only and a tmpfs."""
    (tmp_path / "bind").mkdir()
    netpy(
        "run", "-d", "--name", "box", "-v", f"{tmp_path.name}:/vol", "-v", f"{tmp_path}/bind:/bind:ro", "--tmpfs", "/mem",
        "busybox", "sleep", "1000",
    )  # fmt: skip
    yield netpy
    netpy("rm", "-f", "box")


def tar(*entries: tuple[str, bytes, str]) -> bytes:
    """A tar of entries: name, kind, content or target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o644
            info.linkname = text if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.size = len(text) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def put(daemon: Daemon, data: bytes, path: str = "/tmp", *, length: int | None = None) -> bytes:
    """PUT an archive by hand; the answer, or nothing when the body was cut short and the client left."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        head = f"PUT /containers/box/archive?path={path} HTTP/1.1\r\nHost: d\r\nContent-Length: "
        client.sendall(f"{head}{len(data) if length is None else length}\r\n\r\n".encode() + data)
        return b"" if length is not None else client.recv(65536)


def children(daemon: Daemon) -> list[str]:
    """The processes at work on trees that belong to a daemon."""
    assert daemon.process
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes()
            parent = (entry.parent / "stat").read_text().rpartition(")")[2].split()[1]
            if b"trees/program.py" in words and int(parent) == daemon.process.pid:
                found.append(entry.parent.name)
    return found


def test_there_and_back(box: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("content")
    (source / "link").symlink_to("sub/file")
    os.chmod(source / "sub" / "file", 0o4750)
    box("cp", str(source), "box:/tmp")
    box("cp", f"{source}/.", "box:/tmp/flat")
    assert box("exec", "box", "sh", "-c", "cat /tmp/src/link /tmp/flat/sub/file") == "contentcontent"
    box("cp", "box:/tmp/src", str(tmp_path / "back"))
    back = tmp_path / "back" / "sub" / "file"
    assert back.read_text() == "content" and back.stat().st_mode & 0o7777 == 0o4750
    assert os.readlink(tmp_path / "back" / "link") == "sub/file"
    box("cp", "-L", "box:/tmp/src/link", str(tmp_path / "followed"))
    assert (tmp_path / "followed").read_text() == "content"
    piped = subprocess.run([NETPY, "cp", "box:/tmp/src", "-"], env=box.environment, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(piped.stdout)) as archive:
        assert "src/sub/file" in archive.getnames()
    subprocess.run([NETPY, "cp", "-", "box:/vol"], env=box.environment, input=piped.stdout, check=True)
    assert box("exec", "box", "cat", "/vol/src/sub/file") == "content"


def test_everything_that_is_mounted_is_reached_running_or_not(box: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "bind" / "theirs").write_text("bound")
    box("cp", str(tmp_path / "file"), "box:/mem/")
    assert box("exec", "box", "cat", "/mem/file") == "x", "a tmpfs is the container's own"
    assert "mounted volume is marked read-only" in box.fails("cp", str(tmp_path / "file"), "box:/bind/").stderr
    box("create", "--name", "still", "-v", f"{tmp_path.name}:/vol", "--read-only", "busybox", "true")
    box("cp", str(tmp_path / "file"), "still:/vol/new")
    assert box("exec", "box", "cat", "/vol/new") == "x"
    assert "container rootfs is marked read-only" in box.fails("cp", str(tmp_path / "file"), "still:/tmp/").stderr
    box("stop", "-t", "0", "box")
    box("cp", str(tmp_path / "file"), "box:/etc/added")
    box("cp", "box:/bind/theirs", str(tmp_path / "ours"))
    assert (tmp_path / "ours").read_text() == "bound"
    box("start", "box")
    assert box("exec", "box", "cat", "/etc/added") == "x"


def test_a_volume_is_filled_from_the_image_before_anything_is_put_into_it(netpy: Daemon, tmp_path: Path) -> None:
    netpy(
        "build", "-t", "filled", "-", stdin="FROM busybox\nRUN mkdir /data && echo image > /data/theirs\nVOLUME /data\n"
    )
    (tmp_path / "ours").write_text("x")
    (tmp_path / "device").mkdir()
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}/device")
    netpy("volume", "create", *options, "elsewhere")
    try:
        netpy("create", "--name", "new", "-v", "elsewhere:/else", "filled", "sleep", "1000")
        netpy("cp", str(tmp_path / "ours"), "new:/data/")
        netpy("cp", str(tmp_path / "ours"), "new:/else/")
        assert (tmp_path / "device" / "ours").exists()
        netpy("start", "new")
        assert netpy("exec", "new", "ls", "/data", "/else").split() == ["/data:", "ours", "theirs", "/else:", "ours"]
    finally:
        netpy("rm", "-fv", "new")
        netpy("volume", "rm", "elsewhere")
        netpy("rmi", "filled")


def test_words_and_exit_codes_are_dockers(box: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    for arguments, words in (
        (("box:/nope", "."), "Could not find the file /nope in container box"),
        ((str(tmp_path / "nope"), "box:/"), f"lstat {tmp_path}/nope: no such file or directory"),
        ((str(tmp_path / "dir"), "box:/etc/passwd"), "cannot copy directory"),
        ((str(tmp_path / "file"), "box:/new/"), "no such directory"),
        (("box:/a", "box:/b"), "copying between containers is not supported"),
        (("a", "b"), "must specify at least one container source"),
        (("-", "box:/etc/passwd"), 'destination "box:/etc/passwd" must be a directory'),
        (("nosuch:/a", "."), "No such container: nosuch"),
    ):
        failed = box.fails("cp", *arguments)
        assert words in failed.stderr and failed.returncode == 1


def test_traps_lead_nowhere(box: Daemon) -> None:
    for entries, words in (
        ([("../../up", tarfile.REGTYPE, "x")], b"is outside of"),
        ([("out", tarfile.SYMTYPE, "../../../etc")], b"invalid symlink"),
        ([("out", tarfile.LNKTYPE, "../etc/passwd")], b"invalid hardlink"),
    ):
        answer = put(box, tar(*entries))
        assert b" 400 " in answer and words in answer
    # A link to the root is a link to the container's own root.
    answer = put(box, tar(("way", tarfile.SYMTYPE, "/"), ("way/escaped", tarfile.REGTYPE, "x")))
    assert b" 200 " in answer and not Path("/escaped").exists()
    assert box("exec", "box", "cat", "/escaped") == "x"


def test_a_container_that_swaps_links_gains_nothing(box: Daemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("host")
    climb = "../" * 20
    swap = (
        f"while :; do mkdir -p /race; echo own >/race/file; rm -rf /race; ln -s {climb}{secret} /race; rm /race; done"
    )
    box("exec", "-d", "box", "sh", "-c", swap)
    for _ in range(5):
        done = box.run("cp", "box:/race/file", "-", check=False)
        assert "host" not in done.stdout
        put(box, tar(("file", tarfile.REGTYPE, "theirs")), "/race")
    assert (secret / "file").read_text() == "host" and os.listdir(secret) == ["file"]


def test_clients_that_leave_in_the_middle_leave_nothing(box: Daemon) -> None:
    whole = tar(("one", tarfile.REGTYPE, "1"), ("two", tarfile.REGTYPE, "2" * 100_000))
    put(box, whole[:2000], length=len(whole))
    box("exec", "box", "dd", "if=/dev/zero", "of=/tmp/big", "bs=1M", "count=32")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(box.socket))
        client.sendall(b"GET /containers/box/archive?path=/tmp/big HTTP/1.1\r\nHost: d\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    eventually(lambda: not children(box), "nobody works for those who have left")
    assert b" 400 " in put(box, whole[:3000]) and b" 400 " in put(box, b"no tar at all")
    assert box("exec", "box", "cat", "/tmp/one") == "1"


def test_what_changed_and_what_becomes_of_it(netpy: Daemon, tmp_path: Path) -> None:
    netpy("run", "--name", "idle", "busybox", "true")
    assert netpy("diff", "idle") == ""
    netpy("run", "--name", "busy", "-v", "/data", "busybox", "sh", "-c", "echo x >/etc/new; rm -r /var/www; mkdir /a")
    assert netpy("diff", "busy").splitlines() == ["A /a", "A /data", "C /etc", "A /etc/new", "C /var", "D /var/www"]
    first = netpy(
        "commit", "-a", "me", "-m", "words", "-c", 'CMD ["cat", "/etc/new"]', "-c", "ENV A=b", "busy", "made:1"
    )
    found = json.loads(netpy("image", "inspect", "made:1"))[0]
    assert found["Id"] == first and found["Author"] == "me" and found["Comment"] == "words"
    assert found["Config"]["Cmd"] == ["cat", "/etc/new"] and "A=b" in found["Config"]["Env"]
    assert netpy("run", "--rm", "made:1") == "x"
    assert netpy("run", "--rm", "made:1", "ls", "/var") == ""
    netpy("commit", "idle", "same")
    assert len(json.loads(netpy("image", "inspect", "same"))[0]["RootFS"]["Layers"]) == 1
    assert "foo is not a valid change command" in netpy.fails("commit", "-c", "FOO x", "idle").stderr
    netpy("export", "-o", str(tmp_path / "all.tar"), "busy")
    with tarfile.open(tmp_path / "all.tar") as archive:
        names = archive.getnames()
    assert "etc/new" in names and "data" in names and "var/www" not in names
    netpy("rm", "idle", "busy")
    netpy("rmi", "made:1", "same")


def test_commit_lets_a_container_go_on(box: Daemon) -> None:
    box("commit", "box", "paused")
    assert box("inspect", "-f", "{{.State.Status}}", "box") == "running"
    told = box(
        "events", "--since", "1h", "--until", "0s", "-f", "container=box", "--format", "{{.Action}}"
    ).splitlines()
    assert told[-3:] == ["pause", "commit", "unpause"]
    box("rmi", "paused")
