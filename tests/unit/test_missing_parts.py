"""What this machine lacks, or who may not use it: the message says what to install or to do, and nothing is half made."""

from __future__ import annotations

import errno
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import daemon, runtimes
from engine.images import unpacking
from engine.runtime import cgroups, probe, rootfs
from engine.runtime.cgroups import Hierarchy
from engine.runtimes import Runtimes
from engine.settings import Settings
from netpy.errors import InvalidArgument, KernelError, Unsupported
from netpy.kernel.nft import library
from netpy.kernel.xt import client
from tests.unit.container_lab import Lab


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which nothing is to be found."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


# ---- root ------------------------------------------------------------------------------------------------------------


def test_a_daemon_without_root_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.os, "geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match=r"^the netpy daemon needs root: start it with sudo$"):
        daemon.Daemon(Settings(data_root=tmp_path / "data", exec_root=tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


# ---- programs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "requested", "message"),
    [
        ((), "", "conmon is not installed: install the package conmon"),
        (("runc", "crun"), "", "conmon is not installed: install the package conmon"),
        (
            ("conmon",),
            "",
            "no OCI runtime: crun is not installed: install the package crun; "
            "runc is not installed: install the package runc",
        ),
        (("conmon", "runc"), "crun", "no OCI runtime: crun is not installed: install the package crun"),
        (("conmon",), "/opt/x/kata", "no OCI runtime: /opt/x/kata is not installed: install the package kata"),
    ],
)
def test_runtimes_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], requested: str, message: str
) -> None:
    monkeypatch.setattr(probe, "_program", lambda name: f"/usr/bin/{name}" if name in installed else None)
    with pytest.raises(Unsupported) as caught:
        probe.probe(Path("/nowhere"), requested)
    assert str(caught.value) == message


def test_a_runtime_that_does_not_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_program", lambda name: None if name == "runc" else f"/usr/bin/{name}")
    monkeypatch.setattr(probe, "complaint", lambda binary, folder: f"{binary} says no")
    with pytest.raises(Unsupported, match=r"crun does not work on this host: /usr/bin/crun says no; runc is not inst"):
        probe.probe(Path("/nowhere"))


def test_a_runtime_that_old_containers_had_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_programs: None
) -> None:
    choice = probe.Choice(name="crun", binary="/usr/bin/crun", conmon="/usr/bin/conmon")
    monkeypatch.setattr(runtimes, "probe", lambda folder, requested: choice)
    found = Runtimes(tmp_path)
    try:
        assert found.find("crun").binary == "/usr/bin/crun"
        with pytest.raises(Unsupported, match=r"^runc is not installed: install the package runc$"):
            found.find("runc")
        with pytest.raises(InvalidArgument, match=r"^unknown or invalid runtime name: kata$"):
            found.find("kata")
    finally:
        found.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def test_top_without_ps(lab: Lab, no_programs: None) -> None:
    lab.run("web")
    with pytest.raises(Unsupported, match=r"^the program ps is missing: install the package procps$"):
        lab.containers.top("web", "")


def test_layers_without_zstd(no_programs: None) -> None:
    with pytest.raises(Unsupported, match=r"^a layer is compressed with zstd: install the package zstd$"):
        unpacking._zstd(subprocess.DEVNULL)  # pyright: ignore[reportPrivateUsage]


# ---- libraries and the kernel ----------------------------------------------------------------------------------------


@pytest.fixture
def no_libnftables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_SONAME", "libnftables-that-is-not-there.so.1")
    monkeypatch.setattr(library, "_load", library._load.__wrapped__)  # pyright: ignore[reportPrivateUsage]


def test_nftables_asked_for_without_its_library(no_libnftables: None) -> None:
    assert not library.installed()
    for use in (library.probe, library.Context):
        with pytest.raises(Unsupported, match=r"cannot be loaded: install the package libnftables1 \("):
            use()


class OldKernel:
    """Stands for libnftables on a kernel whose nf_tables cannot do NAT."""

    def __enter__(self) -> OldKernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, commands: list[str], *, check: bool) -> None:
        assert check, "probing changes nothing"
        raise library.Refused("add chain inet netpy-probe c: Operation not supported")


def test_a_kernel_without_nf_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "Context", OldKernel)
    with pytest.raises(Unsupported, match=r"the kernel's nf_tables is missing or incomplete: .* not supported$"):
        library.probe()


def test_iptables_without_its_library() -> None:
    """The worker process tells that libxtables or the kernel's tables cannot be used."""
    process = client._Process(0)  # pyright: ignore[reportPrivateUsage]
    for kind, error, match in (
        ("missing", Unsupported, r"install the package iptables, or choose the nftables backend \(no libxtables\)$"),
        ("refused", KernelError, r"^iptables refused: no libxtables$"),
    ):
        process._stream = io.BytesIO(b'{"kind": "%s", "error": "no libxtables"}\n' % kind.encode())
        with pytest.raises(error, match=match):
            process._answer()


def test_a_kernel_without_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(number: int, *arguments: object) -> int:
        del number, arguments
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(rootfs, "_call", missing)
    with pytest.raises(Unsupported, match=r"^this kernel has no overlay file system: load the module overlay$"):
        rootfs.mount([tmp_path], tmp_path / "upper", tmp_path / "work", tmp_path / "target")
    assert not (tmp_path / "target").is_mount()


def test_a_machine_without_control_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchy_of", lambda mountinfo, offered: Hierarchy(version="v2"))
    with pytest.raises(Unsupported, match=r"^no control groups are mounted on this host: mount cgroup2 on /sys/fs/cg"):
        cgroups.detect()
