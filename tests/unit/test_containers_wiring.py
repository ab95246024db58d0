"""Volumes, networks, streams and execs of containers, with a runtime that only pretends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.refusal import StartRefused
from engine.streams import Frame, Session
from netpy.errors import Conflict, InvalidArgument, NetpyError, NotFound
from tests.unit.container_lab import Lab, network


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


# ---- volumes --------------------------------------------------------------------------------------------------------


def test_a_new_volume_gets_what_the_image_has(lab: Lab) -> None:
    lab.run("web", Binds=["vol:/data"])
    seed = lab.root / "volumes" / "vol" / "_data" / "seed"
    assert seed.read_text() == "from the image"
    lab.containers.remove("web", force=True, volumes=True)
    assert seed.exists()
    with pytest.raises(NotFound, match="get nosuch: no such volume"):
        lab.containers.volumes.remove("nosuch")
    lab.create("again", Binds=["vol:/data"])
    with pytest.raises(Conflict, match="volume is in use"):
        lab.containers.volumes.remove("vol")


def test_unnamed_volumes_go_with_v(lab: Lab) -> None:
    lab.run("web", {"Volumes": {"/data": {}}})
    (volume,) = lab.containers.volumes.all()
    lab.containers.stop("web")
    lab.containers.remove("web", volumes=True)
    assert lab.containers.volumes.all() == []
    assert not Path(volume["Mountpoint"]).exists()


def test_a_missing_source_is_made_for_v_alone(lab: Lab) -> None:
    source = lab.root / "host" / "dir"
    lab.run("one", Binds=[f"{source}:/in"])
    assert source.is_dir()
    lab.create("two", Mounts=[{"Type": "bind", "Source": f"{source}2", "Target": "/in"}])
    with pytest.raises(InvalidArgument, match=f"bind source path does not exist: {source}2"):
        lab.containers.start("two")


# ---- networks -------------------------------------------------------------------------------------------------------


def test_connect_and_disconnect_while_it_runs(lab: Lab) -> None:
    network(lab, "front", "10.9.0.0/24")
    identity = lab.run("web")
    hosts = lab.root / "containers" / identity / "hosts"
    inode = hosts.stat().st_ino
    lab.containers.connect("front", "web", {"Aliases": ["search"], "IPAMConfig": {"IPv4Address": "10.9.0.77"}})
    assert [e.ifname for e in lab.containers.endpoints(lab.containers.get("web"))] == ["eth0", "eth1"]
    assert f"10.9.0.77\t{identity[:12]}\n" in hosts.read_text()
    assert "127.0.0.11" in (hosts.parent / "resolv.conf").read_text()
    with pytest.raises(NetpyError, match="already exists in network front"):
        lab.containers.connect("front", "web", {})
    lab.containers.disconnect("front", "web", force=False)
    assert "10.9.0.77" not in hosts.read_text()
    assert "127.0.0.11" not in (hosts.parent / "resolv.conf").read_text()
    assert hosts.stat().st_ino == inode
    with pytest.raises(NetpyError, match=f"container {identity} is not connected to network front"):
        lab.containers.disconnect("front", "web", force=False)


def test_connect_before_it_runs(lab: Lab) -> None:
    network(lab, "front", "10.9.0.0/24")
    lab.create("web")
    lab.containers.connect("front", "web", {"IPAMConfig": {"IPv4Address": "10.9.0.77"}})
    with pytest.raises(NetpyError, match=r"10\.9\.0\.77"):
        lab.run("thief", NetworkMode="front", networks={"front": {"IPAMConfig": {"IPv4Address": "10.9.0.77"}}})
    lab.containers.start("web")
    assert [e.address_of(4) for e in lab.containers.endpoints(lab.containers.get("web"))][1] == "10.9.0.77"
    lab.containers.stop("web")
    lab.containers.disconnect("bridge", "web", force=False)
    lab.containers.start("web")
    assert [e.ifname for e in lab.containers.endpoints(lab.containers.get("web"))] == ["eth0"]


def test_an_edited_resolv_conf_is_left_alone(lab: Lab) -> None:
    network(lab, "front")
    identity = lab.run("web")
    home = lab.root / "containers" / identity
    (home / "resolv.conf").write_text("nameserver 9.9.9.9\n")
    (home / "hosts").write_text((home / "hosts").read_text() + "1.2.3.4 mine\n")
    lab.containers.connect("front", "web", {})
    lab.containers.disconnect("front", "web", force=False)
    assert (home / "resolv.conf").read_text() == "nameserver 9.9.9.9\n"
    assert "1.2.3.4 mine\n" in (home / "hosts").read_text()


def test_modes_without_a_network_of_their_own(lab: Lab) -> None:
    network(lab, "front")
    lab.run("host", NetworkMode="host")
    assert (lab.root / "containers" / lab.containers.get("host").id / "hosts").read_text() == "192.0.2.1 machine\n"
    lab.run("none", NetworkMode="none")
    for name, text in [("host", "connected to host network"), ("none", "private \\(none\\) mode")]:
        with pytest.raises(InvalidArgument, match=text):
            lab.containers.connect("front", name, {})
    with pytest.raises(InvalidArgument, match="disconnected from host network"):
        lab.containers.disconnect("host", "host", force=False)


def test_sharing_anothers_network(lab: Lab) -> None:
    network(lab, "front")
    lab.run("web", {"Hostname": "h"}, NetworkMode="front")
    lab.run("side", NetworkMode="container:web")
    side = lab.containers.get("side")
    assert side.host_config["NetworkMode"] == f"container:{lab.containers.get('web').id}"
    assert side.config["Hostname"] == "h"
    assert lab.containers.endpoints(side) == []
    with pytest.raises(InvalidArgument, match="sharing network namespace"):
        lab.containers.connect("front", "side", {})
    lab.containers.stop("side")
    lab.containers.stop("web")
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        lab.containers.start("side")


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    network(lab, "front")
    lab.run("web")
    before = dict(lab.kernel.objects), lab.store.all("container"), lab.store.all("endpoint")
    request: dict[str, Any] = {"config": {"Image": "busybox"}, "host_config": {"NetworkMode": "front"}}
    assert "eth0" in lab.containers.plan(name="new", networks={}, **request)
    assert "eth1" in lab.containers.plan_connect("front", "web", {})
    assert (dict(lab.kernel.objects), lab.store.all("container"), lab.store.all("endpoint")) == before


# ---- streams and execs ----------------------------------------------------------------------------------------------


def read_all(session: Session) -> list[bytes]:
    found: list[bytes] = []
    while (frame := session.read()) is not None:
        found.append(frame.data)
    return found


def test_attaching_before_the_start_loses_nothing(lab: Lab) -> None:
    lab.create("web", {"OpenStdin": True})
    session = lab.containers.attach("web", stdin=True, stdout=True, stderr=False, logs=False, stream=True)
    session.write(b"early ")
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.extend(read_all(session)))
    reader.start()
    lab.containers.start("web")
    session.write(b"late")
    session.close_input()
    reader.join(5)
    assert seen == [b"out\n"]
    assert lab.runtime.sessions[0].written == [b"early ", b"late", b"<end>"]


def test_a_start_that_fails_ends_the_sessions(lab: Lab) -> None:
    lab.create("web")
    session = lab.containers.attach("web", stdin=False, stdout=True, stderr=True, logs=False, stream=True)
    lab.runtime.refuse = StartRefused("executable file not found", 127)
    with pytest.raises(StartRefused):
        lab.containers.start("web")
    assert session.read() is None


def test_exec(lab: Lab) -> None:
    lab.run("web")
    identity = lab.containers.exec_create("web", {"Cmd": ["sh", "-c", "x"], "AttachStdout": True})
    assert lab.containers.exec_inspect(identity)["Running"] is False
    session = lab.containers.exec_start(identity, tty=False, detach=False)
    assert session is not None
    assert session.read() == Frame(1, b"out\n")
    assert lab.containers.exec_inspect(identity)["Running"] is True
    assert lab.containers.exec_ids(lab.containers.get("web")) == [identity]
    lab.containers.exec_resize(identity, 30, 100)
    assert lab.runtime.execs[0].size == (30, 100)
    lab.runtime.execs[0].finish.set()
    assert read_all(session) == [b"err\n"]
    assert lab.containers.exec_inspect(identity)["ExitCode"] == 4
    assert lab.containers.exec_inspect(identity)["ProcessConfig"]["arguments"] == ["-c", "x"]
    with pytest.raises(Conflict):
        lab.containers.exec_start(identity, tty=False, detach=False)
    with pytest.raises(NotFound, match="No such exec instance: nosuch"):
        lab.containers.exec_inspect("nosuch")


def test_exec_failures(lab: Lab) -> None:
    lab.create("web")
    with pytest.raises(Conflict, match="is not running"):
        lab.containers.exec_create("web", {"Cmd": ["x"]})
    lab.containers.start("web")
    with pytest.raises(InvalidArgument, match="No exec command specified"):
        lab.containers.exec_create("web", {})
    identity = lab.containers.exec_create("web", {"Cmd": ["nosuch"]})
    with pytest.raises(StartRefused):
        lab.containers.exec_start(identity, tty=False, detach=False)
    assert lab.containers.exec_inspect(identity)["ExitCode"] == 127


# ---- links ----------------------------------------------------------------------------------------------------------


def test_a_link_can_be_forgotten(lab: Lab) -> None:
    lab.run("db")
    lab.create("web", Links=["db:store", "/db:/web/other"])
    lab.containers.remove_link("web/store")
    assert lab.containers.get("web").host_config["Links"] == ["db:other"]
    for name in ("web/store", "nosuch/other"):
        with pytest.raises(NotFound, match=f"No such container: {name}"):
            lab.containers.remove_link(name)
    with pytest.raises(Conflict, match="cannot remove the default link name"):
        lab.containers.remove_link("web")
