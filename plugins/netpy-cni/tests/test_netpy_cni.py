"""netpy-cni as a container runtime drives it: processes with an environment and a configuration, on the real kernel."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from netpy_cni.chain import Attachment, Chain
from netpy_cni.conflist import parse
from netpy_cni.execution import Executor
from netpy_cni_plugin.install import write

from netpy.kernel import netns

pytestmark = pytest.mark.root
Json = dict[str, Any]
CONF: Json = {"cniVersion": "1.1.0", "name": "lab", "type": "netpy-cni", "subnet": ["10.92.0.0/24", "fd92::/64"]}


class Failed(Exception):
    """The plugin said no: the document, and its code."""

    def __init__(self, said: Json) -> None:
        super().__init__(f"{said.get('code')}: {said.get('msg')} {said.get('details', '')}")
        self.code = said.get("code")


class Runtime:
    """A host in a namespace, containers in others, and the installed plugin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = f"/run/netpy-test/{secrets.token_hex(6)}"
        self.host = f"{self.directory}/host"
        self.plugin = write(path / "bin")
        self.made: list[str] = []
        netns.create(self.host)
        self.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
        self.run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def close(self) -> None:
        for path in (self.host, *self.made):
            netns.delete(path)
        Path(self.directory).rmdir()

    def run(self, *command: str, where: str = "") -> str:
        full = ["nsenter", f"--net={where or self.host}", *command]
        return subprocess.run(full, check=True, capture_output=True, text=True).stdout

    def box(self, name: str) -> str:
        path = f"{self.directory}/{name}"
        if path not in self.made:
            netns.create(path)
            self.made.append(path)
        return path

    def start(self, verb: str, name: str, conf: Json, **environment: str) -> subprocess.Popen[str]:
        known = {name: value for name, value in os.environ.items() if not name.startswith("CNI_")}
        more = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": self.box(name),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
            "NETPY_CNI_STATE": str(self.path / "state"),
        }
        file = self.path / f"conf-{verb}-{name}"
        file.write_text(json.dumps(conf) if conf else "{")
        with file.open() as stdin:
            return subprocess.Popen(
                ["nsenter", f"--net={self.host}", str(self.plugin)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={key: value for key, value in {**known, **more, **environment}.items() if value},
            )

    def call(self, verb: str, name: str = "one", conf: Json | None = None, **environment: str) -> Json:
        process = self.start(verb, name, CONF if conf is None else conf, **environment)
        said, noise = process.communicate()
        assert not noise, noise
        document = json.loads(said) if said.strip() else {}
        if process.returncode:
            raise Failed(document)
        return document

    def gc(self, *valid: str, conf: Json | None = None) -> None:
        named = [{"containerID": name, "ifname": "eth0"} for name in valid]
        self.call("GC", conf={**(conf or CONF), "cni.dev/valid-attachments": named})

    def links(self) -> list[str]:
        found = [each["ifname"] for each in json.loads(self.run("ip", "-j", "link"))]
        return [name for name in found if name not in ("lo", "eth0", "wire")]

    def is_clean(self) -> bool:
        return not self.links() and "10.92." not in self.run("nft", "list", "ruleset")


def with_ports(*ports: Json, **more: Any) -> Json:
    return {**CONF, **more, "runtimeConfig": {"portMappings": list(ports)}}


def port(host: int, **more: Any) -> Json:
    return {"hostPort": host, "containerPort": 80, "protocol": "tcp", **more}


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(tmp_path)
    yield made
    made.close()


def serve(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"hello")


def answered(runtime: Runtime, name: str, address: tuple[str, int]) -> str:
    server = netns.run_in(runtime.box(name), lambda: socket.create_server(("0.0.0.0", 80)))
    with server:
        thread = threading.Thread(target=lambda: serve(server))
        thread.start()
        with netns.run_in(runtime.host, lambda: socket.create_connection(address, timeout=10)) as client:
            said = client.recv(100).decode()
        thread.join()
    return said


def test_the_life_of_two_containers(runtime: Runtime) -> None:
    assert "1.1.0" in runtime.call("VERSION")["supportedVersions"]
    runtime.call("STATUS")
    for number, name in enumerate(("one", "two")):  # the first makes the network, the second goes the quick way
        conf = with_ports(port(8080 + number), port(9080 + number, hostIP="192.0.2.1"))
        said = runtime.call("ADD", name, conf)
        assert [each["address"] for each in said["ips"]] == [f"10.92.0.{number + 2}/24", f"fd92::{number + 2}/64"]
        assert [each["gateway"] for each in said["ips"]] == ["10.92.0.1", "fd92::1"]
        assert said["interfaces"][2]["sandbox"] == runtime.box(name)
        assert said["interfaces"][2]["mac"] == f"02:42:0a:5c:00:0{number + 2}"
        assert {each["dst"] for each in said["routes"]} == {"0.0.0.0/0", "::/0"}
        runtime.call("CHECK", name, {**conf, "prevResult": said})
        assert answered(runtime, name, ("192.0.2.1", 8080 + number)) == "hello"
        assert answered(runtime, name, ("192.0.2.1", 9080 + number)) == "hello"
    runtime.run("ping", "-c1", "-W5", "10.92.0.3", where=runtime.box("one"))
    runtime.call("STATUS")
    for name in ("one", "two", "two"):
        runtime.call("DEL", name)
    assert "10.92.0.2" not in runtime.run("nft", "list", "ruleset")
    assert runtime.run("ip", "-br", "link", where=runtime.box("two")).startswith("lo")
    runtime.gc()
    assert runtime.is_clean()


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "1.0.0"])
def test_results_in_the_version_asked_for(runtime: Runtime, version: str) -> None:
    said = runtime.call("ADD", conf={**CONF, "cniVersion": version})
    assert said["cniVersion"] == version
    if version == "0.2.0":
        assert said["ip4"]["ip"] == "10.92.0.2/24"
        assert said["ip4"]["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.92.0.1"}]
    else:
        assert ("version" in said["ips"][0]) == (version < "1.0.0")
        assert "mtu" not in said["interfaces"][2]


def test_twenty_at_once(runtime: Runtime) -> None:
    names = [f"box{number}" for number in range(20)]
    for name in names:
        runtime.box(name)
    confs = {name: with_ports(port(8100 + number)) for number, name in enumerate(names)}
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(lambda name: runtime.call("ADD", name, confs[name]), names))
    assert len({each["ips"][0]["address"] for each in said}) == 20
    for name in names[::7]:
        runtime.call("CHECK", name, confs[name])
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda name: runtime.call("DEL", name, confs[name]), names))
    runtime.gc()
    assert runtime.is_clean()


def killed(runtime: Runtime, verb: str, seconds: float, conf: Json) -> None:
    process = runtime.start(verb, "one", conf)
    with process, suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
    process.kill()


def test_killed_at_any_moment_nothing_stays(runtime: Runtime) -> None:
    conf = with_ports(port(8080))
    for number in range(1, 13):
        killed(runtime, "ADD", number * (0.03 if number > 6 else 0.1), conf)
        if number % 3 == 0:
            runtime.call("DEL", conf=conf)
            runtime.call("ADD", conf=conf)
            runtime.call("CHECK", conf=conf)
            killed(runtime, "DEL", number * 0.01, conf)
        runtime.gc(conf=conf)
        assert runtime.is_clean(), number
        assert "eth0" not in runtime.run("ip", "-br", "link", where=runtime.box("one"))


def test_gc_keeps_what_is_valid_and_finds_what_is_nobodys(runtime: Runtime) -> None:
    for name in ("one", "two", "three"):
        runtime.call("ADD", name, with_ports(port(8000 + len(name)))) if name != "two" else runtime.call("ADD", name)
    runtime.gc("two")
    runtime.call("CHECK", "two")
    with pytest.raises(Failed) as caught:
        runtime.call("CHECK", "one")
    assert caught.value.code == 3
    shutil.rmtree(runtime.path / "state")  # the memory is lost: what bears our mark is found nevertheless
    runtime.gc()
    assert runtime.is_clean()


def test_check_says_what_is_wrong(runtime: Runtime) -> None:
    runtime.call("ADD", conf=with_ports(port(8080)))
    runtime.run("ip", "addr", "del", "10.92.0.2/24", "dev", "eth0", where=runtime.box("one"))
    runtime.run("nft", "flush", "map", "inet", "netpy-cni", "port4")
    with pytest.raises(Failed, match=r"104: .*10\.92\.0\.2/24") as caught:
        runtime.call("CHECK")
    assert "8080" in str(caught.value)
    with pytest.raises(Failed, match=r"7: prevResult has the addresses 10.1.1.1/24"):
        runtime.call("CHECK", conf={**CONF, "prevResult": {"ips": [{"address": "10.1.1.1/24"}]}})
    runtime.call("DEL")
    assert "10.92.0.2" not in runtime.run("nft", "list", "ruleset")


def test_what_somebody_destroyed_is_mended_by_the_next_add(runtime: Runtime) -> None:
    said = runtime.call("ADD")
    runtime.run("nft", "flush", "ruleset")
    runtime.run("ip", "link", "del", said["interfaces"][0]["name"])
    with pytest.raises(Failed, match="51: network lab is damaged: its 1 attachments"):
        runtime.call("STATUS")
    runtime.call("ADD", "two", with_ports(port(8080)))
    runtime.call("CHECK", "two", with_ports(port(8080)))
    assert answered(runtime, "two", ("192.0.2.1", 8080)) == "hello"


def test_status_tells_the_truth(runtime: Runtime) -> None:
    small = {**CONF, "subnet": "10.92.0.0/30"}
    runtime.call("STATUS", conf=small)
    runtime.call("ADD", conf=small)
    with pytest.raises(Failed, match="50: network lab has no free IPv4 address: 1 are given"):
        runtime.call("STATUS", conf=small)
    with pytest.raises(Failed, match="101: no free address in network lab"):
        runtime.call("ADD", "two", small)
    with pytest.raises(Failed, match=r"50: network other cannot be made: .*overlaps"):
        runtime.call("STATUS", conf={**small, "name": "other"})
    with pytest.raises(Failed, match="50: netpy-cni is not available: cannot open the store"):
        runtime.call("STATUS", conf=small, NETPY_CNI_STATE="/proc/nowhere")


def test_refusals(runtime: Runtime) -> None:
    runtime.call("ADD", conf=with_ports(port(8080)))
    holder = netns.run_in(runtime.host, lambda: socket.create_server(("0.0.0.0", 8090)))
    cases: list[tuple[int, str, Json, dict[str, str]]] = [
        (7, "has the interface eth0 in network lab already", CONF, {"name": "one"}),
        (8, "is no network namespace", CONF, {"CNI_NETNS": "/nowhere"}),
        (4, r"required env variables \[CNI_NETNS\] missing", CONF, {"CNI_NETNS": ""}),
        (4, "invalid CNI_IFNAME", CONF, {"CNI_IFNAME": "a/b"}),
        (102, "host port 0.0.0.0:8080/tcp is already allocated", with_ports(port(8080)), {}),
        (102, "failed to bind host port 0.0.0.0:8090/tcp", with_ports(port(8090)), {}),
        (7, "invalid port mapping", with_ports(port(70000)), {}),
        (2, "unsupported runtimeConfig: bandwidth", {**CONF, "runtimeConfig": {"bandwidth": {"ingressRate": 1}}}, {}),
        (2, "unsupported field vlan", {**CONF, "vlan": 7}, {}),
        (7, "is not that of its 1 attachments", {**CONF, "subnet": "10.93.0.0/24"}, {}),
        (7, "is not in network lab", {**CONF, "runtimeConfig": {"ips": ["10.1.1.1/24"]}}, {}),
        (102, "address already in use: 10.92.0.2", {**CONF, "runtimeConfig": {"ips": ["10.92.0.2/24"]}}, {}),
        (1, "incompatible CNI versions: 7.0.0", {**CONF, "cniVersion": "7.0.0"}, {}),
        (7, "invalid network name", {**CONF, "name": "../x"}, {}),
        (6, "is no JSON", {}, {}),
    ]
    with holder:
        for code, words, conf, environment in cases:
            name = environment.pop("name", "two")
            with pytest.raises(Failed, match=words) as caught:
                runtime.call("ADD", name, conf, **environment)
            assert caught.value.code == code, caught.value
    runtime.call("CHECK", conf=with_ports(port(8080)))
    assert "eth0" not in runtime.run("ip", "-br", "link", where=runtime.box("two"))
    runtime.gc("one")
    assert len([name for name in runtime.links() if name.startswith("veth")]) == 1


def test_what_is_asked_for_is_given(runtime: Runtime) -> None:
    asked = {"ips": ["10.92.0.77/24"], "mac": "02:11:22:33:44:55", "dns": {"servers": ["9.9.9.9"], "searches": ["a.b"]}}
    said = runtime.call("ADD", conf={**CONF, "runtimeConfig": asked})
    assert said["ips"][0]["address"] == "10.92.0.77/24"
    assert said["interfaces"][2]["mac"] == "02:11:22:33:44:55"
    assert said["dns"] == {"nameservers": ["9.9.9.9"], "search": ["a.b"]}
    runtime.call("CHECK")


def test_del_without_a_namespace(runtime: Runtime) -> None:
    for name in ("one", "two"):
        runtime.call("ADD", name, with_ports(port(8000 + len(name) + ord(name[0]))))
    netns.delete(runtime.box("two"))
    runtime.call("DEL", "two")
    runtime.call("DEL", "one", CNI_NETNS="/nowhere")
    runtime.call("DEL", "never")
    runtime.gc()
    assert runtime.is_clean()


def test_addresses_of_host_local(runtime: Runtime) -> None:
    if not Path("/usr/lib/cni/host-local").exists():
        pytest.skip("needs Debian's containernetworking-plugins")
    leases = runtime.path / "leases"
    ipam = {"type": "host-local", "subnet": "10.92.7.0/24", "routes": [{"dst": "0.0.0.0/0"}], "dataDir": str(leases)}
    conf = {"cniVersion": "1.0.0", "name": "delegated", "type": "netpy-cni", "ipam": ipam}
    for name, address in (("one", "10.92.7.2/24"), ("two", "10.92.7.3/24")):
        said = runtime.call("ADD", name, conf)
        assert said["ips"] == [{"interface": 2, "address": address, "gateway": "10.92.7.1"}]
        runtime.call("CHECK", name, {**conf, "prevResult": said})
    assert len(list(leases.glob("*/10.*"))) == 2
    for name in ("one", "two"):
        runtime.call("DEL", name, conf)
    assert not list(leases.glob("*/10.*"))
    with pytest.raises(Failed, match="ipam plugin nonesuch not found"):
        runtime.call("ADD", conf={**conf, "name": "x", "ipam": {"type": "nonesuch"}})


def test_under_netpy_as_the_runtime(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETPY_CNI_STATE", str(runtime.path / "state"))
    plugin = {"type": "netpy-cni", "subnet": "10.92.0.0/24", "capabilities": {"portMappings": True}}
    conflist = parse({"cniVersion": "1.1.0", "name": "lab", "plugins": [plugin]}, "test")
    chain = Chain(conflist=conflist, executor=Executor(directories=(runtime.plugin.parent,)))
    wanted = {"portMappings": [port(8080)]}
    attachment = Attachment(container="one", netns=runtime.box("one"), ifname="eth0", wanted=wanted)

    def play() -> None:
        chain.negotiate()
        assert chain.status() == []
        result = chain.add(attachment)
        assert chain.check(attachment, result) == []
        assert chain.collect([("one", "eth0")]) == []
        assert chain.delete(attachment, result) == []
        assert chain.collect([]) == []

    netns.run_in(runtime.host, play)
    assert runtime.is_clean()
