"""A daemon without a kernel, for tests of the API: it keeps values and obeys the signatures of `engine.api.backend`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from engine import lifecycle, listening
from engine.api import serve
from engine.events import Events
from engine.model import Attachment, Container, Json, State
from engine.settings import Settings
from engine.streams import STDERR, STDOUT, Frame, Session
from netpy.diff import Create, Plan
from netpy.errors import Conflict, Forbidden, NotFound
from netpy.model import Endpoint, EndpointSpec, Network, NetworkSpec, PortBinding, Sandbox, Subnet
from netpy.objects import Bridge

CREATED = "2024-03-18T09:43:33.052883345Z"
IMAGE = "sha256:" + "ab" * 32
Frames = tuple[Frame, ...]
Filters = Mapping[str, Sequence[str]]


class EchoSession:
    """Says `ready`, repeats its input line by line on stdout, and says `bye` on stderr at the end of it."""

    def __init__(self, tty: bool = False, ends_at_once: bool = False) -> None:
        self.tty = tty
        self.closed = threading.Event()
        self.input_closed = threading.Event()
        self._out: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._out.put(Frame(STDOUT, b"ready\n"))
        if ends_at_once:
            self._out.put(None)

    def read(self) -> Frame | None:
        return self._out.get()

    def write(self, data: bytes) -> None:
        self._out.put(Frame(STDOUT, data))

    def close_input(self) -> None:
        self.input_closed.set()
        self._out.put(Frame(STDERR, b"bye\n"))
        self._out.put(None)

    def finish(self) -> None:
        self._out.put(None)

    def close(self) -> None:
        self.closed.set()
        self._out.put(None)


class Log(Iterator[Frame]):
    """A log that, when followed, ends only by `close`, which any thread may call."""

    def __init__(self, frames: Frames, follow: bool) -> None:
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        for frame in frames:
            self._frames.put(frame)
        self.closed = threading.Event()
        if not follow:
            self._frames.put(None)

    def __next__(self) -> Frame:
        frame = self._frames.get()
        if frame is None:
            raise StopIteration
        return frame

    def close(self) -> None:
        self.closed.set()
        self._frames.put(None)


class Waiter:
    """A promise of an exit code. `closed` tells that nobody waits for it any more."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._result = (0, "")
        self.closed = threading.Event()

    def result(self, timeout: float | None = None) -> tuple[int, str]:
        assert self._done.wait(timeout)
        return self._result

    def settle(self, result: tuple[int, str]) -> None:
        self._result = result
        self._done.set()

    def close(self) -> None:
        self.closed.set()


class FakeContainers:
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._known: dict[str, Container] = {}
        self.waiters: list[Waiter] = []
        self.volumes = FakeVolumes()
        self.calls: list[tuple[Any, ...]] = []
        self.session = EchoSession()
        self.ends_at_once = False
        self.log = Log((), follow=False)
        self.frames: Frames = (Frame(STDOUT, b"out\n"), Frame(STDERR, b"err\n"))

    def create(self, *, name: str, config: Json, host_config: Json, networks: Json) -> tuple[str, list[str]]:
        self._daemon.images.resolve(str(config.get("Image")))
        if any(c.name == name for c in self._known.values()):
            raise Conflict(f'Conflict. The container name "/{name}" is already in use')
        id = f"{len(self._known) + 1:064x}"
        names = {("bridge" if n == "default" else n): s for n, s in networks.items()} or {"bridge": {}}
        attachments = tuple(
            Attachment(network=n, spec=EndpointSpec(name=name, names=(name, id[:12])), settings=s or {})
            for n, s in names.items()
        )
        words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
        self._known[id] = Container(
            id=id,
            name=name or f"c{id[-1]}",
            created=f"2024-03-18T09:43:{len(self._known):02d}.000000000Z",
            image=config["Image"],
            image_id=IMAGE,
            config={"Labels": {}, **config},
            host_config=host_config,
            path=words[0] if words else "sh",
            args=tuple(words[1:]),
            attachments=attachments,
        )
        self._daemon.events.publish("container", "create", id, {"name": name})
        return id, []

    def plan(self, *, name: str, config: Json, host_config: Json, networks: Json) -> str:
        return f"plan of {name} in {','.join(networks)}"

    def get(self, ref: str) -> Container:
        found = [c for c in self._known.values() if ref in (c.id, c.name) or (len(ref) > 3 and c.id.startswith(ref))]
        if not found:
            raise NotFound(f"No such container: {ref}")
        return found[0]

    def all(self) -> list[Container]:
        return list(reversed(self._known.values()))

    def endpoints(self, container: Container) -> list[Endpoint]:
        if not container.state.running:
            return []
        return [self._daemon.controller.endpoint(container, a, i) for i, a in enumerate(container.attachments)]

    def start(self, ref: str) -> None:
        container = self.get(ref)
        state = State(status="running", pid=42, started_at=CREATED)
        self._known[container.id] = replace(container, state=state)

    def stop(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        self.calls.append(("stop", ref, timeout, signal))
        self.exit(ref, 0)

    def exit(self, ref: str, code: int) -> None:
        container = self.get(ref)
        state = State(status="exited", exit_code=code, started_at=CREATED, finished_at=CREATED)
        self._known[container.id] = replace(container, state=state)
        for waiter in self.waiters:
            waiter.settle((code, ""))

    def restart(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        self.calls.append(("restart", ref, timeout, signal))

    def kill(self, ref: str, signal: str = "KILL") -> None:
        lifecycle.step(self.get(ref).state.status, "kill", ref)
        self.calls.append(("kill", ref, signal))
        self.exit(ref, 137)

    def pause(self, ref: str) -> None:
        raise RuntimeError("the fake has a bug")

    def unpause(self, ref: str) -> None:
        raise ExceptionGroup("two", [Conflict("one thing"), NotFound("another")])

    def rename(self, ref: str, new: str) -> None:
        container = self.get(ref)
        self._known[container.id] = replace(container, name=new)

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        container = self.get(ref)
        if not force:
            lifecycle.step(container.state.status, "remove", container.id)
        del self._known[container.id]
        for waiter in self.waiters:
            waiter.settle((0, ""))

    def wait(self, ref: str, condition: str) -> Waiter:
        container = self.get(ref)
        waiter = Waiter()
        self.waiters.append(waiter)
        if condition == "not-running" and not container.state.running:
            waiter.settle((container.state.exit_code, ""))
        return waiter

    def attach(self, ref: str, **wanted: bool) -> Session:
        self.calls.append(("attach", ref, wanted))
        self.session = EchoSession(tty=bool(self.get(ref).config.get("Tty")))
        return self.session

    def resize(self, ref: str, rows: int, cols: int) -> None:
        self.calls.append(("resize", ref, rows, cols))

    def logs(self, ref: str, **wanted: Any) -> Iterator[Frame]:
        self.get(ref)
        self.calls.append(("logs", ref, wanted))
        self.log = Log(self.frames, bool(wanted["follow"]))
        return self.log

    def top(self, ref: str, ps_args: str) -> Json:
        return {"Titles": ["PID", "CMD"], "Processes": [["42", ps_args]]}

    def stats(self, ref: str) -> Json:
        container = self.get(ref)
        return {"read": CREATED, "id": container.id, "cpu_stats": {"system_cpu_usage": 1}}

    def exec_create(self, ref: str, body: Json) -> str:
        self.calls.append(("exec", self.get(ref).id, body))
        return "e" * 64

    def exec_start(self, id: str, *, tty: bool, detach: bool) -> Session | None:
        self.exec_inspect(id)
        self.calls.append(("exec_start", id, tty, detach))
        self.session = EchoSession(tty, self.ends_at_once)
        return None if detach else self.session

    def exec_inspect(self, id: str) -> Json:
        if id != "e" * 64:
            raise NotFound(f"No such exec instance: {id}")
        body = next(call[2] for call in reversed(self.calls) if call[0] == "exec")
        return {
            "ID": id,
            "Running": False,
            "ExitCode": 4,
            "OpenStdin": bool(body.get("AttachStdin")),
            "DetachKeys": body.get("DetachKeys") or "",
            "ContainerID": self.all()[0].id,
        }

    def exec_ids(self, container: Container) -> list[str]:
        return []

    def exec_resize(self, id: str, rows: int, cols: int) -> None:
        self.calls.append(("exec_resize", id, rows, cols))

    def connect(self, network: str, ref: str, settings: Json) -> None:
        container, found = self.get(ref), self._daemon.controller.network(network)
        spec = EndpointSpec(name=container.name, names=(container.name, container.id[:12]))
        attached = Attachment(network=found.name, spec=spec, settings=settings)
        self._known[container.id] = replace(container, attachments=(*container.attachments, attached))

    def plan_connect(self, network: str, ref: str, settings: Json) -> str:
        return f"plan of {ref} into {network}"

    def disconnect(self, network: str, ref: str, *, force: bool) -> None:
        container, found = self.get(ref), self._daemon.controller.network(network)
        kept = tuple(a for a in container.attachments if a.network != found.name)
        self._known[container.id] = replace(container, attachments=kept)

    def prune(self, filters: Filters) -> Json:
        gone = [c.id for c in self._known.values() if not c.state.running]
        for id in gone:
            del self._known[id]
        return {"ContainersDeleted": gone, "SpaceReclaimed": 0}


class FakeController:
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._networks: dict[str, Network] = {}
        for name, driver in (("bridge", "bridge"), ("host", "host"), ("none", "null")):
            subnets = (Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),) if name == "bridge" else ()
            self._add(NetworkSpec(name=name, driver=driver), subnets, predefined=True)

    def _add(self, spec: NetworkSpec, subnets: tuple[Subnet, ...], predefined: bool = False) -> Network:
        id = f"{len(self._networks) + 0xA0:02x}" * 32
        network = Network(id=id, spec=spec, subnets=subnets, created=CREATED, predefined=predefined)
        self._networks[id] = network
        return network

    def networks(self) -> list[Network]:
        return list(self._networks.values())

    def network(self, ref: str) -> Network:
        found = [n for n in self.networks() if ref in (n.name, n.id) or n.id.startswith(ref)]
        if not found:
            raise NotFound(f"network {ref} not found")
        return found[0]

    def create_network(self, spec: NetworkSpec) -> Network:
        if any(n.name == spec.name for n in self.networks()):
            raise Conflict(f"network with name {spec.name} already exists")
        asked = tuple(
            Subnet(subnet=s.subnet, gateway=s.gateway, ip_range=s.ip_range, aux_addresses=s.aux_addresses)
            for s in spec.subnets
        )
        return self._add(spec, asked or (Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"),))

    def plan_network(self, spec: NetworkSpec) -> Plan:
        return Plan((Create(Bridge(name=spec.name, mac="02:42:00:00:00:01", mtu=1500, mark="test")),))

    def remove_network(self, ref: str) -> Network:
        network = self.network(ref)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        del self._networks[network.id]
        return network

    def prune_networks(self, keep: Callable[[Network], bool]) -> list[str]:
        gone = [n for n in self.networks() if not n.predefined and not self.endpoints(network_id=n.id) and not keep(n)]
        for network in gone:
            del self._networks[network.id]
        return [network.name for network in gone]

    def endpoints(self, *, network_id: str = "", sandbox_id: str = "") -> list[Endpoint]:
        containers = self._daemon.containers
        found = [e for c in containers.all() for e in containers.endpoints(c)]
        return [e for e in found if network_id in ("", e.network_id) and sandbox_id in ("", e.sandbox.id)]

    def endpoint(self, container: Container, attachment: Attachment, index: int) -> Endpoint:
        network = self.network(attachment.network)
        host = int(container.id, 16) + 1
        prefix = network.subnets[0].subnet.rsplit(".", 2)[0] if network.subnets else ""
        ports = tuple(
            PortBinding(
                protocol=key.partition("/")[2],
                container_port=int(key.partition("/")[0]),  # pyright: ignore
                host_ip=b["HostIp"] or "0.0.0.0",
                host_port=int(b["HostPort"] or 49153),
            )
            for key, bindings in (container.host_config.get("PortBindings") or {}).items()
            for b in bindings
        )
        return Endpoint(
            id=f"{index + 1}{container.id[1:]}",
            network_id=network.id,
            sandbox=Sandbox(id=container.id, netns="/run/netpy/netns/x"),
            spec=attachment.spec,
            mac=f"02:42:ac:{0x11 + index:02x}:00:{host:02x}",
            addresses=(f"{prefix}.0.{host}/16",) if prefix else (),
            ports=ports if index == 0 else (),
            phase="active",
        )

    def check(self) -> list[str]:
        return ["bridge br-1: mtu is 1400, should be 1500"]

    def repair(self) -> list[str]:
        return ["bridge br-1: mtu set to 1500"]


@dataclass(frozen=True)
class FakeImage:
    id: str
    tags: tuple[str, ...]


class FakeImages:
    def __init__(self) -> None:
        self.loaded = b""
        self.imported: tuple[Any, ...] = ()
        self.auth: Json | None = None

    def resolve(self, ref: str) -> FakeImage:
        ref = ref.removeprefix("docker.io/library/")
        if ref not in ("busybox", "busybox:latest", IMAGE, "registry:5000/a/b:1"):
            raise NotFound(f"No such image: {ref if ':' in ref else ref + ':latest'}")
        return FakeImage(IMAGE, ("busybox:latest",))

    def inspect(self, ref: str) -> Json:
        return {"Id": self.resolve(ref).id, "RepoTags": ["busybox:latest"], "Size": 1000}

    def summaries(self, *, all: bool = False, filters: Mapping[str, list[str]] | None = None) -> list[Json]:
        return [{"Id": IMAGE, "RepoTags": ["busybox:latest"], "Created": 1710754413, "Size": 1000, "Labels": {}}]

    def history(self, ref: str) -> list[Json]:
        return [{"Id": self.resolve(ref).id, "Created": 1, "CreatedBy": "", "Comment": "", "Size": 1, "Tags": None}]

    def import_rootfs(
        self, stream: BinaryIO, *, reference: str = "", message: str = "", changes: Sequence[str] = ()
    ) -> str:
        self.imported = (stream.read(), reference, message, list(changes))
        return IMAGE

    def load(self, stream: BinaryIO) -> Iterator[Json]:
        self.loaded = b""
        yield {"stream": "reading\n"}
        while piece := stream.read(4096):
            self.loaded += piece
        if self.loaded.startswith(b"bad"):
            raise Conflict("the archive is bad")
        yield {"stream": "Loaded image: busybox:latest\n"}

    def save(self, refs: Sequence[str]) -> Iterator[bytes]:
        for ref in refs:
            self.resolve(ref)
        return (f"tar of {ref};".encode() for ref in refs)

    def pull(self, reference: str, *, tag: str = "", auth: Json | None = None, platform: str = "") -> Iterator[Json]:
        self.auth = auth
        reference = reference.removeprefix("docker.io/library/")
        if reference == "nope":
            raise NotFound("manifest for nope:latest not found: manifest unknown")
        yield {"status": f"Pulling from {reference}", "id": tag}
        yield {"status": "Status: Downloaded"}

    def tag(self, source: str, target: str) -> None:
        self.resolve(source)

    def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        noprune: bool = False,
        used_by: Callable[[str], list[str]] = lambda _: [],
        running: Callable[[str], bool] = lambda _: False,
    ) -> list[Json]:
        if used_by(self.resolve(ref).id) and not force:
            raise Conflict(f"conflict: unable to remove repository reference {ref!r}")
        return [{"Untagged": "busybox:latest"}, {"Deleted": IMAGE}]

    def prune(self, filters: Filters | None = None, *, used_by: Callable[[str], list[str]] = lambda _: []) -> Json:
        if (filters or {}).get("dangling") != ["false"] or used_by(IMAGE):
            return {"ImagesDeleted": None, "SpaceReclaimed": 0}
        return {"ImagesDeleted": [{"Deleted": IMAGE}], "SpaceReclaimed": 1000}

    def disk_usage(self) -> int:
        return 1000

    def layers(self, image_id: str) -> list[Path]:
        return [Path("/layers/2"), Path("/layers/1")]


class FakeVolumes:
    def __init__(self) -> None:
        self._known: dict[str, Json] = {}

    def create(
        self,
        name: str,
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Json:
        volume = {"Name": name, "Driver": driver or "local", "Labels": dict(labels or {}), "Mountpoint": "/nowhere"}
        return self._known.setdefault(name, volume)

    def get(self, name: str) -> Json:
        if name not in self._known:
            raise NotFound(f"get {name}: no such volume")
        return self._known[name]

    def all(self) -> list[Json]:
        return list(self._known.values())

    def remove(self, name: str, *, force: bool = False) -> None:
        if not force:
            self.get(name)
        self._known.pop(name, None)

    def prune(self, *, everything: bool = False) -> list[str]:
        names = list(self._known)
        self._known.clear()
        return names


class FakeDaemon:
    runtime_name = "runc"
    firewall_name = "nftables"
    driver_names = ("bridge", "host", "null")

    def __init__(self, root: Path) -> None:
        self.settings = Settings(data_root=root / "data", exec_root=root / "run", shutdown_timeout=2)
        self.events = Events()
        self.images = FakeImages()
        self.containers = FakeContainers(self)
        self.controller = FakeController(self)


@contextmanager
def served(daemon: FakeDaemon, path: Path) -> Iterator[str]:
    """Serve the daemon at a Unix socket; gives its host string. Fails if the server does not end."""
    host, stop = f"unix://{path}", threading.Event()
    thread = threading.Thread(target=serve, args=(daemon, [listening.listen(path, "")], stop))
    thread.start()
    try:
        yield host
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"
