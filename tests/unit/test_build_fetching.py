"""What a build takes from the network: repositories, from servers that speak git's protocol and from those that do not."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.build import fetching
from netpy.errors import InvalidArgument

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of a repository that a server of plain files hands out: master, and dev with another file in sub."""
    work, bare = tmp_path / "work", tmp_path / "served" / "r.git"
    (work / "sub").mkdir(parents=True)

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(work), *who, *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "master")
    for branch, text in (("master", "one"), ("dev", "two")):
        (work / "sub" / "file").write_text(text)
        git("checkout", "-q", "-B", branch)
        git("add", "-A")
        git("commit", "-qm", text)
    git("checkout", "-q", "master")
    git("clone", "-q", "--bare", str(work), str(bare))
    git("--git-dir", str(bare), "update-server-info")
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/r.git"
        server.shutdown()


@pytest.mark.parametrize(("fragment", "path", "text"), [("", "sub/file", "one"), ("#dev:sub", "file", "two")])
def test_a_repository_on_a_server_of_plain_files(
    served: str, tmp_path: Path, fragment: str, path: str, text: str
) -> None:
    place = tmp_path / "context"
    place.mkdir()
    assert (fetching.clone(served + fragment, place) / path).read_text() == text


def test_what_is_not_in_the_repository_is_named(served: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nope"):
        fetching.clone(f"{served}#nope", tmp_path / "context")
    with pytest.raises(InvalidArgument, match=r"'\.\./\.\.' is no directory of"):
        fetching.clone(f"{served}#dev:../..", tmp_path / "other")
