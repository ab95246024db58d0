"""The engine as the `docker` package from PyPI sees it: what its own integration suite asks most, in a few stories.

`scripts/compat` runs that suite itself.
"""

from __future__ import annotations

import gc
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator

import docker
import docker.errors
import pytest
from docker.types import EndpointConfig, Mount
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection
from wsproto.events import Request as WSRequest

from tests.e2e.world import Daemon, World

pytestmark = [pytest.mark.root, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]


@pytest.fixture(scope="module")
def daemon(world: World) -> Iterator[Daemon]:
    made = Daemon(world, name="py")
    made.start()
    made.import_busybox()
    yield made
    made.close()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=f"unix://{daemon.socket}", version="auto", timeout=60)
    yield made
    for container in made.containers.list(all=True):
        container.remove(force=True, v=True)
    made.close()
    gc.collect()  # docker-py leaves sockets to the collector, whose warnings are errors to other tests


@pytest.fixture
def resident(client: docker.DockerClient):
    return client.containers.run("busybox", "sleep 1000", detach=True, name="resident", labels={"a": "b"})


def test_the_daemon_introduces_itself(client: docker.DockerClient) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"] == client.api._version
    info = client.info()
    assert info["Swarm"]["LocalNodeState"] == "inactive" and info["ServerVersion"]
    assert client.plugins.list() == []
    with pytest.raises(docker.errors.APIError, match="not a swarm manager"):
        client.services.list()


@pytest.mark.parametrize("version", ["1.24", "1.35", "1.41", "1.44", "1.47"])
def test_every_version_lists_and_inspects(daemon: Daemon, resident, version: str) -> None:
    api = docker.APIClient(base_url=f"unix://{daemon.socket}", version=version)
    assert api.inspect_container("resident")["State"]["Running"]
    assert api.containers(filters={"label": ["a=b"]})[0]["Names"] == ["/resident"]
    assert ("VirtualSize" in api.images()[0]) == (version < "1.44")
    api.close()


def test_running_to_the_end(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run("busybox", "sh -c 'echo wrong >&2; exit 3'")
    assert (caught.value.exit_status, caught.value.stderr) == (3, b"wrong\n")
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        client.containers.run("busybox", "nosuch")
    lines = client.containers.run("busybox", "sh -c 'echo 1; sleep 0.2; echo 2'", stream=True)
    assert list(lines) == [b"1\n", b"2\n"]


def test_a_life(client: docker.DockerClient, resident) -> None:
    resident.pause()
    resident.reload()
    assert resident.status == "paused"
    resident.unpause()
    resident.rename("renamed")
    assert client.containers.get("renamed").id == resident.id
    assert any("sleep 1000" in " ".join(row) for row in resident.top()["Processes"])
    assert resident.stats(stream=False)["memory_stats"]["usage"] > 0
    resident.restart(timeout=0)
    resident.kill()
    resident.reload()
    assert (resident.status, resident.attrs["State"]["ExitCode"]) == ("exited", 137)
    assert resident.wait() == {"Error": None, "StatusCode": 137}
    resident.remove()
    with pytest.raises(docker.errors.NotFound):
        resident.reload()


def test_execs(client: docker.DockerClient, resident) -> None:
    assert resident.exec_run("sh -c 'echo out; echo err >&2; exit 4'", demux=True) == (4, (b"out\n", b"err\n"))
    assert resident.exec_run("env", environment={"X": "Y"}).output.count(b"X=Y\n") == 1
    assert resident.exec_run("sh -c 'echo out'", tty=True).output == b"out\r\n"
    assert list(resident.exec_run("sh -c 'echo 1; echo 2'", stream=True).output)
    code, said = resident.exec_run("nosuch")
    assert code == 127 and b"executable file not found" in said
    made = client.api.exec_create(resident.id, "cat", stdin=True)
    sock = client.api.exec_start(made, socket=True)._sock
    sock.sendall(b"to and fro")
    sock.shutdown(1)
    assert sock.recv(100) == b"\x01\0\0\0\0\0\0\x0ato and fro"
    sock.close()
    made = client.api.exec_create(resident.id, "cat", stdin=True, tty=True, detach_keys="ctrl-x")
    sock = client.api.exec_start(made, socket=True, tty=True)._sock
    sock.sendall(b"\x18")
    sock.settimeout(20)
    assert sock.recv(100) == b""  # detached: the stream ends, the process does not
    sock.close()
    assert client.api.exec_inspect(made)["Running"]


def test_attach(client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", "sh -c 'read line; echo got $line'", stdin_open=True)
    sock = made.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})._sock
    made.start()
    sock.sendall(b"it\n")
    assert sock.recv(100) == b"\x01\0\0\0\0\0\0\x07got it\n"
    sock.close()
    assert made.wait()["StatusCode"] == 0
    assert made.logs() == b"got it\n"
    assert made.logs(tail=0) == b""


def test_attach_over_a_web_socket(daemon: Daemon, client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", "sh -c 'read line; echo got $line'", stdin_open=True)
    query = f"/containers/{made.id}/attach/ws?stdin=1&stdout=1&stream=1"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        page = WSConnection(ConnectionType.CLIENT)
        sock.sendall(page.send(WSRequest(host="localhost", target=query)))
        said: list[bytes] = []
        events: list[object] = []
        while not any(isinstance(event, CloseConnection) for event in events):
            data = sock.recv(4096)
            page.receive_data(data or None)
            events = list(page.events())
            if any(isinstance(event, AcceptConnection) for event in events):
                made.start()
                sock.sendall(page.send(BytesMessage(data=b"it\n")))
            said += [bytes(event.data) for event in events if isinstance(event, BytesMessage)]
    assert b"".join(said) == b"got it\n"
    with pytest.raises(docker.errors.APIError, match="handshake is wanted"):
        client.api._raise_for_status(client.api._get(client.api._url("/containers/{0}/attach/ws", made.id)))


def test_networks(client: docker.DockerClient) -> None:
    pool = docker.types.IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")
    network = client.networks.create("py", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"x": "y"})
    settings = EndpointConfig(client.api._version, aliases=["alias"], ipv4_address="10.77.0.7")
    one = client.containers.run(
        "busybox", "sleep 1000", detach=True, network="py", networking_config={"py": settings}, name="one"
    )
    assert client.containers.run("busybox", "nslookup alias 127.0.0.11", network="py").count(b"10.77.0.7") == 1
    network.reload()
    assert [c.name for c in network.containers] == ["one"]
    network.disconnect(one)
    network.connect(one, ipv4_address="10.77.0.8")
    one.reload()
    assert one.attrs["NetworkSettings"]["Networks"]["py"]["IPAddress"] == "10.77.0.8"
    assert [n.name for n in client.networks.list(filters={"label": "x=y"})] == ["py"]
    one.remove(force=True)
    network.remove()
    with pytest.raises(docker.errors.NotFound):
        client.networks.get("py")


def test_volumes_and_files(client: docker.DockerClient, resident) -> None:
    volume = client.volumes.create("pyv", labels={"x": "y"})
    mount = Mount("/v", "pyv")
    client.containers.run("busybox", "sh -c 'echo kept > /v/f'", mounts=[mount], remove=True)
    assert client.containers.run("busybox", "cat /v/f", volumes={"pyv": {"bind": "/v", "mode": "ro"}}) == b"kept\n"
    for container in client.containers.list(all=True, filters={"status": "exited"}):
        container.remove()
    volume.remove()
    assert client.volumes.prune()["VolumesDeleted"] in (None, [])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("sent")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    assert resident.put_archive("/tmp", out.getvalue())
    pieces, stat = resident.get_archive("/tmp/sent")
    assert stat["size"] == 5
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("sent").read() == b"hello"  # type: ignore[union-attr]
    assert {"Path": "/tmp/sent", "Kind": 1} in resident.diff()


def test_images(client: docker.DockerClient, resident) -> None:
    image = client.images.get("busybox")
    assert image.tag("py", "1")
    image.reload()
    assert "py:1" in image.tags
    packed = b"".join(image.save(named="py:1"))
    client.images.remove("py:1")
    (loaded,) = client.images.load(packed)
    assert loaded.id == image.id and "py:1" in loaded.tags
    client.images.remove("py:1")
    with pytest.raises(docker.errors.ImageLoadError):
        client.images.load(b"abc")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("nosuch")
    made = resident.commit("py-committed", "2", changes="CMD echo committed")
    assert client.containers.run(made, remove=True) == b"committed\n"
    client.images.remove("py-committed:2")


def test_events(client: docker.DockerClient) -> None:
    stream = client.events(decode=True, filters={"type": "container", "label": "told"})
    seen: list[str] = []
    ended = threading.Event()

    def listen() -> None:
        for event in stream:
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                break
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    client.containers.run("busybox", "true", labels=["told"], remove=True)
    assert ended.wait(30)
    stream.close()
    assert [action for action in seen if action != "attach"] == ["create", "start", "die", "destroy"]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: c.containers.get("nosuch"), docker.errors.NotFound, "No such container: nosuch"),
        (lambda c: c.containers.list(filters={"foo": "x"}), docker.errors.APIError, "invalid filter 'foo'"),
        (lambda c: c.containers.create("busybox", "true", name="@"), docker.errors.APIError, "Invalid container name"),
        (lambda c: c.networks.create("bridge"), docker.errors.APIError, "not permitted on predefined"),
        (lambda c: c.volumes.get("nosuch"), docker.errors.NotFound, "no such volume"),
    ],
)
def test_errors(client: docker.DockerClient, call: Callable[[docker.DockerClient], object], error, words: str) -> None:
    with pytest.raises(error, match=words):
        call(client)
