"""Making a container: from a request to a record, with all that is checked before anything exists.

A container that has been created holds a name, its static addresses, its anonymous volumes and two directories;
nothing of it is in the kernel. Half-made ones are marked, and undone at the next start of the daemon.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from engine.containers import health, isolation, links, logdrivers, merging, mounts, naming, networking, ports, wiring
from engine.containers.documents import console_size, table
from engine.containers.ending import signal_number
from engine.containers.files import host_name
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry
from engine.containers.release import CREATING, INTERMEDIATE, each, with_phase
from engine.containers.volumes import ANONYMOUS
from engine.model import Container, Json
from engine.oci import resources
from netpy.errors import InvalidArgument, NotFound
from netpy.faults import point
from netpy.model import Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for, as Docker's documents. `platform` is such as `linux/arm64`.

    An `intermediate` container is removed by the next daemon, as whoever wanted it has gone with this one.
    """

    name: str
    config: Json
    host_config: Json
    networks: Json
    platform: str = ""
    intermediate: bool = False


def create(parts: Parts, request: Request) -> tuple[Entry, list[str]]:
    """Make it. Returns the entry and warnings. Any failure leaves nothing behind. Equivalent: `docker create`."""
    container, warnings = draft(parts, request)
    entry = parts.records.add(container)
    with entry.lock:
        try:
            _furnish(parts, entry)
        except BaseException:
            undo(parts, entry)
            raise
        announce(parts, entry.container, "create")
    return entry, warnings


def undo(parts: Parts, entry: Entry) -> None:
    """Take back a half-made container, with the volumes that were made for it."""
    identity = entry.id
    fresh = [point["Name"] for point in entry.container.mounts if point.get("Fresh")]
    each(
        f"container {identity[:12]}",
        ("giving back its addresses", lambda: parts.controller.unreserve(identity)),
        *((f"removing volume {n}", lambda n=n: parts.volumes.remove(n, force=True, leaving=identity)) for n in fresh),
        ("removing its files", lambda: shutil.rmtree(parts.paths.home(identity), ignore_errors=True)),
        ("forgetting it", lambda: parts.records.drop(entry)),
    )


def draft(parts: Parts, request: Request) -> tuple[Container, list[str]]:
    """The container as it would be, everything checked, nothing done; and warnings."""
    identity = parts.new_id()
    name = _name(parts, request.name)
    image_name = request.config.get("Image") or ""
    if not image_name:
        raise InvalidArgument("no image specified")
    image = parts.images.resolve(image_name)
    health.validate(request.config)
    if request.config.get("StopSignal"):
        signal_number(request.config["StopSignal"])
    if refusal := isolation.platform_refusal(image_name, request.platform, image.config):
        raise NotFound(refusal)
    host_config = merging.host_config(request.host_config, parts.host.defaults)
    parts.runtimes(host_config["Runtime"])
    isolation.check(host_config)
    warnings = isolation.warnings(host_config) + networking.check_options(request.config, host_config)
    resources.check(host_config, parts.host.facts.support)
    warnings += resources.warnings(host_config, parts.host.facts.support)
    config = merging.config(request.config, table(image.config, "config"), identity)
    if networking.is_host(host_config) and not request.config.get("Hostname"):
        config["Hostname"] = host_name()
    console_size(host_config)
    ports.keys(config, host_config)  # a port that is none is refused now, not when it is shown
    with _names_checked():
        isolation.check_references(host_config, parts.records.find, links.asked(host_config))
        host_config = _settled(parts, host_config)
        found = mounts.points(config, host_config, lambda ref: parts.records.find(ref).container.mounts)
    words = merging.command(config)
    container = Container(
        id=identity,
        name=name,
        created=parts.now(),
        image=image_name,
        image_id=image.id,
        config=config,
        host_config=host_config,
        path=words[0],
        args=tuple(words[1:]),
        mounts=tuple(found),
        facts=_first_facts(parts, identity, host_config) | ({INTERMEDIATE: "yes"} if request.intermediate else {}),
    )
    owner = networking.owner_of(container)
    with _names_checked():
        attachments = networking.attachments(owner, request.networks, parts.controller.network)
    return replace(container, attachments=attachments), warnings


@contextmanager
def _names_checked() -> Generator[None]:
    """What the document names and is not there is the document's mistake: only of the image is it said that it is
    not found, since clients take that for leave to pull it."""
    try:
        yield
    except NotFound as error:
        raise InvalidArgument(str(error)) from None


def plan(parts: Parts, request: Request) -> tuple[Container, Sandbox]:
    """A draft and the sandbox it would run in: what a dry run needs."""
    container, _ = draft(parts, request)
    return container, wiring.sandbox_of(parts, container)


def _first_facts(parts: Parts, identity: str, host_config: Json) -> dict[str, str]:
    """The facts of a new container: where its log is, if others may read it, and that it is being made."""
    is_file = host_config["LogConfig"]["Type"] == logdrivers.DEFAULT
    return {"phase": CREATING} | ({"log_path": str(parts.paths.log(identity))} if is_file else {})


def _name(parts: Parts, asked: str) -> str:
    if not asked:
        return naming.invent(random.choice, parts.records.is_free)
    name = naming.check(asked)
    owner = parts.records.owner(name)
    if owner:
        raise naming.taken(name, owner)
    return name


def _settled(parts: Parts, host_config: Json) -> Json:
    """References to other containers, made lasting: a name may go to another container."""
    mode = networking.shared_with(host_config)
    if not mode:
        return host_config
    target = parts.records.find(mode)
    return host_config | {"NetworkMode": f"container:{target.id}"}


def _furnish(parts: Parts, entry: Entry) -> None:
    """Reserve addresses, make volumes and directories."""
    container = entry.container
    for attachment in container.attachments:
        if attachment.spec.addresses:
            parts.controller.reserve(attachment.network, container.id, attachment.spec.addresses)
    point("before making volumes")
    named = tuple(_named(parts, point) for point in container.mounts)
    if named != container.mounts:  # written down before they are made, so that they can be taken back
        container = parts.records.change(entry, mounts=named)
    points = tuple(_made(parts, point) for point in container.mounts)
    point("before making a directory")
    parts.paths.home(container.id).mkdir(parents=True, exist_ok=True)
    parts.records.change(entry, mounts=points, facts=with_phase(container, ""))


def _named(parts: Parts, point: Json) -> Json:
    """The mount point with a name for its volume, a new id where it has none; `Fresh` if there is no such volume."""
    if point["Type"] != "volume":
        return point
    if point["Name"]:
        return point if parts.volumes.exists(point["Name"]) else point | {"Fresh": True}
    wanted = table(point, "Create")
    anonymous = wanted | {"Labels": table(wanted, "Labels") | {ANONYMOUS: ""}}
    return point | {"Name": parts.new_id(), "Create": anonymous, "Fresh": True}


def _made(parts: Parts, point: Json) -> Json:
    """The mount point with its volume made."""
    if point["Type"] != "volume":
        return point
    name, wanted = point["Name"], table(point, "Create")
    labels, options = wanted.get("Labels"), wanted.get("Options")
    parts.volumes.create(name, driver=wanted.get("Driver") or "", labels=labels, options=options)
    shown = {key: value for key, value in point.items() if key not in ("Create", "Fresh")}
    return shown | {"Source": str(parts.volumes.path(name))}
