"""The API in corners: failures that come in groups, busy ports, sizes of terminals, and the cost of long lists."""

from __future__ import annotations

import errno
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.api.errors import message_of, reply_to, status_of
from engine.client import ApiError, Client
from engine.settings import load, parse
from netpy.diff import Plan
from netpy.dns import TTL
from netpy.errors import ApplyError, Conflict, Forbidden, InvalidArgument, KernelError, NotFound, PortTaken
from tests.unit.fake_daemon import FakeDaemon, served


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
        data = response.read()
    return json.loads(data) if data else None


def refusal(client: Client, method: str, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        ask(client, method, path, body)
    return caught.value.status, caught.value.message


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


# ---- errors ------------------------------------------------------------------------------------------------------


def test_a_group_of_failures_is_one_message_with_the_status_of_the_gravest(caplog: pytest.LogCaptureFixture) -> None:
    inner = ExceptionGroup("inner", [NotFound("no veth"), KernelError("link a is busy")])
    group = ExceptionGroup("detaching web from its networks", [inner, Conflict("port 80"), NotFound("no veth")])
    assert status_of(group) == 500
    assert message_of(group) == "detaching web from its networks: link a is busy; port 80; no veth"
    assert not caplog.records


def test_a_group_with_a_surprise_is_logged_and_not_shown_as_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    group = ExceptionGroup("removing network n", [RuntimeError("a bug"), Forbidden("no")])
    with caplog.at_level(logging.ERROR):
        assert message_of(group) == "removing network n: internal error: RuntimeError: a bug; no"
    assert caplog.records[0].exc_info is not None
    assert "Traceback" not in json.dumps(message_of(group))


def test_what_the_kernel_left_of_a_network_is_told_and_the_network_is_gone(client: Client, daemon: FakeDaemon) -> None:
    ask(client, "POST", "/networks/create", {"Name": "n"})
    events = daemon.events.subscribe()
    real = daemon.controller.remove_network

    def remove(ref: str) -> Any:
        network = real(ref)
        error = ApplyError("bridge br-1: device or resource busy", done=Plan(), failed=None)
        raise ExceptionGroup(f"removing network {network.name}", [error])

    daemon.controller.remove_network = remove
    expected = (500, "removing network n: bridge br-1: device or resource busy")
    assert refusal(client, "DELETE", "/networks/n") == expected
    event = events.next(5)
    events.close()
    assert event is not None
    assert (event["Type"], event["Action"], event["Actor"]["Attributes"]["name"]) == ("network", "destroy", "n")
    assert refusal(client, "DELETE", "/networks/n") == (404, "network n not found")


def test_a_group_from_a_disconnect_is_answered(client: Client, daemon: FakeDaemon) -> None:
    group = ExceptionGroup("detaching web from n", [KernelError("veth1: no such device"), NotFound("gone")])
    daemon.containers.disconnect = failing(group)
    answer = refusal(client, "POST", "/networks/bridge/disconnect", {"Container": "web", "Force": True})
    assert answer == (500, "detaching web from n: veth1: no such device; gone")


def test_a_busy_port_is_a_failure_of_the_daemon_as_with_docker(client: Client, daemon: FakeDaemon) -> None:
    ask(client, "POST", "/containers/create", {"Image": "busybox"}, name="web")
    text = f"driver failed programming external connectivity on endpoint web ({'e' * 64}): "
    text += "Bind for 0.0.0.0:8800 failed: port is already allocated"
    daemon.containers.start = failing(PortTaken(text))
    assert refusal(client, "POST", "/containers/web/start") == (500, text)
    assert reply_to(Conflict("x")).status == 409


# ---- exec --------------------------------------------------------------------------------------------------------


def test_the_size_of_a_terminal_may_come_with_the_start(client: Client, daemon: FakeDaemon) -> None:
    ask(client, "POST", "/containers/create", {"Image": "busybox"}, name="web")
    size = {"Tty": True, "ConsoleSize": [30, 100]}
    id = ask(client, "POST", "/containers/web/exec", {"Cmd": ["sh"], **size})["Id"]
    assert daemon.containers.calls[-1][2]["ConsoleSize"] == [30, 100]
    ask(client, "POST", f"/exec/{id}/start", {"Detach": True, "Tty": True, "ConsoleSize": [40, 120]})
    assert daemon.containers.calls[-2:] == [("exec_resize", id, 40, 120), ("exec_start", id, True, True)]
    ask(client, "POST", f"/exec/{id}/start", {"Detach": True, "ConsoleSize": [0, 0]})
    assert daemon.containers.calls[-2][0] == "exec_start"
    bad = refusal(client, "POST", f"/exec/{id}/start", {"Detach": True, "Tty": True, "ConsoleSize": "big"})
    assert bad == (400, "invalid ConsoleSize: must be two numbers, rows and columns")


# ---- shapes of bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"Env": "A=1"}, "Env must be a list, not a string"),
        ({"Env": ["A=1", None]}, "Env[1] must be a string, not null"),
        ({"Cmd": [1]}, "Cmd[0] must be a string, not a number"),
        ({"Tty": 1}, "Tty must be a boolean, not a number"),
        ({"StopTimeout": True}, "StopTimeout must be a whole number, not a boolean"),
        ({"Labels": {"a": 1}}, "Labels['a'] must be a string, not a number"),
        ({"ExposedPorts": ["80"]}, "ExposedPorts must be an object, not a list"),
        ({"HostConfig": {"Memory": 1.5}}, "HostConfig.Memory must be a whole number, not a number"),
        ({"HostConfig": {"NetworkMode": []}}, "HostConfig.NetworkMode must be a string, not a list"),
        ({"HostConfig": {"RestartPolicy": "always"}}, "HostConfig.RestartPolicy must be an object, not a string"),
        (
            {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}},
            "HostConfig.PortBindings['80/tcp'][0].HostPort must be a string, not a number",
        ),
        ({"HostConfig": {"Ulimits": [1]}}, "HostConfig.Ulimits[0] must be an object, not a number"),
        (
            {"NetworkingConfig": {"EndpointsConfig": {"n": {"Links": "db"}}}},
            "NetworkingConfig.EndpointsConfig['n'].Links must be a list, not a string",
        ),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(client: Client, body: dict[str, Any], complaint: str) -> None:
    answer = refusal(client, "POST", "/containers/create", {"Image": "busybox"} | body)
    assert answer == (400, f"invalid JSON: {complaint}")


def test_null_is_absent_and_what_is_unknown_passes(client: Client) -> None:
    host = {"PortBindings": {"80/tcp": None}, "Memory": None, "CapAdd": "NET_ADMIN", "Unknown": [1]}
    body = {"Image": "busybox", "Env": None, "Cmd": "sh", "Entrypoint": ["/x"], "HostConfig": host, "New": {}}
    endpoints = {"EndpointsConfig": {"bridge": None}}
    assert ask(client, "POST", "/containers/create", body | {"NetworkingConfig": endpoints}, name="web")["Id"]


def test_the_bodies_of_exec_and_connect_are_looked_at_too(client: Client) -> None:
    ask(client, "POST", "/containers/create", {"Image": "busybox"}, name="web")
    wrong = refusal(client, "POST", "/containers/web/exec", {"Cmd": "sh"})
    assert wrong == (400, "invalid JSON: Cmd must be a list, not a string")
    body = {"Container": "web", "EndpointConfig": {"GwPriority": "high"}}
    wrong = refusal(client, "POST", "/networks/bridge/connect", body)
    assert wrong == (400, "invalid JSON: EndpointConfig.GwPriority must be a whole number, not a string")


# ---- long lists --------------------------------------------------------------------------------------------------


def counted(calls: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*positional: Any, **named: Any) -> Any:
        calls[name] += 1
        return function(*positional, **named)

    return call


def test_the_cost_of_lists_grows_with_their_length_and_not_its_square(client: Client, daemon: FakeDaemon) -> None:
    calls: Counter[str] = Counter()
    for number in range(60):
        daemon.containers.create(name=f"c{number}", config={"Image": "busybox"}, host_config={}, networks={})
    for part in (daemon.containers, daemon.controller):
        for name in ("all", "endpoints", "networks"):
            if hasattr(part, name):
                where = "" if part is daemon.containers else "controller's "
                setattr(part, name, counted(calls, where + name, getattr(part, name)))
    assert len(ask(client, "GET", "/containers/json", all=1)) == 60
    assert calls == {"all": 1, "controller's networks": 1, "endpoints": 60}
    calls.clear()
    for number in range(50):
        daemon.containers.volumes.create(f"v{number}")
    assert len(ask(client, "GET", "/system/df")["Volumes"]) == 50
    assert calls["all"] == 2
    calls.clear()
    assert len(ask(client, "GET", "/networks")) == 3
    assert calls == {"controller's networks": 1}
    calls.clear()
    ask(client, "GET", "/networks/bridge")
    assert calls["controller's endpoints"] == 1


# ---- settings ----------------------------------------------------------------------------------------------------


def test_the_ttl_of_names_can_be_set(tmp_path: Path) -> None:
    empty = tmp_path / "none.json"
    empty.write_text("{}")
    assert parse(["--config-file", str(empty)]).dns_ttl == TTL
    assert parse(["--config-file", str(empty), "--dns-ttl", "0"]).dns_ttl == 0
    file = tmp_path / "daemon.json"
    file.write_text('{"dns-ttl": 60}')
    assert load({}, file).dns_ttl == 60


@pytest.mark.parametrize("text", ["-1", "soon", "2147483648", "1.5"])
def test_a_ttl_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    file.write_text("{}")
    with pytest.raises(InvalidArgument, match=f"invalid value for --dns-ttl: {text}: "):
        load({"dns-ttl": text}, file)


def test_what_the_machine_lacks_is_said_with_its_place() -> None:
    assert message_of(OSError(errno.ENOSPC, "No space left on device", "/var/x")) == "/var/x: no space left on device"
    assert message_of(OSError(errno.EMFILE, "Too many open files")).endswith("refused: too many open files")
