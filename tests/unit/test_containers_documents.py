"""From Docker's documents to records: merging, ports, mounts, networks, names."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from engine.containers import merging, naming, networking, ports, pruning, streaming
from engine.containers.ending import seconds_between, signal_number
from engine.containers.networking import Owner
from engine.model import NEVER
from netpy.errors import Conflict, InvalidArgument, NotFound
from netpy.model import Network, NetworkSpec, PortBinding

ID = "ab" * 32
DEFAULTS = merging.Defaults()
Json = dict[str, Any]
NETWORKS = {
    "bridge": Network(id="b" * 64, spec=NetworkSpec(name="bridge"), predefined=True),
    "host": Network(id="h" * 64, spec=NetworkSpec(name="host", driver="host"), predefined=True),
    "none": Network(id="0" * 64, spec=NetworkSpec(name="none", driver="null"), predefined=True),
    "front": Network(id="f" * 64, spec=NetworkSpec(name="front")),
    "back": Network(id="c" * 64, spec=NetworkSpec(name="back")),
}


def lookup(reference: str) -> Network:
    found = next((n for n in NETWORKS.values() if reference in (n.name, n.id)), None)
    if found is None:
        raise NotFound(f"network {reference} not found")
    return found


def owner(mode: str = "bridge", config: Json | None = None, **host: Any) -> Owner:
    host_config = {"NetworkMode": mode} | host
    return Owner(id=ID, name="web", config={"Hostname": ID[:12]} | (config or {}), host_config=host_config)


# ---- the image's configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [
        ({}, {"Cmd": ["sh"]}, ["sh"]),
        ({"Cmd": ["ls"]}, {"Cmd": ["sh"]}, ["ls"]),
        ({}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/e", "c"]),
        ({"Cmd": ["x"]}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/e", "x"]),
        ({"Entrypoint": ["/mine"]}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/mine"]),
        ({"Entrypoint": ["/mine"], "Cmd": ["a"]}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["/mine", "a"]),
        ({"Entrypoint": [""], "Cmd": ["a"]}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ["a"]),
        ({"Entrypoint": [], "Cmd": ["a"]}, {"Entrypoint": ["/e"]}, ["a"]),
        ({"Entrypoint": "sh", "Cmd": "x"}, {}, ["sh", "x"]),
    ],
)
def test_entrypoint_and_command(asked: Json, image: Json, expected: list[str]) -> None:
    assert merging.command(merging.config(asked, image, ID)) == expected


@pytest.mark.parametrize(("asked", "image"), [({}, {}), ({"Entrypoint": [""]}, {"Entrypoint": ["/e"], "Cmd": ["c"]})])
def test_no_command(asked: Json, image: Json) -> None:
    with pytest.raises(InvalidArgument, match=r"^no command specified$"):
        merging.config(asked, image, ID)


def test_the_image_fills_gaps_and_the_request_wins() -> None:
    merged = merging.config(
        {
            "Cmd": ["x"],
            "Env": ["A=1", "B=2"],
            "Labels": {"k": "mine"},
            "ExposedPorts": {"80/tcp": {}},
            "User": "",
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 0},
        },
        {
            "Env": ["PATH=/bin", "A=0"],
            "Labels": {"k": "its", "l": "v"},
            "ExposedPorts": {"53/udp": {}},
            "User": "app",
            "WorkingDir": "/srv",
            "StopSignal": "SIGINT",
            "Volumes": {"/data": {}},
            "Healthcheck": {"Test": ["CMD", "false"], "Interval": 5},
        },
        ID,
    )
    assert merged["Env"] == ["A=1", "B=2", "PATH=/bin"]
    assert merged["Labels"] == {"k": "mine", "l": "v"}
    assert set(merged["ExposedPorts"]) == {"80/tcp", "53/udp"}
    assert (merged["User"], merged["WorkingDir"], merged["StopSignal"]) == ("app", "/srv", "SIGINT")
    assert merged["Volumes"] == {"/data": {}}
    assert merged["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 5}
    assert merged["Hostname"] == ID[:12]


@pytest.mark.parametrize(
    ("asked", "match"), [({"Env": ["=x"]}, "environment"), ({"WorkingDir": "tmp"}, "absolute path")]
)
def test_bad_configurations(asked: Json, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        merging.config({"Cmd": ["x"]} | asked, {}, ID)


def test_host_config_has_dockers_defaults() -> None:
    merged = merging.host_config({"NetworkMode": "default", "MemorySwappiness": -1, "PidsLimit": 0}, DEFAULTS)
    assert merged["NetworkMode"] == "bridge"
    assert merged["ShmSize"] == 67108864
    assert merged["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert merged["PidsLimit"] is None and merged["MemorySwappiness"] is None
    assert merged["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert "/proc/kcore" in merged["MaskedPaths"]
    assert merging.host_config({"Privileged": True}, DEFAULTS)["MaskedPaths"] is None
    assert merging.host_config({"SomethingNew": 7}, DEFAULTS)["SomethingNew"] == 7


def test_auto_remove_and_restart_exclude_each_other() -> None:
    with pytest.raises(Conflict, match="can't create 'AutoRemove' container with restart policy"):
        merging.host_config({"AutoRemove": True, "RestartPolicy": {"Name": "always"}}, DEFAULTS)


# ---- ports --------------------------------------------------------------------------------------------------------


def port(number: int, host: int = 0, **more: Any) -> PortBinding:
    return PortBinding(container_port=number, host_port=host, **more)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"80/tcp": [{"HostIp": "", "HostPort": "8800"}]}, [port(80, 8800)]),
        ({"80": [{}]}, [port(80)]),
        ({"80/tcp": []}, []),
        ({"80/tcp": None}, []),
        (
            {"53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}]},
            [port(53, 5353, protocol="udp", host_ip="127.0.0.1")],
        ),
        ({"80/tcp": [{"HostPort": "8000-8010"}]}, [port(80, 8000, host_port_end=8010)]),
        ({"80/tcp": [{"HostIp": "[::1]", "HostPort": "1"}]}, [port(80, 1, host_ip="::1")]),
        ({"80-81/tcp": [{"HostPort": "90-91"}]}, [port(80, 90), port(81, 91)]),
    ],
)
def test_port_bindings(asked: Json, expected: list[PortBinding]) -> None:
    assert list(ports.bindings({}, {"PortBindings": asked})) == expected


def test_fixed_ports_come_before_ranges() -> None:
    asked = {"1/tcp": [{"HostPort": "8000-8010"}], "2/tcp": [{"HostPort": "8005"}]}
    assert [b.container_port for b in ports.bindings({}, {"PortBindings": asked})] == [2, 1]


def test_publish_all_leaves_alone_what_is_bound() -> None:
    found = ports.bindings(
        {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "100-101/udp": {}}},
        {"PublishAllPorts": True, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
    )
    assert {(b.container_port, b.protocol, b.host_port) for b in found} == {
        (80, "tcp", 8080),
        (443, "tcp", 0),
        (100, "udp", 0),
        (101, "udp", 0),
    }


@pytest.mark.parametrize(
    "asked",
    [
        {"99999/tcp": [{}]},
        {"0/tcp": [{}]},
        {"80/icmp": [{}]},
        {"http": [{}]},
        {"80/tcp": [{"HostPort": "x"}]},
        {"80/tcp": [{"HostPort": "70000"}]},
        {"80/tcp": [{"HostPort": "20-10"}]},
        {"80/tcp": [{"HostIp": "here"}]},
        {"80-82/tcp": [{"HostPort": "90-91"}]},
    ],
)
def test_bad_ports(asked: Json) -> None:
    with pytest.raises(InvalidArgument, match="invalid"):
        ports.bindings({}, {"PortBindings": asked})


# ---- networks -----------------------------------------------------------------------------------------------------


def test_the_first_network_is_that_of_the_mode_and_the_order_is_kept() -> None:
    found = networking.attachments(owner("front"), {"back": None, "front": {"Aliases": ["search"]}}, lookup)
    assert [a.network for a in found] == ["front", "back"]
    assert found[0].spec.aliases == ("search",)
    assert found[0].spec.names == ("web", "search", ID[:12])


def test_default_means_bridge_and_names_may_be_ids() -> None:
    assert [a.network for a in networking.attachments(owner(), {"default": {}}, lookup)] == ["bridge"]
    assert [a.network for a in networking.attachments(owner("f" * 64), {"f" * 64: {}}, lookup)] == ["front"]


def test_what_settings_become() -> None:
    settings = {
        "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "FD00::9"},
        "Links": ["db:sql"],
        "Aliases": ["a", "a"],
        "MacAddress": "02-42-AC-11-00-02",
        "DriverOpts": {"o": "v"},
        "GwPriority": 7,
    }
    bound = {"PortBindings": {"80/tcp": [{"HostPort": "8800"}]}}
    (found,) = networking.attachments(owner("front", {"Hostname": "h1"}, **bound), {"front": settings}, lookup)
    spec = found.spec
    assert spec.addresses == ("10.0.0.9", "fd00::9")
    assert spec.links == {"sql": "db"}
    assert (spec.mac, spec.options, spec.gateway_priority) == ("02:42:ac:11:00:02", {"o": "v"}, 7)
    assert spec.names == ("web", "a", ID[:12], "h1")
    assert spec.ports == (port(80, 8800),)
    assert found.settings["Aliases"] == ["a", "a"]


def test_special_modes_have_no_ports_and_containers_no_networks() -> None:
    bound = {"PortBindings": {"80/tcp": [{"HostPort": "8800"}]}}
    (host,) = networking.attachments(owner("host", **bound), {"host": {}}, lookup)
    assert host.spec.ports == ()
    assert networking.attachments(owner(f"container:{ID}"), {}, lookup) == ()


def test_a_mac_of_the_old_kind_goes_to_the_first_network() -> None:
    old = owner("front", {"MacAddress": "02:00:00:00:00:01"})
    first, second = networking.attachments(old, {"back": {}}, lookup)
    assert (first.spec.mac, second.spec.mac) == ("02:00:00:00:00:01", "")


@pytest.mark.parametrize(
    ("mode", "endpoints", "kind", "match"),
    [
        ("nosuch", {}, NotFound, "network nosuch not found"),
        ("bridge", {"bridge": {"Aliases": ["x"]}}, InvalidArgument, "network-scoped alias is supported only for"),
        (
            "bridge",
            {"bridge": {"IPAMConfig": {"IPv4Address": "1.2.3.4"}}},
            InvalidArgument,
            "user defined networks only",
        ),
        ("front", {"front": {"IPAMConfig": {"IPv4Address": "1.2.3"}}}, InvalidArgument, "invalid IPv4 address: 1.2.3"),
        ("front", {"front": {"IPAMConfig": {"IPv6Address": "1.2.3.4"}}}, InvalidArgument, "invalid IPv6 address"),
        ("front", {"front": {"MacAddress": "02:00"}}, InvalidArgument, "invalid MAC address: 02:00"),
        ("front", {"front": {"MacAddress": "01:00:00:00:00:01"}}, InvalidArgument, "multicast"),
        ("front", {"front": {"Links": [":x"]}}, InvalidArgument, "bad format for links"),
        ("front", {"host": {}}, InvalidArgument, "connected to host network"),
        ("none", {"front": {}}, InvalidArgument, "private \\(none\\) mode"),
        ("container:x", {"front": {}}, InvalidArgument, "sharing network namespace"),
    ],
)
def test_refused_networks(mode: str, endpoints: Json, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        networking.attachments(owner(mode), endpoints, lookup)


@pytest.mark.parametrize(
    ("config", "host", "text"),
    [
        ({}, {"PortBindings": {"80/tcp": [{}]}}, "port publishing and the container type network mode"),
        ({"ExposedPorts": {"80/tcp": {}}}, {}, "port exposing and the container type network mode"),
        ({"Hostname": "x"}, {}, "hostname and the network mode"),
        ({}, {"Dns": ["1.1.1.1"]}, "dns and the network mode"),
        ({}, {"ExtraHosts": ["a:1.1.1.1"]}, "custom host-to-IP mapping and the network mode"),
        ({"MacAddress": "02:00:00:00:00:01"}, {}, "mac-address and the network mode"),
        ({}, {"Links": ["a:b"]}, "container type network can't be used with links"),
    ],
)
def test_conflicting_options(config: Json, host: Json, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"conflicting options: {text}"):
        networking.check_options(config, {"NetworkMode": "container:x"} | host)


def test_ports_of_host_mode_are_discarded_with_a_warning() -> None:
    warnings = networking.check_options({}, {"NetworkMode": "host", "PortBindings": {"80/tcp": [{}]}})
    assert warnings == ["Published ports are discarded when using host network mode"]
    assert networking.check_options({}, {"NetworkMode": "bridge"}) == []


# ---- names, signals, times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x", "-a", "a b", "ä", "a/b", "//ab"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\] are allowed"):
        naming.check(name)


def test_invented_names_avoid_the_taken_ones() -> None:
    picks = itertools.cycle([0, 0, 1, 1])
    taken: set[str] = set()

    def pick(words: list[str]) -> str:
        return words[next(picks)]

    for _ in range(3):
        name = naming.invent(pick, lambda candidate: candidate not in taken)
        assert naming.check(name) == name
        assert name not in taken
        taken.add(name)
    with pytest.raises(Conflict, match="no free name"):
        naming.invent(pick, lambda candidate: False)


@pytest.mark.parametrize(("text", "number"), [("KILL", 9), ("sigterm", 15), ("2", 2), ("RTMIN+3", 37)])
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "0", "99", "_DFL", "RTMIN+x"])
def test_bad_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(f"Invalid signal: {text}")):
        signal_number(text)


def test_seconds_between_moments() -> None:
    assert seconds_between("2026-01-01T00:00:00.500000000Z", "2026-01-01T00:00:02.000000000Z") == 1.5
    assert seconds_between(NEVER, "2026-01-01T00:00:02.000000000Z") == 0


def test_top_shows_the_processes_inside() -> None:
    text = "UID   PID  PPID CMD\nroot    1     0 init\nroot   42     1 sh -c 'a b'\n"
    assert streaming.processes(text, {42}) == {
        "Titles": ["UID", "PID", "PPID", "CMD"],
        "Processes": [["root", "42", "1", "sh -c 'a b'"]],
    }


def test_prune_refuses_unknown_filters() -> None:
    pruning.check({"label": ["a"], "until": ["1h"]})
    with pytest.raises(InvalidArgument, match="invalid filter 'colour'"):
        pruning.check({"colour": ["red"]})
