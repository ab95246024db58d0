"""`netpy build` on a real daemon: a Dockerfile with stages, its cache, what goes wrong, and what is left then."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import NETPY, Daemon, eventually, new_world

pytestmark = pytest.mark.root

DOCKERFILE = """\
ARG BASE=busybox
FROM ${BASE} AS maker
ARG WORD=none
WORKDIR /made
RUN echo "$WORD" > word && ln word hard && ln -s word soft && touch gone
RUN rm gone
COPY --chown=7:8 files/*.txt in/
ADD packed.tgz /packed/

FROM busybox
COPY --from=maker /made /out
COPY --from=0 --chown=nobody:root /packed/one /one
ENV GREETING=hello
RUN <<EOF
echo "$GREETING $(cat /out/word)" > /said
EOF
CMD ["cat", "/said"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    world = new_world()
    daemon = Daemon(world)
    try:
        daemon.start()
        daemon.import_busybox()
        yield daemon
    finally:
        daemon.close()
        world.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    for name in ("a.txt", "b.txt", "c.log"):
        (tmp_path / "files" / name).write_text(name)
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("one")
        entry.size, entry.uid = 3, 5
        archive.addfile(entry, io.BytesIO(b"one"))
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def built(output: str) -> str:
    return re.findall(r"^Successfully built (\w+)$", output, re.MULTILINE)[-1]


def test_stages_cache_and_what_they_leave(daemon: Daemon, context: Path) -> None:
    before = set(daemon("images", "-aq").split())
    first = daemon("build", "-t", "made:1", "--build-arg", "WORD=world", "--build-arg", "LOST=1", str(context))
    assert "Step 14/14 : CMD" in first
    assert "[Warning] One or more build-args [LOST] were not consumed" in first
    assert first.endswith("Successfully tagged made:1")
    assert daemon("run", "--rm", "made:1") == "hello world"
    look = "cd /out; stat -c '%n %u:%g %h' * in/*; readlink soft; stat -c %u:%g /one"
    assert daemon("run", "--rm", "made:1", "sh", "-c", look).split("\n") == [
        *("hard 0:0 2", "in 0:0 2", "soft 0:0 1", "word 0:0 2", "in/a.txt 0:0 1", "in/b.txt 0:0 1", "word", "65534:0")
    ]

    # Nothing is done twice, though every file is newer now; but other content is another build from there on.
    for path in context.rglob("*"):
        os.utime(path)
    again = daemon("build", "--build-arg", "WORD=world", str(context))
    assert "Running in" not in again and built(again) == built(first)
    (context / "files" / "a.txt").write_text("changed")
    changed = daemon("build", "--build-arg", "WORD=world", str(context))
    assert changed.count("Using cache") == 4 and built(changed) != built(first)

    # Intermediate images are hidden, and go with the last image that they led to; each stage's last is one of these.
    shown = daemon("images", "-q").split()
    assert {built(changed), built(first)} < set(shown) and len(shown) < len(daemon("images", "-aq").split())
    assert "has dependent child images" in daemon.fails("rmi", daemon("images", "-q", "busybox")).stderr
    daemon("rmi", built(changed), "made:1")
    daemon("image", "prune", "-f")
    assert set(daemon("images", "-aq").split()) <= before
    assert daemon("ps", "-aq") == ""


def test_target_and_names(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    file = tmp_path / "id"
    out = daemon("build", "-q", "--target", "maker", "--iidfile", str(file), "-t", "t:a", "-t", "t:b", str(context))
    assert out == file.read_text() == daemon("inspect", "-f", "{{.Id}}", "t:b")
    assert daemon("run", "--rm", "t:a", "cat", "/made/word") == "none"
    assert daemon("run", "--rm", "t:a", "stat", "-c", "%u:%g", "/made/in/a.txt", "/packed/one") == "7:8\n5:0"
    history = daemon("history", "--no-trunc", "--format", "{{.CreatedBy}}", "t:a").split("\n")
    assert history[2] == "|1 WORD=none /bin/sh -c rm gone"
    assert history[4] == "/bin/sh -c #(nop) WORKDIR /made"
    assert history[5] == "/bin/sh -c #(nop)  ARG WORD=none"


def test_what_is_ignored_stays_out(daemon: Daemon, context: Path) -> None:
    (context / ".dockerignore").write_text("files\n!files/c.log\nDockerfile\n*.tgz\n")
    (context / "Dockerfile").write_text("FROM busybox\nCOPY . /c\nRUN find /c -type f | sort\n")
    assert "/c/.dockerignore\n/c/files/c.log\nRemoving" in daemon("build", str(context))
    refused = daemon.run("build", "-f", "-", str(context), stdin="", check=False)
    assert "cannot be empty" in refused.stderr
    failed = daemon.run("build", "-f", "-", str(context), stdin="FROM busybox\nCOPY files/a.txt /\n", check=False)
    assert "COPY failed: file not found in build context or excluded by .dockerignore: stat files/a" in failed.stderr


def test_failures_say_why_and_leave_the_daemon_well(daemon: Daemon, tmp_path: Path) -> None:
    def fails(text: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return daemon.run("build", *flags, "-", stdin=text, check=False)

    failed = fails("FROM busybox\nRUN echo lost >&2; exit 7\n", "--force-rm")
    assert failed.returncode == 7
    assert failed.stderr.strip() == "The command '/bin/sh -c echo lost >&2; exit 7' returned a non-zero code: 7"
    assert "lost" in failed.stdout and daemon("ps", "-aq") == ""
    wrong = fails("FROM busybox\n\nFOO bar\n")
    told = "Error response from daemon: dockerfile parse error line 3: unknown instruction: FOO"
    assert (wrong.returncode, wrong.stderr.strip()) == (1, told)
    assert 'unable to prepare context: path "/nowhere" not found' in daemon.fails("build", "/nowhere").stderr
    assert "unable to evaluate symlinks in Dockerfile path" in daemon.fails("build", "-f", "/no", str(tmp_path)).stderr
    assert "can't find uid for user who" in fails("FROM busybox\nCOPY --chown=who <<a /\nx\na\n").stderr
    assert daemon("version")


def evil(name: str, kind: bytes, link: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        content = b"FROM busybox\nCOPY . /c\nRUN ls -lR /c; cat /c/* 2>/dev/null; true\n"
        for entry in (tarfile.TarInfo("Dockerfile"), tarfile.TarInfo(name)):
            if entry.name == "Dockerfile":
                entry.size = len(content)
            else:
                entry.type, entry.linkname = kind, link
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../../escaped", tarfile.REGTYPE, ""),
        ("/escaped", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "/etc/shadow"),
        ("hard", tarfile.LNKTYPE, "../../../../etc/shadow"),
        ("hard", tarfile.LNKTYPE, "/etc/shadow"),
        ("device", tarfile.BLKTYPE, ""),
    ],
)
def test_a_context_cannot_reach_out(daemon: Daemon, name: str, kind: bytes, link: str) -> None:
    done = subprocess.run(
        [NETPY, "build", "-"],
        env=daemon.environment,
        input=evil(name, kind, link),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert b"root:" not in done.stdout
    assert not Path("/escaped").exists() and not list((daemon.data_root / "images").glob("*/escaped"))
    assert daemon("version")


def test_a_client_that_vanishes_ends_its_build(daemon: Daemon) -> None:
    before = daemon("images", "-aq").split()
    process = subprocess.Popen(
        [NETPY, "build", "-"], env=daemon.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    process.stdin.write("FROM busybox\nRUN echo begun; sleep 1000\n")
    process.stdin.close()
    for line in process.stdout:
        if line.strip() == "begun":
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    eventually(lambda: daemon("ps", "-aq") == "", "the container of the build has gone")
    assert daemon("images", "-aq").split() == before
    tmp = daemon.data_root / "images" / "tmp"
    eventually(lambda: not list(tmp.glob("scratch-*")), "the context has gone")


def test_an_image_can_ask_for_more(daemon: Daemon) -> None:
    daemon("build", "-t", "base:on", "-", stdin="FROM busybox\nONBUILD RUN echo triggered > /t\nONBUILD ENV x=y\n")
    out = daemon("build", "-t", "on:1", "-", stdin="FROM base:on\nRUN cat /t; echo $x\n")
    assert "# Executing 2 build triggers" in out and "triggered\ny\n" in out
    assert json.loads(daemon("inspect", "on:1"))[0]["Config"]["OnBuild"] is None


def test_squashing_makes_one_layer(daemon: Daemon) -> None:
    text = "FROM busybox\nRUN echo 1 > /a\nRUN rm /a; echo 2 > /b; rm -r /var\nRUN mkdir /var; echo 3 > /var/new\n"
    daemon("build", "--squash", "-t", "sq:1", "-", stdin=text)
    assert len(json.loads(daemon("inspect", "sq:1"))[0]["RootFS"]["Layers"]) == 2
    assert daemon("run", "--rm", "sq:1", "sh", "-c", "ls /a 2>/dev/null; ls /var; cat /b") == "new\n2"


def test_what_builds_keep_is_pruned_with_an_event(daemon: Daemon) -> None:
    begin = time.time()
    daemon("builder", "prune", "-f")
    told = daemon("events", "--since", str(begin), "--until", str(time.time()), "--filter", "type=builder")
    assert "builder prune" in told and "reclaimed=0" in told
