"""The driver `cni` without root: its contract, the verbs that plugins see, and plugins that misbehave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from netpy_cni import conflist, results
from netpy_cni.driver import CniDriver

from netpy.drivers import Defaults, Driver
from netpy.errors import DriverError, InvalidArgument, NetpyError, NotFound, Unsupported
from netpy.model import Endpoint, EndpointSpec, Network, NetworkSpec, PortBinding, Sandbox
from netpy.testing import DriverContract

SCRIPT = Path(__file__).with_name("plugin.py")


class Lab:
    """A directory with plugins that are all the same script, and a configuration for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal"
        (path / "bin").mkdir(exist_ok=True)
        for name in ("one", "two"):
            link = path / "bin" / name
            if not link.exists():
                link.symlink_to(SCRIPT)

    def write(self, *plugins: dict[str, Any], **more: Any) -> Path:
        made = [
            {"type": kind, "journal": str(self.journal), **each}
            for kind, each in zip(("one", "two"), plugins, strict=False)
        ]
        body = {"cniVersion": "1.1.0", "name": "lab", "plugins": made, **more}
        file = self.path / "lab.conflist"
        file.write_text(json.dumps(body))
        return file

    def network(self, file: Path, **options: str) -> Network:
        given = {"conflist": str(file), "bin-dir": str(self.path / "bin"), "timeout": "2", **options}
        return Network(id="ab" * 32, spec=NetworkSpec(name="lab", driver="cni", options=given))

    def made(self, file: Path) -> Network:
        network = self.network(file)
        return replace(network, facts=dict(DRIVER.acquire_network(network)))

    def calls(self) -> list[tuple[str, str]]:
        return [(each["verb"], each["conf"]["type"]) for each in self.entries() if each["verb"] != "VERSION"]

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []


DRIVER = CniDriver(Defaults())


def plug(**more: Any) -> Endpoint:
    spec = EndpointSpec(name="box", **more.pop("spec", {}))
    sandbox = Sandbox(id="cd" * 32, netns="/run/netns/lab")
    return Endpoint(id="ef" * 32, network_id="ab" * 32, sandbox=sandbox, spec=spec, ifname="eth0", **more)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


class TestContract(DriverContract):
    @pytest.fixture(autouse=True)
    def _lab(self, tmp_path: Path) -> None:
        self.lab = Lab(tmp_path)
        self.file = self.lab.write({})

    def driver(self) -> Driver:
        return CniDriver(Defaults())

    def spec(self) -> NetworkSpec:
        return self.lab.network(self.file).spec


def test_plugins_run_forward_and_backward_with_the_right_results(lab: Lab) -> None:
    network = lab.made(lab.write({}, {"capabilities": {"portMappings": True}}))
    endpoint = plug(ports=(PortBinding(container_port=80, host_port=8080, host_ip="0.0.0.0"),))
    got = DRIVER.acquire(network, endpoint)
    assert got.addresses == ("10.99.0.7/24",)
    assert got.routers == ("10.99.0.1",)
    assert (got.dns, got.search) == (("10.99.0.53",), ("example.test",))
    active = replace(endpoint, facts=dict(got.facts), mac=got.mac)
    assert DRIVER.check(network, [active]) == []
    DRIVER.collect(network, [active])
    DRIVER.release(network, active)
    verbs = ["STATUS", "ADD", "STATUS", "CHECK", "GC"]
    forward = [(verb, kind) for verb in verbs for kind in ("one", "two")]
    assert lab.calls() == [*forward, ("DEL", "two"), ("DEL", "one")]
    by_call = {(each["verb"], each["conf"]["type"]): each for each in lab.entries()}
    assert "prevResult" not in by_call["ADD", "one"]["conf"]
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    assert by_call["ADD", "two"]["conf"]["runtimeConfig"] == {"portMappings": [mapping]}
    assert "runtimeConfig" not in by_call["ADD", "one"]["conf"]
    assert "capabilities" not in by_call["ADD", "two"]["conf"]
    for call in (("ADD", "two"), ("CHECK", "one"), ("DEL", "one"), ("DEL", "two")):
        assert by_call[call]["conf"]["prevResult"]["ips"][0]["address"] == "10.99.0.7/24"
    valid = by_call["GC", "one"]["conf"]["cni.dev/valid-attachments"]
    assert valid == [{"containerID": "cd" * 32, "ifname": "eth0"}]
    assert by_call["DEL", "one"]["env"]["CNI_CONTAINERID"] == "cd" * 32


def test_an_older_list_is_asked_only_what_it_knows(lab: Lab) -> None:
    network = lab.made(lab.write({}, cniVersion="0.3.1"))
    endpoint = plug()
    got = DRIVER.acquire(network, endpoint)
    active = replace(endpoint, facts=dict(got.facts))
    DRIVER.check(network, [active])
    DRIVER.collect(network, [active])
    DRIVER.release(network, active)
    assert lab.calls() == [("ADD", "one"), ("DEL", "one")]
    assert "prevResult" not in lab.entries()[-1]["conf"]
    assert got.addresses == ("10.99.0.7/24",)


def test_check_and_gc_can_be_switched_off(lab: Lab) -> None:
    network = lab.made(lab.write({}, disableCheck=True, disableGC=True))
    got = DRIVER.acquire(network, plug())
    active = replace(plug(), facts=dict(got.facts))
    DRIVER.check(network, [active])
    DRIVER.collect(network, [active])
    assert not {"CHECK", "GC"} & {verb for verb, _ in lab.calls()}


def test_the_highest_common_version_is_spoken(lab: Lab) -> None:
    file = lab.write({}, cniVersion="0.3.1", cniVersions=["0.3.1", "1.0.0", "9.0.0"])
    assert conflist.load(file).version == "1.0.0"


def test_plugins_beside_the_list_belong_to_it_unless_it_says_otherwise(lab: Lab) -> None:
    file = lab.write({})
    (lab.path / "lab").mkdir()
    (lab.path / "lab" / "10-more.conf").write_text('{"type": "two"}')
    assert [each["type"] for each in conflist.load(file).plugins] == ["one", "two"]
    assert len(conflist.load(lab.write({}, loadOnlyInlinedPlugins=True)).plugins) == 1


def test_a_network_is_found_by_the_name_that_it_states(lab: Lab) -> None:
    lab.write({})
    (lab.path / "00-broken.conf").write_text("{")
    assert conflist.find("lab", [lab.path]).name == "lab.conflist"
    with pytest.raises(NotFound, match=r"no CNI network nope in .*: there is lab"):
        conflist.find("nope", [lab.path])


FAULTS = {
    "garbage": "plugin two: ADD: printed what is no JSON object: Segmentation fault",
    "nothing": "plugin two: ADD: exited with success and printed no result",
    "odd": "plugin two: ADD: printed a document that is no result",
    "error": r"plugin two: ADD: try again: in ADD \(code 11\)",
    "crash": "plugin two: ADD: signal 9: panic",
    "hang": "plugin two: ADD: no answer within 1 s: killed",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plugin_that_fails_is_named_and_all_are_taken_down(lab: Lab, fault: str) -> None:
    network = lab.made(lab.write({}, {"faults": {"ADD": fault}}))
    network = replace(network, spec=lab.network(lab.path / "lab.conflist", timeout="1").spec)
    with pytest.raises(DriverError, match=FAULTS[fault]):
        DRIVER.acquire(network, plug())
    assert lab.calls()[-2:] == [("DEL", "two"), ("DEL", "one")]


def test_del_goes_on_after_a_failure(lab: Lab) -> None:
    network = lab.made(lab.write({}, {"faults": {"DEL": "error"}}))
    got = DRIVER.acquire(network, plug())
    with pytest.raises(DriverError, match="plugin two: DEL: try again"):
        DRIVER.release(network, replace(plug(), facts=dict(got.facts)))
    assert lab.calls()[-1] == ("DEL", "one")


BROKEN: list[tuple[dict[str, Any], type[NetpyError], str]] = [
    ({"cniVersion": "2.0.0"}, InvalidArgument, "cniVersion: the list states 2.0.0, netpy speaks 0.3.0"),
    ({"cniVersion": ""}, InvalidArgument, "states no version"),
    ({"name": "../etc"}, InvalidArgument, "is no CNI network name"),
    ({"plugins": []}, InvalidArgument, "no plugins in list lab"),
    ({"plugins": "one"}, InvalidArgument, "is not a list"),
    ({"plugins": [{"type": "../../bin/sh"}]}, InvalidArgument, "does not name a plugin"),
    ({"plugins": [{"type": "one", "runtimeConfig": {}}]}, InvalidArgument, "runtimeConfig is the runtime's"),
    ({"plugins": [{"type": "absent"}]}, NotFound, "CNI plugin absent is in none of"),
    ({"plugins": [{"type": "one", "speaks": ["9"]}]}, Unsupported, ""),
    ({"disableGC": "yes"}, InvalidArgument, "disableGC must be true or false"),
]


@pytest.mark.parametrize(("change", "kind", "words"), BROKEN[:8] + BROKEN[9:])
def test_a_broken_configuration_is_refused_when_the_network_is_made(
    lab: Lab, change: dict[str, Any], kind: type[NetpyError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        lab.made(lab.write({}, **change))


def test_invalid_json_names_the_file(lab: Lab) -> None:
    file = lab.write({})
    file.write_text('{"name": "lab",')
    with pytest.raises(InvalidArgument, match=r"lab\.conflist: invalid JSON"):
        lab.made(file)


def test_status_is_asked_when_the_network_is_made(lab: Lab) -> None:
    with pytest.raises(DriverError, match="plugin one: STATUS: try again"):
        lab.made(lab.write({"faults": {"STATUS": "error"}}))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ports": (PortBinding(container_port=80, host_port=80),)}, "published ports"),
        ({"spec": {"mac": "02:42:00:00:00:01"}}, "a stated MAC address"),
        ({"spec": {"addresses": ("10.99.0.9",)}}, "a stated address"),
        ({"spec": {"options": {"cni.ingress-rate": "1000"}}}, "bandwidth limits"),
    ],
)
def test_what_no_plugin_takes_is_refused(lab: Lab, more: dict[str, Any], words: str) -> None:
    network = lab.made(lab.write({}))
    with pytest.raises(InvalidArgument, match=f"takes no {words}: none of its plugins declares"):
        DRIVER.acquire(network, plug(**more))


def test_an_address_that_was_asked_for_has_to_be_given(lab: Lab) -> None:
    network = lab.made(lab.write({"capabilities": {"ips": True}}))
    with pytest.raises(DriverError, match=r"gave 10.99.0.7/24, not 10.99.0.9 as asked"):
        DRIVER.acquire(network, plug(spec={"addresses": ("10.99.0.9",)}))
    assert lab.calls()[-1] == ("DEL", "one")


@pytest.mark.parametrize("options", [{}, {"conflist": "/a", "config": "b"}, {"conflist": "relative"}])
def test_the_configuration_has_to_be_named_once(options: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        DRIVER.normalise(NetworkSpec(name="x", driver="cni", options=options))


def test_results_of_every_version() -> None:
    old = {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]}}
    assert results.outcome(old, "/n", "eth0").routers == ("10.0.0.1",)
    new = {
        "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/n", "mac": "AA:BB:CC:00:00:01"}],
        "ips": [{"address": "10.0.0.2/24", "interface": 1}, {"address": "fd00::2/64", "interface": 1}],
        "routes": [{"dst": "::/0", "gw": "fd00::1"}, {"dst": "10.9.0.0/16", "table": 7}],
    }
    made = results.outcome(new, "/n", "eth0")
    assert made.addresses == ("10.0.0.2/24", "fd00::2/64")
    assert made.routes == (("::/0", "fd00::1"),)
    assert made.mac == "aa:bb:cc:00:00:01"
    with pytest.raises(results.BadResult, match="eth0 of the sandbox is not among br0"):
        results.outcome({**new, "interfaces": new["interfaces"][:1]}, "/n", "eth0")
    with pytest.raises(results.BadResult, match="cannot be read"):
        results.outcome({"ips": [{"address": "nonsense"}]}, "/n", "eth0")
