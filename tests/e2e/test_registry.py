"""Registries as people use them: a private one in a container, one with TLS and passwords, one that never answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import registries
from tests.e2e.world import HOST_ADDRESS, NETPY, Daemon, World, eventually
from tests.integration import hostile

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not registries.PROGRAM, reason="needs a registry: apt install docker-registry"),
    pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo"),
]
GUARDED = f"{HOST_ADDRESS}:5443"
PRIVATE = "127.0.0.1:5000"


@pytest.fixture(scope="module")
def here(world: World) -> Iterator[Daemon]:
    """A daemon with a configuration of its own, beside which certs.d is looked for."""
    config = world.root / "etc"
    config.mkdir()
    (config / "daemon.json").write_text("{}")
    daemon = Daemon(world, name="reg", flags=("--config-file", str(config / "daemon.json")))
    daemon.environment |= {"DOCKER_CONFIG": str(config), "DOCKER_HOST": f"unix://{daemon.socket}"}
    daemon.start()
    daemon.import_busybox()
    yield daemon
    daemon.close()


@pytest.fixture
def netpy(here: Daemon) -> Iterator[Daemon]:
    yield here
    here.clean()


@pytest.fixture(params=["netpy", "docker"])
def client(request: pytest.FixtureRequest, netpy: Daemon) -> Callable[..., str]:
    """A command line on this daemon: ours, or the real docker."""
    program = NETPY if request.param == "netpy" else shutil.which("docker")
    if not program:
        pytest.skip("docker is not installed")

    def run(*words: str) -> str:
        done = subprocess.run(
            [program, *words], env=netpy.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{netpy.tail()}"
        return done.stdout.rstrip("\n")

    return run


def imported(daemon: Daemon, rootfs: bytes, name: str, *changes: str) -> None:
    flags = [word for change in changes for word in ("-c", change)]
    done = subprocess.run(
        [NETPY, "import", *flags, "-", name], env=daemon.environment, input=rootfs, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_private_registry(
    client: Callable[..., str], netpy: Daemon, world: World, new_daemon: Callable[..., Daemon]
) -> None:
    imported(netpy, registries.rootfs(), "registry:2", *registries.CHANGES)
    client("run", "-d", "-p", "5000:5000", "--restart", "always", "--name", "registry", "registry:2")

    def catalog() -> str:
        return world.at(world.host, "curl", "-sf", f"http://{PRIVATE}/v2/_catalog", check=False).stdout

    eventually(catalog, "the registry answers")
    image = client("image", "inspect", "-f", "{{.Id}}", "busybox")
    client("tag", "busybox", f"{PRIVATE}/hello:lasted")
    pushed = client("push", f"{PRIVATE}/hello:lasted")
    assert pushed.splitlines()[0] == f"The push refers to repository [{PRIVATE}/hello]"
    assert ": Pushed" in pushed
    assert json.loads(catalog()) == {"repositories": ["hello"]}
    client("rmi", f"{PRIVATE}/hello:lasted")
    pulled = client("pull", f"{PRIVATE}/hello:lasted")
    assert f"Status: Downloaded newer image for {PRIVATE}/hello:lasted" in pulled
    assert client("run", "--rm", f"{PRIVATE}/hello:lasted", "echo", "hi") == "hi"
    other = new_daemon("reg-b")
    other("pull", "-q", f"{PRIVATE}/hello:lasted")
    assert other("image", "inspect", "-f", "{{.Id}}", f"{PRIVATE}/hello:lasted") == image
    client("rm", "-f", "-v", "registry")
    client("rmi", f"{PRIVATE}/hello:lasted", "registry:2")


def test_tls_passwords_and_certificates(netpy: Daemon, world: World) -> None:
    directory = world.root / "guarded"
    name = f"{GUARDED}/team/box:1"
    etc = world.root / "etc"
    with registries.guarded(world, GUARDED, directory):
        netpy("tag", "busybox", name)
        unknown = netpy.fails("push", name).stderr
        assert "x509: certificate signed by unknown authority" in unknown
        trusted = etc / "certs.d" / GUARDED
        trusted.mkdir(parents=True)
        shutil.copy(directory / "ca.crt", trusted / "ca.crt")
        assert "tls" in netpy.fails("push", name).stderr  # it asks for our certificate too
        for file in ("client.cert", "client.key"):
            shutil.copy(directory / file, trusted / file)
        assert netpy.fails("push", name).stderr == "unauthorized: authentication required\n"
        wrong = netpy.fails("login", "-u", "alice", "-p", "wrong", GUARDED).stderr
        assert f"login attempt to https://{GUARDED}/v2/ failed with status: 401 Unauthorized" in wrong
        assert netpy("login", "-u", "alice", "--password-stdin", GUARDED, stdin="secret\n") == "Login Succeeded"
        netpy("push", "-q", name)
        netpy("rmi", name)
        assert netpy("run", "--rm", name, "echo", "hi") == "hi"
        (digest,) = netpy.json("image", "inspect", "-f", "{{json .RepoDigests}}", name)
        netpy("rmi", name)
        netpy("pull", "-q", digest)
        netpy("rmi", digest)
        netpy("logout", GUARDED)
        assert "pull access denied" in netpy.fails("pull", name).stderr
        shutil.rmtree(trusted)


def test_registries_are_configured_while_it_runs(netpy: Daemon, world: World) -> None:
    config = world.root / "etc/daemon.json"

    def mirrors() -> list[str]:
        return netpy.json("info", "-f", "{{json .RegistryConfig.Mirrors}}")

    with hostile.registry(world.host):
        config.write_text(json.dumps({"registry-mirrors": [f"http://{hostile.ADDRESS}"]}))
        assert netpy.process
        netpy.process.send_signal(signal.SIGHUP)
        eventually(lambda: mirrors() == [f"http://{hostile.ADDRESS}/"], "the mirror is known")
        assert "Status: Downloaded newer image for x:1" in netpy("pull", "x:1")
        netpy("rmi", "x:1")
        config.write_text('{"registry-mirrors": []}')
        netpy.process.send_signal(signal.SIGHUP)
        eventually(lambda: mirrors() == [], "the mirror is forgotten")


def test_a_client_that_leaves_a_silent_registry(netpy: Daemon, world: World) -> None:
    scratch = Path(netpy.data_root) / "images/tmp"
    with hostile.registry(world.host) as registry:
        registry.rules = {f"GET .*/blobs/{hostile.lab.digest(registry.layer)}": hostile.Handler.stalled}
        command = [NETPY, "pull", f"{hostile.ADDRESS}/x:1"]
        leaver = subprocess.Popen(command, env=netpy.environment, stdout=subprocess.DEVNULL)
        assert registry.stalling.wait(20)
        assert list(scratch.iterdir())
        assert netpy("run", "--rm", "busybox", "echo", "others are served") == "others are served"
        os.kill(leaver.pid, signal.SIGINT)
        assert leaver.wait(20) != 0
        eventually(lambda: not list(scratch.iterdir()), "nothing is left")
        assert netpy.fails("image", "inspect", f"{hostile.ADDRESS}/x:1")
