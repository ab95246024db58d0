"""The routes by noun: what they ask of the daemon and what they answer, through the router and the client."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.client import ApiError, Client
from netpy.model import SubnetSpec
from tests.unit.fake_daemon import IMAGE, FakeDaemon, served


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    return FakeDaemon(tmp_path)


@pytest.fixture
def client(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Client]:
    with served(daemon, tmp_path / "s") as host:
        client = Client(host)
        yield client
        client.close()


def ask(client: Client, method: str, path: str, body: Any = None, **query: object) -> Any:
    with client.request(method, path, query, body) as response:
        return response.json()


def status(client: Client, method: str, path: str, body: Any = None, **query: object) -> tuple[int, str]:
    try:
        with client.request(method, path, query, body) as response:
            return response.status, response.read().decode()
    except ApiError as error:
        return error.status, error.message


def make(client: Client, name: str, **body: Any) -> str:
    return ask(client, "POST", "/containers/create", {"Image": "busybox", **body}, name=name)["Id"]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [entry.get("Name") or entry["Names"][0] for entry in found]


# networks


def test_the_networks_of_a_fresh_daemon(client: Client) -> None:
    found = ask(client, "GET", "/networks")
    assert [(n["Name"], n["Driver"], n["Scope"]) for n in found] == [
        ("bridge", "bridge", "local"),
        ("host", "host", "local"),
        ("none", "null", "local"),
    ]


def test_a_network_is_created_from_every_field(client: Client, daemon: FakeDaemon) -> None:
    events = daemon.events.subscribe()
    config = {
        "Subnet": "10.9.0.0/24",
        "IPRange": "10.9.0.128/25",
        "Gateway": "10.9.0.1",
        "AuxiliaryAddresses": {"router": "10.9.0.2"},
    }
    body = {
        "Name": "back",
        "Driver": "bridge",
        "Scope": "",
        "EnableIPv6": True,
        "IPAM": {"Driver": "default", "Options": {"o": "p"}, "Config": [config]},
        "Internal": True,
        "Attachable": True,
        "Ingress": False,
        "ConfigOnly": False,
        "ConfigFrom": None,
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"a": "b"},
        "CheckDuplicate": True,
    }
    made = ask(client, "POST", "/networks/create", body)
    assert made["Warning"] == "" and len(made["Id"]) == 64
    spec = daemon.controller.network("back").spec
    assert (spec.ipv4, spec.ipv6, spec.internal, spec.attachable) == (True, True, True, True)
    assert (spec.driver, spec.ipam_driver, spec.ipam_options) == ("bridge", "default", {"o": "p"})
    assert (spec.options, spec.labels) == ({"com.docker.network.driver.mtu": "1400"}, {"a": "b"})
    assert spec.subnets == (
        SubnetSpec(
            subnet="10.9.0.0/24", ip_range="10.9.0.128/25", gateway="10.9.0.1", aux_addresses={"router": "10.9.0.2"}
        ),
    )
    assert ask(client, "GET", "/networks/back")["IPAM"]["Config"] == [config]
    event = next(events)
    assert (event["Type"], event["Action"], event["Actor"]["ID"]) == ("network", "create", made["Id"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"Name": "x", "Ingress": True}, "Ingress"),
        ({"Name": "x", "ConfigOnly": True}, "ConfigOnly"),
        ({"Name": "x", "ConfigFrom": {"Network": "y"}}, "ConfigFrom"),
        ({"Name": "x", "Scope": "swarm"}, "'swarm'"),
    ],
)
def test_swarm_networks_are_not_supported(client: Client, body: dict[str, Any], words: str) -> None:
    code, message = status(client, "POST", "/networks/create", body)
    assert code == 501 and words in message


def test_network_errors_have_dockers_codes(client: Client) -> None:
    ask(client, "POST", "/networks/create", {"Name": "x"})
    assert status(client, "POST", "/networks/create", {"Name": "x"}) == (409, "network with name x already exists")
    assert status(client, "GET", "/networks/nosuch") == (404, "network nosuch not found")
    assert status(client, "DELETE", "/networks/bridge")[0] == 403
    assert status(client, "DELETE", "/networks/x") == (204, "")
    assert status(client, "POST", "/networks/bridge/connect", {})[1] == "invalid JSON: Container names no container"


def test_connect_and_disconnect(client: Client) -> None:
    id = make(client, "proxy")
    ask(client, "POST", "/networks/create", {"Name": "my_app_net"})
    ask(client, "POST", "/containers/proxy/start")
    assert (
        status(client, "POST", "/networks/my_app_net/connect", {"Container": "proxy", "EndpointConfig": {}})[0] == 200
    )
    members = ask(client, "GET", "/networks/my_app_net")["Containers"]
    assert members[id]["Name"] == "proxy" and members[id]["IPv4Address"] == "172.18.0.2/16"
    body = {"Container": "proxy", "Force": True}
    assert status(client, "POST", "/networks/my_app_net/disconnect", body) == (200, "")
    assert ask(client, "GET", "/networks/my_app_net")["Containers"] == {}


def test_dry_runs_change_nothing(client: Client) -> None:
    make(client, "c")
    plan = ask(client, "POST", "/networks/create", {"Name": "x"}, dryrun=1)["Plan"]
    assert "bridge" in plan and "x" in plan.split()
    body = {"Container": "c"}
    assert ask(client, "POST", "/networks/bridge/connect", body, dryrun=1) == {"Plan": "plan of c into bridge"}
    create = {"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"a": None, "b": {}}}}
    assert ask(client, "POST", "/containers/create", create, name="d", dryrun=1) == {"Plan": "plan of d in a,b"}
    assert names(ask(client, "GET", "/networks")) == ["bridge", "host", "none"]
    assert names(ask(client, "GET", "/containers/json", all=1)) == ["/c"]


def test_check_and_repair(client: Client) -> None:
    assert ask(client, "GET", "/netpy/check") == {"Drift": ["bridge br-1: mtu is 1400, should be 1500"]}
    assert ask(client, "POST", "/netpy/repair") == {"Repaired": ["bridge br-1: mtu set to 1500"]}


def test_network_filters_in_both_forms(client: Client) -> None:
    for name, label in (("one", "a"), ("two", "b")):
        ask(client, "POST", "/networks/create", {"Name": name, "Labels": {label: "1"}})

    def listed(filters: Any) -> list[str]:
        return names(ask(client, "GET", "/networks", filters=filters))

    assert listed({"name": {"^one$": True, "host": True, "two": False}}) == ["host", "one"]
    assert listed({"name": ["^o"]}) == ["one"]
    assert listed({"driver": ["null"]}) == ["none"]
    assert listed({"type": ["custom"]}) == ["one", "two"]
    assert listed({"type": ["builtin"], "driver": ["bridge"]}) == ["bridge"]
    assert listed({"label": ["b=1"]}) == ["two"]
    assert listed({"label": ["b=2"]}) == []
    assert listed({"id": ["a0a0"]}) == ["bridge"]
    assert listed({"dangling": ["true"]}) == ["one", "two"]
    assert listed({"scope": ["swarm"]}) == []
    assert status(client, "GET", "/networks", filters={"color": ["red"]}) == (400, "invalid filter 'color'")
    assert status(client, "GET", "/networks", filters={"name": "x"})[0] == 400
    assert status(client, "GET", "/networks", filters="{")[0] == 400
    assert status(client, "GET", "/networks", filters={"name": ["("]})[0] == 400


def test_network_prune_spares_by_label_and_age(client: Client) -> None:
    for name in ("old", "kept"):
        ask(client, "POST", "/networks/create", {"Name": name, "Labels": {name: ""}})
    assert ask(client, "POST", "/networks/prune", filters={"until": ["1000"]}) == {"NetworksDeleted": []}
    assert ask(client, "POST", "/networks/prune", filters={"label!": ["kept"]}) == {"NetworksDeleted": ["old"]}
    assert status(client, "POST", "/networks/prune", filters={"until": ["soon"]})[0] == 400
    assert ask(client, "POST", "/networks/prune", filters={"until": ["1h30m"]}) == {"NetworksDeleted": ["kept"]}


# containers


def test_the_life_of_a_container(client: Client, daemon: FakeDaemon) -> None:
    id = make(client, "/web", Cmd=["httpd", "-f"])
    assert status(client, "POST", "/containers/web/stop")[0] == 304
    assert status(client, "POST", "/containers/web/start") == (204, "")
    assert status(client, "POST", f"/containers/{id[:63]}/start")[0] in (304, 404)
    assert status(client, "POST", f"/containers/{id}/start")[0] == 304
    assert status(client, "POST", "/containers/web/restart", t=3)[0] == 204
    assert status(client, "POST", "/containers/web/resize", h=30, w=100) == (200, "")
    assert ask(client, "GET", "/containers/web/top", ps_args="-o pid")["Processes"] == [["42", "-o pid"]]
    assert status(client, "POST", "/containers/web/rename", name="web2")[0] == 204
    assert status(client, "DELETE", "/containers/web2")[0] == 409
    assert status(client, "POST", "/containers/web2/stop", t=1, signal="TERM")[0] == 204
    assert status(client, "POST", "/containers/web2/kill")[0] == 409
    assert status(client, "DELETE", "/containers/web2", v=1) == (204, "")
    assert status(client, "GET", "/containers/web2/json") == (404, "No such container: web2")
    assert daemon.containers.calls == [
        ("restart", "web", 3, ""),
        ("resize", "web", 30, 100),
        ("stop", "web2", 1, "TERM"),
    ]


def test_create_separates_the_documents(client: Client, daemon: FakeDaemon) -> None:
    host_config = {"NetworkMode": "x", "Memory": 5}
    make(client, "a", Env=["A=1"], HostConfig=host_config, NetworkingConfig={"EndpointsConfig": {"bridge": None}})
    container = daemon.containers.get("a")
    assert container.host_config == host_config
    assert "HostConfig" not in container.config and container.config["Env"] == ["A=1"]


def test_create_errors(client: Client) -> None:
    make(client, "a")
    assert status(client, "POST", "/containers/create", {"Image": "busybox"}, name="a")[0] == 409
    answer = status(client, "POST", "/containers/create", {"Image": "nope"})
    assert answer == (404, "No such image: nope:latest")
    assert status(client, "POST", "/containers/create", {"Image": "busybox", "HostConfig": []})[0] == 400


@pytest.mark.parametrize(("h", "w"), [("x", "1"), ("", "1"), ("-1", "1"), ("1", "70000")])
def test_resize_wants_numbers(client: Client, h: str, w: str) -> None:
    assert status(client, "POST", "/containers/x/resize", h=h, w=w)[0] == 400


def test_odd_requests_to_containers(client: Client, daemon: FakeDaemon) -> None:
    make(client, "a")
    assert status(client, "DELETE", "/containers/a/db", link=True)[0] == 204
    assert daemon.containers.calls[-1] == ("remove_link", "a/db")
    assert status(client, "POST", "/containers/a/rename") == (400, "new name cannot be empty")
    assert status(client, "POST", "/containers/a/restart", t="soon")[0] == 400
    assert status(client, "POST", "/containers/prune", filters={"x": ["y"]})[0] == 400
    assert len(ask(client, "POST", "/containers/prune")["ContainersDeleted"]) == 1


def test_container_list(client: Client, daemon: FakeDaemon) -> None:
    ports = {"80/tcp": [{"HostIp": "", "HostPort": "8800"}]}
    make(client, "old", Labels={"tier": "back"})
    make(client, "mid", ExposedPorts={"80/tcp": {}, "9000/tcp": {}}, HostConfig={"PortBindings": ports})
    make(client, "new", Labels={"tier": "front"})
    ask(client, "POST", "/containers/mid/start")

    def listed(all: int = 1, limit: int = 0, **filters: list[str]) -> list[str]:
        return names(ask(client, "GET", "/containers/json", all=all, limit=limit, filters=filters))

    assert listed(all=0) == ["/mid"]
    assert listed() == ["/new", "/mid", "/old"]
    assert listed(all=0, limit=2) == ["/new", "/mid"]
    assert listed(all=0, status=["created"]) == ["/new", "/old"]
    assert listed(name=["^/o"]) == listed(name=["ol"]) == ["/old"]
    assert listed(label=["tier"]) == ["/new", "/old"]
    assert listed(label=["tier=back"]) == ["/old"]
    assert listed(id=["0002"]) == ["/mid"]
    assert listed(before=["mid"]) == ["/old"]
    assert listed(since=["mid"]) == ["/new"]
    assert listed(network=["bridge"]) == ["/new", "/mid", "/old"]
    assert listed(network=["none"]) == []
    assert listed(publish=["80"]) == listed(publish=["70-90/tcp"]) == ["/mid"]
    assert listed(publish=["9000"]) == listed(publish=["80/udp"]) == []
    assert listed(expose=["9000/tcp"]) == ["/mid"]
    assert listed(ancestor=["busybox"]) == listed(ancestor=[IMAGE]) == ["/new", "/mid", "/old"]
    assert listed(ancestor=["nginx"]) == []
    assert listed(health=["none"]) == ["/new", "/mid", "/old"]
    assert listed(**{"is-task": ["true"]}) == []
    daemon.containers.exit("mid", 137)
    assert listed(exited=["137"]) == ["/mid"]
    assert listed(exited=["0"]) == []
    assert status(client, "GET", "/containers/json", filters={"status": ["asleep"]})[0] == 400
    assert status(client, "GET", "/containers/json", filters={"exited": ["x"]})[0] == 400
    assert status(client, "GET", "/containers/json", filters={"publish": ["x"]}, all=1)[0] == 400


def test_sizes_are_of_the_layer_and_the_image(client: Client, daemon: FakeDaemon) -> None:
    id = make(client, "a")
    upper = daemon.settings.data_root / "overlay" / id / "upper" / "dir"
    upper.mkdir(parents=True)
    (upper / "file").write_bytes(b"x" * 10)
    (upper / "link").hardlink_to(upper / "file")
    (upper / "loop").symlink_to(upper)
    shown = ask(client, "GET", "/containers/a/json", size=1)
    assert (shown["SizeRw"], shown["SizeRootFs"]) == (10, 1010)
    assert "SizeRw" not in ask(client, "GET", "/containers/a/json")
    assert ask(client, "GET", "/containers/json", all=1, size=1)[0]["SizeRw"] == 10


# images


def test_image_lookups(client: Client) -> None:
    assert ask(client, "GET", "/images/json")[0]["Id"] == IMAGE
    assert ask(client, "GET", "/images/registry:5000/a/b:1/json")["Id"] == IMAGE
    answer = status(client, "GET", "/images/nosuch/json")
    assert answer == (404, "no such image: nosuch: No such image: nosuch:latest")
    assert ask(client, "GET", "/images/busybox/history")[0]["Id"] == IMAGE


def test_import(client: Client, daemon: FakeDaemon) -> None:
    query = {"fromSrc": "-", "repo": "mine", "tag": "1", "message": "m", "changes": ["CMD a", "ENV b=c"]}
    with client.request("POST", "/images/create", query, io.BytesIO(b"tar" * 100_000)) as response:
        assert list(response.objects()) == [{"status": IMAGE}]
    assert daemon.images.imported == (b"tar" * 100_000, "mine:1", "m", ["CMD a", "ENV b=c"])
    refused = status(client, "POST", "/images/create", fromSrc="http://127.0.0.1:1/x")
    assert refused == (500, 'Get "http://127.0.0.1:1/x": connection refused')
    assert status(client, "POST", "/images/create", fromSrc="file:///etc/passwd")[0] == 400


def test_load_reads_while_it_reports(client: Client, daemon: FakeDaemon) -> None:
    with client.request("POST", "/images/load", {"quiet": 1}, (b"x" * 70_000 for _ in range(40))) as response:
        assert list(response.objects())[-1] == {"stream": "Loaded image: busybox:latest\n"}
    assert len(daemon.images.loaded) == 2_800_000
    with client.request("POST", "/images/load", None, b"bad archive") as response:
        *_, last = response.objects()
    assert last == {"errorDetail": {"message": "the archive is bad"}, "error": "the archive is bad"}


def test_save(client: Client) -> None:
    with client.request("GET", "/images/get", {"names": ["busybox", IMAGE]}) as response:
        assert response.headers["content-type"] == "application/x-tar"
        assert response.read() == f"tar of busybox;tar of {IMAGE};".encode()
    with client.request("GET", "/images/busybox/get") as response:
        assert response.read() == b"tar of busybox;"
    assert status(client, "GET", "/images/get")[0] == 400
    assert status(client, "GET", "/images/get", names="nosuch")[0] == 404


def test_tag_and_remove(client: Client, daemon: FakeDaemon) -> None:
    assert status(client, "POST", "/images/busybox/tag", repo="busybox", tag="latest") == (201, "")
    events = daemon.events.subscribe(filters={"type": ["image"]})
    assert ask(client, "DELETE", "/images/busybox")[0] == {"Untagged": "busybox:latest"}
    assert [next(events)["Action"], next(events)["Action"]] == ["untag", "delete"]
    make(client, "user")
    assert status(client, "DELETE", "/images/busybox")[0] == 409
    assert status(client, "DELETE", "/images/busybox", force=1)[0] == 200


def test_image_prune(client: Client) -> None:
    assert ask(client, "POST", "/images/prune") == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    everything = {"dangling": {"false": True}}
    make(client, "user")
    assert ask(client, "POST", "/images/prune", filters=everything)["ImagesDeleted"] is None
    ask(client, "DELETE", "/containers/user")
    assert ask(client, "POST", "/images/prune", filters=everything)["SpaceReclaimed"] == 1000


# volumes and the daemon


def test_volumes(client: Client) -> None:
    body = {"Name": "data", "Driver": "local", "Labels": {"x": "y"}}
    assert ask(client, "POST", "/volumes/create", body)["Name"] == "data"
    assert len(ask(client, "POST", "/volumes/create", {})["Name"]) == 64
    assert names(ask(client, "GET", "/volumes", filters={"label": ["x"]})["Volumes"]) == ["data"]
    assert ask(client, "GET", "/volumes", filters={"dangling": ["false"]})["Volumes"] == []
    assert ask(client, "GET", "/volumes/data")["Driver"] == "local"
    assert status(client, "GET", "/volumes/nosuch") == (404, "get nosuch: no such volume")
    assert status(client, "DELETE", "/volumes/data") == (204, "")
    assert len(ask(client, "POST", "/volumes/prune")["VolumesDeleted"]) == 1


def test_names_of_fields_in_any_case(client: Client, daemon: FakeDaemon) -> None:
    make(client, "a")
    ask(client, "POST", "/containers/a/exec", {"cmd": ["true"], "detachKeys": "ctrl-p", "tty": True})
    assert daemon.containers.calls[-1][2] == {"Cmd": ["true"], "DetachKeys": "ctrl-p", "Tty": True}


def test_what_stops_a_load_is_in_its_stream(client: Client) -> None:
    with client.request("POST", "/images/load", body=b"junk") as response:
        assert response.status == 200
        assert [line["error"] for line in response.objects()] == ["the archive is no archive"]
