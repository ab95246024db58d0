"""The launcher, `scripts/netpy`: which Python it starts, and where that finds the packages. Pythons are stood in for by
scripts that say how they were called, where the choice is what matters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCHER = (ROOT / "scripts" / "netpy").read_text()
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def pretender(path: Path) -> Path:
    """A Python that prints its own path and its arguments, a line each."""
    return program(path, f"#!/bin/sh\nprintf '%s\\n' '{path}' \"$@\"\n")


def interpreter(tree: Path) -> Path:
    """A real Python in a tree of its own, as a virtual environment has it; returns its site-packages."""
    real = Path(sys.executable).resolve()
    (tree / "bin").mkdir(parents=True)
    for name in ("python3", VERSION):
        (tree / "bin" / name).symlink_to(real)
    (tree / "pyvenv.cfg").write_text(f"home = {real.parent}\n")
    packages = tree / "lib" / VERSION / "site-packages"
    packages.mkdir(parents=True)
    return packages


def said(*command: str | Path, path: str = "", **variables: str) -> list[str]:
    environment = {"PATH": f"{path}:/usr/bin:/bin", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd="/")
    return done.stdout.splitlines()


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    return program(tmp_path / "a tree" / "bin" / "netpy", LAUNCHER)


def test_the_python_beside_it_is_started(launcher: Path, tmp_path: Path) -> None:
    beside = pretender(launcher.with_name("python3"))
    pretender(tmp_path / "python3")
    told = [str(beside), "-IS", str(launcher), "run", "two words", ""]
    assert said(launcher, *told[3:], path=str(tmp_path)) == told


def test_a_link_leads_to_the_tree_it_points_into(launcher: Path, tmp_path: Path) -> None:
    beside = pretender(launcher.with_name("python3"))
    pretender(tmp_path / "bin" / "python3")
    link = tmp_path / "bin" / "netpy"
    link.symlink_to(launcher)
    assert said(link) == [str(beside), "-IS", str(launcher)]
    assert said("netpy", path=str(link.parent)) == [str(beside), "-IS", str(launcher)]


def test_given_to_a_shell_by_its_name(launcher: Path) -> None:
    beside = pretender(launcher.with_name("python3"))
    command = 'cd "$1" && sh netpy ps'
    assert said("sh", "-c", command, "sh", launcher.parent) == [str(beside), "-IS", "./netpy", "ps"]


@pytest.mark.parametrize("kind", ["site-packages", "dist-packages"])
def test_the_python_it_was_installed_for(launcher: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "path"
    pythons = [pretender(path / name) for name in ("python3", "python3.97", "python3.98", "python3.99")]
    other = pretender(launcher.with_name("python3"))
    lib = launcher.parents[1] / "lib"
    for version, package in (("python3.97", "other"), ("python3.98", "engine"), ("python3.99", "other")):
        (lib / version / kind / package).mkdir(parents=True)
    assert said(launcher, path=str(path))[0] == str(pythons[2])
    beside = pretender(launcher.with_name("python3.98"))
    assert said(launcher, path=str(path))[0] == str(beside)
    shutil.rmtree(lib)
    assert said(launcher, path=str(path))[0] == str(other)
    other.unlink()
    assert said(launcher, path=str(path))[0] == str(pythons[0])


def test_packages_beside_it(tmp_path: Path) -> None:
    packages = interpreter(tmp_path / "a tree")
    (packages / "engine").symlink_to(ROOT / "engine")
    started = program(tmp_path / "a tree" / "bin" / "netpy", LAUNCHER)
    assert "Usage:  netpy" in "\n".join(said(started, "--help"))


def test_packages_of_an_editable_install(tmp_path: Path) -> None:
    packages = interpreter(tmp_path)
    (packages / "__editable__.netpy-9.9.pth").write_text(f"{ROOT}\n")
    assert "Usage:  netpy" in "\n".join(said(program(tmp_path / "bin" / "netpy", LAUNCHER), "--help"))


def test_packages_that_only_site_finds(tmp_path: Path) -> None:
    packages = interpreter(tmp_path)
    (packages / "__editable__.netpy-9.9.pth").write_text("import what_setuptools_writes_by_default\n")
    started = program(tmp_path / "bin" / "netpy", LAUNCHER)
    (packages / "__editable__.netpy-9.9.pth").write_text(f"import sys; sys.path.append({str(ROOT)!r})\n")
    assert "Usage:  netpy" in "\n".join(said(started, "--help"))
    (packages / "__editable__.netpy-9.9.pth").unlink()
    assert "Usage:  netpy" in "\n".join(said(started, "--help", PYTHONPATH=str(ROOT)))


def test_the_caller_s_variables_and_directories_are_not_heard(tmp_path: Path) -> None:
    packages = interpreter(tmp_path)
    (packages / "engine").symlink_to(ROOT / "engine")
    started = program(tmp_path / "bin" / "netpy", LAUNCHER)
    program(tmp_path / "trap" / "engine" / "__init__.py", "raise SystemExit('trapped')")
    program(tmp_path / "bin" / "time.py", "raise SystemExit('trapped')")
    program(packages / "os.py", "raise SystemExit('trapped')")
    assert "Usage:  netpy" in "\n".join(said(started, "--help", PYTHONPATH=str(tmp_path / "trap")))


def test_what_needs_all_packages_starts_anew_with_site(tmp_path: Path) -> None:
    """The daemon finds drivers by what distributions declare, in whatever directories site adds."""
    packages = interpreter(tmp_path)
    (packages / "engine").symlink_to(ROOT / "engine")
    (packages / "all.pth").write_text(f"import sys; sys.path += {sys.path!r}\n")
    started = program(tmp_path / "bin" / "netpy", LAUNCHER)
    assert "usage: netpy daemon" in said(started, "daemon", "--help")[0]
