"""netpy as a user installs it: by pip, from a source tree, into a virtual environment of its own (in a path with spaces)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from .world import Daemon, World

HERE = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The `netpy` of a fresh environment. Dependencies and plugins are those of the tests' own, by way of `site`."""
    source, home = tmp_path / "source", tmp_path / "an environment"
    for name in ("pyproject.toml", "README.md", "scripts/netpy"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, source / name)
    for package in ("engine", "netpy"):
        shutil.copytree(HERE / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = sysconfig.get_path("purelib")
    theirs = next(home.glob("lib/python3*/site-packages"))
    (theirs / "of-the-tests.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        home / "bin" / "python",
        "--disable-pip-version-check",
        "install",
        "-q",
    ]
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"]
    done = subprocess.run([*pip, *flags, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home / "bin" / "netpy"


def test_installed_by_pip(world: World, installed: Path) -> None:
    assert not (installed.parents[1] / "lib").is_symlink()
    daemon = Daemon(world, "installed", program=str(installed))
    daemon.start()
    try:
        daemon.import_busybox()
        assert daemon("run", "--rm", "busybox", "echo", "two  words") == "two  words"
        assert "busybox" in daemon("images")
        # The daemon knows what only entry points of other distributions tell.
        assert "macvlan" in daemon("driver", "ls")
        assert b"an environment" in Path(f"/proc/{(daemon.exec_root / 'pid').read_text()}/cmdline").read_bytes()
        own = [installed.with_name("python"), "-c", "import engine; print(engine.__file__)"]
        where = subprocess.run(own, capture_output=True, text=True, check=True, cwd="/").stdout
        assert Path(where.strip()).is_relative_to(installed.parents[1])
    finally:
        daemon.close()
