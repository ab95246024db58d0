"""The routes about the daemon itself, and those that say what there is none of: swarm, plugins, BuildKit."""

from __future__ import annotations

import pytest

from engine.client import Client
from tests.unit.test_api_nouns import ask, client, daemon, make, names, status

__all__ = ["client", "daemon"]


def test_version_and_info(client: Client) -> None:
    version = ask(client, "GET", "/version")
    assert (version["ApiVersion"], version["MinAPIVersion"], version["Os"]) == ("1.47", "1.24", "linux")
    make(client, "a")
    make(client, "b")
    ask(client, "POST", "/containers/a/start")
    info = ask(client, "GET", "/info")
    assert (info["Containers"], info["ContainersRunning"], info["ContainersStopped"]) == (2, 1, 1)
    assert (info["DefaultRuntime"], info["Swarm"]["LocalNodeState"]) == ("runc", "inactive")
    assert info["NCPU"] >= 1 and info["MemTotal"] > 0 and info["KernelVersion"]
    assert info["Plugins"]["Network"] == ["bridge", "host", "null"]


def test_disk_usage(client: Client) -> None:
    make(client, "a")
    ask(client, "POST", "/volumes/create", {"Name": "v"})
    usage = ask(client, "GET", "/system/df")
    assert usage["LayersSize"] == 1000
    assert names(usage["Containers"]) == ["/a"]
    assert usage["Images"][0]["Containers"] == 1
    assert usage["Volumes"][0]["UsageData"] == {"RefCount": 0, "Size": 0}


NO_MANAGER = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node'


@pytest.mark.parametrize(
    "path", ["/swarm", "/nodes", "/services", "/tasks/x", "/secrets/x", "/configs", "/services/x/logs"]
)
def test_this_is_no_swarm(client: Client, path: str) -> None:
    code, message = status(client, "GET", path)
    assert code == 503 and message.startswith(NO_MANAGER)


def test_what_would_make_a_swarm_is_refused(client: Client) -> None:
    assert status(client, "POST", "/swarm/init", {"ListenAddr": "0.0.0.0"})[0] == 501
    assert status(client, "POST", "/swarm/leave", force=1) == (503, "This node is not part of a swarm")


def test_there_are_no_plugins(client: Client) -> None:
    assert ask(client, "GET", "/plugins") == []
    assert status(client, "GET", "/plugins", filters={"foo": ["x"]}) == (400, "invalid filter 'foo'")
    assert status(client, "GET", "/plugins/vieux/sshfs:latest/json") == (404, 'plugin "vieux/sshfs:latest" not found')
    assert status(client, "POST", "/plugins/pull", [], remote="x/y")[0] == 501


def test_buildkit_is_refused_with_the_way_out(client: Client) -> None:
    code, message = status(client, "POST", "/session")
    assert code == 501 and "DOCKER_BUILDKIT=0" in message
