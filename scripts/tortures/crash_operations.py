"""The operations that are interrupted: how each is prepared, asked for, judged and taken back.

`outcome` looks at everything the user can see of it and says "done" or "undone"; any other text is a finding: a half.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.client import ApiError
from scripts.tortures.crash_stage import Stage, settled

DONE, UNDONE = "done", "undone"
CACHED = ("record: image", "record: layer", "record: build", "/images/layers/")
PORTS = ("7100:7/tcp", "7101:7/tcp", "7100:7/udp")
SERVE = "trap 'exit 0' TERM; nc -ll -p 7 -e cat & while :; do sleep 0.1; done"
Step = Callable[[Stage], object]


def nothing(stage: Stage) -> None:
    del stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`before` makes what it needs, `act` is one request, `undo` another that takes it back; `clear` removes it all.

    `keeps` are marks of what may stay when it is undone, for the next one to use, until it is pruned.
    """

    name: str
    act: Step
    undo: Step
    outcome: Callable[[Stage], str]
    before: Step = nothing
    keeps: tuple[str, ...] = ()

    @staticmethod
    def clear(stage: Stage) -> None:
        for name in ("tee", "tea"):
            stage.tolerant("DELETE", f"/containers/{name}", force=True, v=True)
        stage.tolerant("DELETE", "/networks/second")
        stage.tolerant("DELETE", "/volumes/bag")
        stage.tolerant("DELETE", "/images/built", force=True)
        stage.tolerant("POST", "/images/prune")
        stage.tolerant("POST", "/build/prune", all=True)


# ---- judging -----------------------------------------------------------------------------------------------------


def network_outcome(stage: Stage) -> str:
    return DONE if stage.found_network("second") else UNDONE


def network_gone(stage: Stage) -> str:
    return UNDONE if stage.found_network("second") else DONE


def connection(stage: Stage) -> str:
    """Whether it is plugged into the second network: both records, its hosts file and its interface must agree."""
    container: Any = stage.container("tee")
    told = container["NetworkSettings"]["Networks"].get("second")
    listed = container["Id"] in stage.ask("GET", "/networks/second")["Containers"]
    hosts = "10.99.0." in Path(container["HostsPath"]).read_text()
    inside = "10.99.0." in stage.world.at(f"/proc/{container['State']['Pid']}/ns/net", "ip", "-o", "addr").stdout
    facts = {"record": bool(told and told["IPAddress"]), "network": listed, "hosts file": hosts, "interface": inside}
    if len(set(facts.values())) == 1 and bool(told) == listed:
        return DONE if listed else UNDONE
    return f"half connected: {facts}"


def disconnection(stage: Stage) -> str:
    return {DONE: UNDONE, UNDONE: DONE}.get(found := connection(stage), found)


def existence(stage: Stage) -> str:
    container: Any = stage.container("tee")
    if container is None:
        return UNDONE
    return DONE if container["State"]["Status"] == "created" else f"created as {container['State']['Status']}"


def removal(stage: Stage) -> str:
    container: Any = stage.container("tee")
    if container is None:
        return DONE if not stage.resolves("alias-of-tee") else "gone, and its name is still known"
    return UNDONE if container["State"]["Running"] else f"neither gone nor running: {container['State']['Status']}"


def plain_removal(stage: Stage) -> str:
    container: Any = stage.container("tee")
    if container is None:
        return DONE
    return UNDONE if container["State"]["Status"] == "exited" else f"left as {container['State']['Status']}"


def running(stage: Stage) -> str:
    """Running with its name, its published ports and its page; or not running, with none of these."""
    container: Any = stage.container("tee")
    if container is None:
        return "there is no container"
    state = container["State"]
    if state["Running"]:
        lacks = [port for port in (7100, 7101) if not settled(lambda p=port: stage.serves(p), 8)]
        lacks += [] if stage.resolves("alias-of-tee") else ["its name"]
        return DONE if not lacks else f"running without {lacks}"
    extra = [port for port in (7100, 7101) if stage.serves(port, 0.5)]
    if extra or stage.resolves("alias-of-tee"):
        return f"{state['Status']}, and still there: {extra or 'its name'}"
    return UNDONE if state["Status"] in ("created", "exited") else f"left as {state['Status']}"


def stopping(stage: Stage) -> str:
    settled(lambda: not stage.container("tee")["State"]["Running"], 2.0)
    return {DONE: UNDONE, UNDONE: DONE}.get(found := running(stage), found)


def restarting(stage: Stage) -> str:
    """A restart that came through has another process; one that did not has the old one."""
    old = Path(f"{stage.faults}.pid").read_text()
    settled(
        lambda: stage.container("tee")["State"]["Running"] and str(stage.container("tee")["State"]["Pid"]) != old, 3.0
    )
    found = running(stage)
    if found != DONE:
        return found if found != UNDONE else "half: stopped and not started"
    return UNDONE if str(stage.container("tee")["State"]["Pid"]) == old else DONE


def renaming(stage: Stage) -> str:
    """One name or the other, for the API and for the name server alike."""
    names = [name for name in ("tee", "tea") if stage.container(name)]
    known = [name for name in ("tee", "tea") if stage.resolves(name)]
    if names != known or len(names) != 1:
        return f"called {names}, and known as {known}"
    return DONE if names == ["tea"] else UNDONE


def volume_outcome(stage: Stage) -> str:
    """Listed and there, or neither."""
    listed = bool(stage.ask("GET", "/volumes", filters='{"name":{"bag":true}}')["Volumes"])
    there = (stage.daemon.data_root / "volumes" / "bag").exists()
    return (DONE if there else UNDONE) if listed == there else f"listed: {listed}; there: {there}"


def volume_gone(stage: Stage) -> str:
    return {DONE: UNDONE, UNDONE: DONE}.get(found := volume_outcome(stage), found)


def execution(stage: Stage) -> str:
    """Whether the program has run, in a container that goes on running."""
    found = running(stage)
    if found != DONE:
        return f"{found} after an exec"
    made = Path(f"/proc/{stage.container('tee')['State']['Pid']}/root/made")
    return DONE if settled(made.exists, 1.0) else UNDONE


def image_outcome(stage: Stage) -> str:
    return DONE if stage.found_image("built") else UNDONE


# ---- acting ------------------------------------------------------------------------------------------------------


def make_network(stage: Stage) -> None:
    stage.network("second", "10.99.0.0/24", "fd99::/64")


def drop_network(stage: Stage) -> None:
    stage.ask("DELETE", "/networks/second")


def start_t(stage: Stage) -> None:
    stage.ask("POST", "/containers/tee/start")


def stop_t(stage: Stage) -> None:
    stage.ask("POST", "/containers/tee/stop", t=3)


def create_t(stage: Stage) -> None:
    stage.create("tee", SERVE, *PORTS, Volumes={"/data": {}})


def create_static(stage: Stage) -> None:
    """With an address of its own and a named volume."""
    body = {
        "Image": "busybox",
        "Cmd": ["sh", "-c", SERVE],
        "HostConfig": {"NetworkMode": "second", "Binds": ["bag:/bag"]},
        "NetworkingConfig": {"EndpointsConfig": {"second": {"IPAMConfig": {"IPv4Address": "10.99.0.77"}}}},
    }
    stage.ask("POST", "/containers/create", body, name="tee")


def remove_t(stage: Stage) -> None:
    stage.ask("DELETE", "/containers/tee", force=True, v=True)


def remove_stopped(stage: Stage) -> None:
    stage.ask("DELETE", "/containers/tee", v=True)


def run_t(stage: Stage) -> None:
    create_t(stage)
    start_t(stage)
    settled(lambda: stage.serves(7101))


def run_and_remember(stage: Stage) -> None:
    run_t(stage)
    Path(f"{stage.faults}.pid").write_text(str(stage.container("tee")["State"]["Pid"]))


def run_and_stop(stage: Stage) -> None:
    run_t(stage)
    stop_t(stage)


def restart_t(stage: Stage) -> None:
    stage.ask("POST", "/containers/tee/restart", t=3)


def with_network(*others: Step) -> Step:
    def both(stage: Stage) -> None:
        make_network(stage)
        for other in others:
            other(stage)

    return both


def connect_t(stage: Stage) -> None:
    body = {"Container": "tee", "EndpointConfig": {"Aliases": ["beta"]}}
    stage.ask("POST", "/networks/second/connect", body)


def disconnect_t(stage: Stage) -> None:
    stage.ask("POST", "/networks/second/disconnect", {"Container": "tee"})


def rename_to(new: str) -> Step:
    def rename(stage: Stage) -> None:
        (old,) = {"tee", "tea"} - {new}
        stage.ask("POST", f"/containers/{old}/rename", name=new)

    return rename


def make_volume(stage: Stage) -> None:
    stage.ask("POST", "/volumes/create", {"Name": "bag"})


def drop_volume(stage: Stage) -> None:
    stage.ask("DELETE", "/volumes/bag")


def execute(*command: str) -> Step:
    def run(stage: Stage) -> None:
        made = stage.ask("POST", "/containers/tee/exec", {"Cmd": list(command)})
        stage.ask("POST", f"/exec/{made['Id']}/start", {"Detach": True})

    return run


def build(stage: Stage) -> None:
    """An image with a layer that a container has made."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        text = b"FROM busybox\nRUN echo made > /made\n"
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    headers = {"Content-Type": "application/x-tar"}
    query = {"t": "built", "nocache": True, "forcerm": True, "networkmode": "none"}
    with stage.client.request("POST", "/build", query, context.getvalue(), headers) as answer:
        for line in answer.objects():
            if "error" in line:
                raise ApiError(500, line["error"])


def drop_image(stage: Stage) -> None:
    stage.ask("DELETE", "/images/built", force=True)


def operations() -> Iterator[Operation]:
    """All of them."""
    yield Operation(name="network create", act=make_network, undo=drop_network, outcome=network_outcome)
    yield Operation(name="network rm", before=make_network, act=drop_network, undo=make_network, outcome=network_gone)
    yield Operation(
        name="network connect", before=with_network(run_t), act=connect_t, undo=disconnect_t, outcome=connection
    )
    yield Operation(
        name="network disconnect",
        before=with_network(run_t, connect_t),
        act=disconnect_t,
        undo=connect_t,
        outcome=disconnection,
    )
    yield Operation(name="create", act=create_t, undo=remove_t, outcome=existence)
    yield Operation(
        name="create with an address and a volume",
        before=make_network,
        act=create_static,
        undo=remove_t,
        outcome=existence,
    )
    yield Operation(name="start, publishing", before=create_t, act=start_t, undo=stop_t, outcome=running)
    yield Operation(name="stop", before=run_t, act=stop_t, undo=start_t, outcome=stopping)
    yield Operation(name="restart", before=run_and_remember, act=restart_t, undo=nothing, outcome=restarting)
    yield Operation(name="rm -f", before=run_t, act=remove_t, undo=run_t, outcome=removal)
    yield Operation(name="rm", before=run_and_stop, act=remove_stopped, undo=run_and_stop, outcome=plain_removal)
    yield Operation(name="rename", before=run_t, act=rename_to("tea"), undo=rename_to("tee"), outcome=renaming)
    yield Operation(
        name="exec", before=run_t, act=execute("touch", "/made"), undo=execute("rm", "/made"), outcome=execution
    )
    yield Operation(name="volume create", act=make_volume, undo=drop_volume, outcome=volume_outcome)
    yield Operation(name="volume rm", before=make_volume, act=drop_volume, undo=make_volume, outcome=volume_gone)
    yield Operation(name="build", act=build, undo=drop_image, outcome=image_outcome, keeps=CACHED)


def refused(stage: Stage, step: Step) -> str:
    """What a command that has nothing left to do is answered; empty when it succeeds."""
    try:
        step(stage)
    except ApiError as error:
        return f"{error.status} {error}"
    return ""
