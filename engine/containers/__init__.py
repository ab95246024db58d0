"""Containers: what `docker run` and its relatives do, one method per request.

This is the front; the rooms behind it do the work:

    naming merging ports networking mounts     decide, from documents to records (pure)
    isolation logdrivers volumeoptions         what may be asked for at its border, of its log, of a volume (pure)
    records waiting timing sessions            hold what is known, who waits, what is due
    creation running ending removal release    the life of a container, in that order
    sources                                    what stands behind its mounts: volumes, directories, shared memory
    plugging wiring files                      its networks while it lives
    execs streaming volumes pruning updating   what else can be asked for
    health probing                             whether what it runs is well: the rules, and the looking
    recovery                                   taking over after an earlier daemon

A request finds the container's entry, takes its lock, and lets a room do it. A lock is held while a state changes,
never while somebody waits. References are ids, names (a leading slash is allowed) or unique prefixes of ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from engine.containers import (
    archive,
    committing,
    creation,
    links,
    naming,
    plugging,
    pruning,
    running,
    streaming,
    updating,
)
from engine.containers.committing import CommitRequest
from engine.containers.creation import Request
from engine.containers.ending import Endings
from engine.containers.execs import Execs
from engine.containers.networking import is_host
from engine.containers.parts import Parts, announce
from engine.containers.probing import Probing
from engine.containers.records import Entry
from engine.containers.recovery import Recovery
from engine.containers.release import INTERMEDIATE
from engine.containers.running import Hooks
from engine.containers.sessions import Lobby
from engine.containers.streaming import AttachQuery, LogQuery
from engine.containers.volumes import Volumes
from engine.containers.waiting import Condition, Waiter
from engine.model import Container, Json
from engine.streams import Frame, Session
from netpy import render
from netpy.errors import Conflict, InvalidArgument, NetpyError, NotFound
from netpy.model import Endpoint


class Containers:
    """All containers of a daemon. Thread-safe. Raises NetpyError alone, in Docker's words."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._records = parts.records
        self._lobby = Lobby()
        self._execs = Execs(parts)
        self._probing = Probing(parts, self._execs)
        hooks = Hooks(
            on_exit=self._exited,
            on_made=self._made,
            on_running=self._probing.watch,
            on_halted=self._probing.leave,
        )
        self._endings = Endings(parts, hooks)

    @property
    def volumes(self) -> Volumes:
        """The volumes of containers."""
        return self._parts.volumes

    def recover(self) -> None:
        """Take over from an earlier daemon: once, before anything is asked."""
        Recovery(self._parts, self._endings).run()

    def close(self) -> None:
        """Stop looking after containers, which go on."""
        self._probing.close()
        self._parts.rotation.close()
        self._parts.scheduler.close()

    def create(
        self, *, name: str, config: Json, host_config: Json, networks: Json, platform: str = ""
    ) -> tuple[str, list[str]]:
        """Make a container; its id and warnings. `networks` is Docker's EndpointsConfig, in order."""
        request = Request(name=name, config=config, host_config=host_config, networks=networks, platform=platform)
        entry, warnings = creation.create(self._parts, request)
        return entry.id, warnings

    def intermediate(self, *, config: Json, host_config: Json) -> str:
        """Make a container that is but a step of something: unless it is kept, it does not outlive the daemon."""
        request = Request(name="", config=config, host_config=host_config, networks={}, intermediate=True)
        return creation.create(self._parts, request)[0].id

    def keep(self, ref: str) -> None:
        """Have an intermediate container stay, as any other."""
        entry = self._records.find(ref)
        with entry.lock:
            facts = {key: value for key, value in entry.container.facts.items() if key != INTERMEDIATE}
            self._records.change(entry, facts=facts)

    def plan(self, *, name: str, config: Json, host_config: Json, networks: Json) -> str:
        """What creating and starting it would change in the network, as text. Changes nothing."""
        request = Request(name=name, config=config, host_config=host_config, networks=networks)
        container, sandbox = creation.plan(self._parts, request)
        requests = [(attachment.network, attachment.spec) for attachment in container.attachments]
        if not requests or is_host(container.host_config):
            return ""
        return render.plan(self._parts.controller.plan_attach(sandbox, requests))

    def get(self, ref: str) -> Container:
        """The record as it stands. NotFound("No such container: x")."""
        return self._records.find(ref).container

    def all(self) -> list[Container]:
        """Every record, newest first."""
        return [entry.container for entry in reversed(self._records.entries())]

    def endpoints(self, container: Container) -> list[Endpoint]:
        """Its live endpoints, in the order of attachment."""
        return self._parts.controller.endpoints(sandbox_id=container.id)

    def start(self, ref: str) -> None:
        """Start it; nothing happens when it runs. A failure removes it if `--rm` was given."""
        entry = self._records.find(ref)
        with entry.lock:
            try:
                running.start(self._parts, entry, self._endings.hooks)
            except (NetpyError, OSError):
                self._lobby.dismiss(entry.id)
                container = entry.container
                if not container.state.running and container.host_config.get("AutoRemove"):
                    self._endings.remove_quietly(entry)
                raise

    def stop(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        """Ask it to end; kill it after `timeout` seconds (its own, else 10; negative: wait for ever)."""
        self._endings.stop(self._records.find(ref), timeout, signal)

    def restart(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        """Stop it if it runs, then start it."""
        self._endings.restart(self._records.find(ref), timeout, signal)

    def kill(self, ref: str, signal: str = "KILL") -> None:
        """Send a signal, by name or number."""
        entry = self._records.find(ref)
        try:
            self._endings.kill(entry, signal)
        except Conflict as error:
            raise Conflict(f"Cannot kill container: {ref}: {error}") from error

    def pause(self, ref: str) -> None:
        """Freeze it."""
        self._endings.pause(self._records.find(ref))

    def unpause(self, ref: str) -> None:
        """Let it go on."""
        self._endings.unpause(self._records.find(ref))

    def update(self, ref: str, change: Json) -> list[str]:
        """Change its limits or its restart policy, parts of Docker's HostConfig; returns warnings."""
        entry = self._records.find(ref)
        with entry.lock:
            return updating.update(self._parts, entry, change)

    def rename(self, ref: str, new: str) -> None:
        """Give it another name; its names in DNS follow."""
        entry = self._records.find(ref)
        if not ref or not new:
            raise InvalidArgument("Neither old nor new names may be empty")
        with entry.lock:
            old = entry.container.name
            name = new.removeprefix("/")
            if name == old:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            try:
                plugging.rename(self._parts, entry, naming.check(name, shown=f"/{name}"))
            except (Conflict, InvalidArgument) as error:
                raise type(error)(f"Error when allocating new name: {error}") from error
            announce(self._parts, entry.container, "rename", oldName=f"/{old}")

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; a running one only with `force`. `volumes` removes its anonymous volumes too."""
        entry = self._records.find(ref)
        self._endings.remove(entry, force=force, volumes=volumes)
        self._lobby.dismiss(entry.id)
        self._execs.drop(entry.id)

    def remove_link(self, ref: str) -> None:
        """Forget a link on the default bridge, named `PARENT/ALIAS`."""
        links.remove(self._parts, ref)

    def prune(self, filters: Mapping[str, Sequence[str]]) -> Json:
        """Remove all that have ended: {"ContainersDeleted": ids, "SpaceReclaimed": bytes}."""
        pruning.check(filters)
        now = datetime.now(UTC)
        removed: list[str] = []
        reclaimed = 0
        for container in self.all():
            if not pruning.chosen(container, filters, now):
                continue
            size = pruning.size(self._parts.paths.layer(container.id) / "upper")
            try:
                self.remove(container.id)
            except NetpyError:
                continue  # somebody else is at it, or has started it
            removed.append(container.id)
            reclaimed += size
        return {"ContainersDeleted": removed, "SpaceReclaimed": reclaimed}

    def wait(self, ref: str, condition: Condition = "not-running") -> Waiter:
        """A promise of its exit code, registered when this returns."""
        entry = self._records.find(ref)
        if condition not in ("not-running", "next-exit", "removed"):
            raise InvalidArgument(f'invalid condition: "{condition}"')
        with entry.lock:
            state = entry.container.state
            if not self._records.exists(entry):
                return self._parts.waiters.settled(entry.id, (state.exit_code, ""))
            if condition == "not-running" and not state.running and state.status != "restarting":
                return self._parts.waiters.settled(entry.id, (state.exit_code, ""))
            return self._parts.waiters.register(entry.id, condition)

    def attach(  # noqa: PLR0913 - Docker's query, flag by flag
        self, ref: str, *, stdin: bool, stdout: bool, stderr: bool, logs: bool, stream: bool
    ) -> Session:
        """Talk to its first process; before it starts, the session waits for it."""
        query = AttachQuery(stdin=stdin, stdout=stdout, stderr=stderr, logs=logs, stream=stream)
        return streaming.attach(self._parts, self._lobby, self._records.find(ref), query)

    def resize(self, ref: str, rows: int, cols: int) -> None:
        """Set the size of its terminal."""
        streaming.resize(self._parts, self._records.find(ref), rows, cols)

    def logs(  # noqa: PLR0913 - Docker's query, flag by flag
        self,
        ref: str,
        *,
        stdout: bool,
        stderr: bool,
        since: float | None = None,
        until: float | None = None,
        tail: int | None = None,
        follow: bool = False,
        timestamps: bool = False,
        details: bool = False,
    ) -> Iterator[Frame]:
        """What it has said, and with `follow` what it says until it ends."""
        query = LogQuery(
            stdout=stdout,
            stderr=stderr,
            since=since,
            until=until,
            tail=tail,
            follow=follow,
            timestamps=timestamps,
            details=details,
        )
        return streaming.read_logs(self._parts, self._records.find(ref), query)

    def top(self, ref: str, ps_args: str) -> Json:
        """Its processes, as ps shows them."""
        return streaming.top(self._parts, self._records.find(ref), ps_args)

    def stats(self, ref: str) -> Json:
        """How much it uses just now, as Docker's document."""
        return streaming.statistics(self._parts, self._records.find(ref))

    def path_status(self, ref: str, path: str) -> Json:
        """What is at a path in it, as Docker's document."""
        return archive.status(self._parts, self._records.find(ref), ref, path)

    def fetch(self, ref: str, path: str) -> tuple[Json, archive.Tar]:
        """What is at a path in it, with a tar of it, to be read to its end or closed."""
        return archive.fetch(self._parts, self._records.find(ref), ref, path)

    def extract(self, ref: str, target: archive.Target, stream: archive.Stream) -> None:
        """Write a tar into a directory of it."""
        archive.extract(self._parts, self._records.find(ref), ref, target, stream)

    def export(self, ref: str) -> archive.Tar:
        """A tar of all its own files, to be read to its end or closed."""
        return archive.export(self._parts, self._records.find(ref))

    def changes(self, ref: str) -> list[Json]:
        """What it changed in its image's files."""
        return archive.changes(self._parts, self._records.find(ref))

    def commit(self, ref: str, request: CommitRequest) -> str:
        """Make an image of it; the image's id."""
        return committing.commit(self._parts, self._endings, self._records.find(ref), request)

    def exec_create(self, ref: str, body: Json) -> str:
        """Prepare another process in it; the id of the exec."""
        return self._execs.create(self._records.find(ref), body)

    def exec_check(self, id: str) -> None:
        """Whether it could be started now: NotFound, Conflict."""
        self._execs.check(id)

    def exec_start(self, id: str, *, tty: bool, detach: bool) -> Session | None:
        """Run it; the session to talk to it, None when detached."""
        return self._execs.start(id, tty=tty, detach=detach)

    def exec_inspect(self, id: str) -> Json:
        """Docker's document of an exec."""
        return self._execs.inspect(id)

    def exec_resize(self, id: str, rows: int, cols: int) -> None:
        """Set the size of its terminal."""
        self._execs.resize(id, rows, cols)

    def exec_ids(self, container: Container) -> list[str]:
        """The execs that run in it."""
        return self._execs.of(container.id)

    def connect(self, network: str, ref: str, settings: Json) -> None:
        """Plug it into a network. `settings` is Docker's EndpointSettings."""
        entry = self._records.find(ref)
        with entry.lock:
            plugging.connect(self._parts, entry, network, settings)

    def plan_connect(self, network: str, ref: str, settings: Json) -> str:
        """What connecting would change, as text. Changes nothing."""
        sandbox, requests = plugging.plan_connect(self._parts, self._records.find(ref), network, settings)
        return render.plan(self._parts.controller.plan_attach(sandbox, requests))

    def disconnect(self, network: str, ref: str, *, force: bool = False) -> None:
        """Unplug it; by force also what is left of a container that is no more."""
        try:
            entry = self._records.find(ref)
        except NotFound:
            if not force:
                raise
            plugging.disconnect_missing(self._parts, network, ref)
            return
        with entry.lock:
            plugging.disconnect(self._parts, entry, network, force=force)

    def _exited(self, entry: Entry, monitor: int, code: int, oom: bool) -> None:
        self._endings.exited(entry, monitor, code, oom)
        if not self._records.exists(entry):
            self._execs.drop(entry.id)

    def _made(self, container: Container) -> None:
        tty = bool(container.config.get("Tty"))
        runtime = self._parts.runtime_of(container)
        self._lobby.admit(container.id, lambda stdin: runtime.attach(container.id, tty=tty, stdin=stdin))
