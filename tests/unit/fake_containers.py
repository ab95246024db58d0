"""Containers without a machine, for tests of the API: values in a dictionary, and a record of what was called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine import lifecycle
from engine.model import Attachment, Container, Json, State
from engine.streams import STDERR, STDOUT, Frame, Session
from netpy.errors import Conflict, KernelError, NotFound
from netpy.model import Endpoint, EndpointSpec

from .fake_images import IMAGE, FakeVolumes
from .fake_streams import EchoSession, Frames, Log, Waiter

if TYPE_CHECKING:
    from .fake_daemon import FakeDaemon

CREATED = "2024-03-18T09:43:33.052883345Z"


class FakeContainers:
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._known: dict[str, Container] = {}
        self.waiters: list[Waiter] = []
        self.volumes = FakeVolumes()
        self.calls: list[tuple[Any, ...]] = []
        self.session = EchoSession()
        self.ends_at_once = False
        self.exec_fails = ""
        self.log = Log((), follow=False)
        self.frames: Frames = (Frame(STDOUT, b"out\n"), Frame(STDERR, b"err\n"))

    def create(
        self, *, name: str, config: Json, host_config: Json, networks: Json, platform: str = ""
    ) -> tuple[str, list[str]]:
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

    def update(self, ref: str, change: Json) -> list[str]:
        container = self.get(ref)
        self.calls.append(("update", container.id, change))
        return ["a warning"] if change.get("BlkioWeight") else []

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

    def exec_check(self, id: str) -> None:
        self.exec_inspect(id)

    def exec_start(self, id: str, *, tty: bool, detach: bool) -> Session | None:
        self.exec_inspect(id)
        self.calls.append(("exec_start", id, tty, detach))
        if self.exec_fails:
            raise KernelError(self.exec_fails)
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

    def remove_link(self, ref: str) -> None:
        self.calls.append(("remove_link", ref))

    def prune(self, filters: Mapping[str, Sequence[str]]) -> Json:
        gone = [c.id for c in self._known.values() if not c.state.running]
        for id in gone:
            del self._known[id]
        return {"ContainersDeleted": gone, "SpaceReclaimed": 0}
