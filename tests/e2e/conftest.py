"""One world and one daemon per module; the daemon is emptied between tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.world import Daemon, World, new_world


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    made = new_world()
    yield made
    made.close()
    shutil.rmtree(made.root, ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Everything runs on both backends, except modules that say in BACKENDS which are enough for them."""
    if "backend" in metafunc.fixturenames:
        wanted = getattr(metafunc.module, "BACKENDS", ("nftables", "iptables"))
        metafunc.parametrize("backend", wanted, indirect=True, scope="session")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def running(world: World, backend: str) -> Iterator[Daemon]:
    daemon = Daemon(world, name=f"d-{backend[:3]}", flags=("--firewall-backend", backend))
    daemon.start()
    daemon.import_busybox()
    yield daemon
    daemon.close()


@pytest.fixture
def netpy(running: Daemon) -> Iterator[Daemon]:
    """The `netpy` command against a running daemon; what a test makes is removed after it."""
    yield running
    running.clean()


@pytest.fixture
def new_daemon(world: World) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons of a test's own, with the flags given."""
    started: list[Daemon] = []

    def start(name: str, *flags: str, within: tuple[str, ...] = ()) -> Daemon:
        daemon = Daemon(world, name=name, flags=flags, within=within)
        started.append(daemon)
        daemon.start()
        daemon.import_busybox()
        return daemon

    yield start
    for daemon in started:
        daemon.close()
