"""Commands against a daemon of canned answers on a real socket: what they ask, print and return."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import run

from .cli_daemon import CONTAINER_ID, IMAGE_ID, NETWORK, NETWORK_ID, Answer, Daemon, answering

CID = CONTAINER_ID


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with answering(tmp_path / "s", monkeypatch) as found:
        yield found


Outputs = pytest.CaptureFixture[str]


# many containers


@pytest.mark.parametrize(
    ("argv", "line", "query"),
    [
        (["stop", "-t", "1", "-s", "INT"], "POST /containers/web/stop", {"t": ["1"], "signal": ["INT"]}),
        (["stop", "--time", "0"], "POST /containers/web/stop", {"t": ["0"]}),
        (["restart"], "POST /containers/web/restart", {}),
        (["kill", "-s", "HUP"], "POST /containers/web/kill", {"signal": ["HUP"]}),
        (["pause"], "POST /containers/web/pause", {}),
        (["unpause"], "POST /containers/web/unpause", {}),
        (["rm", "-fv"], "DELETE /containers/web", {"force": ["1"], "v": ["1"]}),
        (["container", "remove"], "DELETE /containers/web", {}),
        (["network", "rm"], "DELETE /networks/web", {}),
    ],
)
def test_one_request_each(daemon: Daemon, capsys: Outputs, argv: list[str], line: str, query: dict[str, Any]) -> None:
    daemon.routes[line] = Answer(status=204)
    assert run([*argv, "web"]) == 0
    assert (daemon.requests[0].line, daemon.requests[0].query) == (line, query)
    assert capsys.readouterr().out == "web\n"


def test_the_rest_goes_on_after_a_failure(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/stop"] = Answer(status=204)
    assert run(["stop", "nope", "web"]) == 1
    assert capsys.readouterr() == ("web\n", "Error response from daemon: No such container: nope\n")
    assert run(["rm", "-f", "nope"]) == 0
    assert run(["network", "rm", "-f", "nope"]) == 0


def test_wait_and_rename(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/wait"] = Answer(body={"StatusCode": 137})
    daemon.routes["POST /containers/web/rename"] = Answer(status=204)
    assert run(["wait", "web"]) == run(["rename", "web", "db"]) == 0
    assert capsys.readouterr().out == "137\n"
    assert daemon.requests[1].query == {"name": ["db"]}
    assert run(["rename", "nope", "db"]) == 1
    assert capsys.readouterr().err.endswith("Error: failed to rename container named nope\n")


def test_prunes(daemon: Daemon, capsys: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.routes["POST /containers/prune"] = Answer(body={"ContainersDeleted": ["a1"], "SpaceReclaimed": 1234})
    daemon.routes["POST /networks/prune"] = Answer(body={"NetworksDeleted": ["n1", "n2"]})
    daemon.routes["POST /images/prune"] = Answer(body={"ImagesDeleted": [{"Untagged": "x"}], "SpaceReclaimed": 0})
    assert run(["container", "prune", "-f", "--filter", "until=1h"]) == 0
    assert capsys.readouterr().out == "Deleted Containers:\na1\n\nTotal reclaimed space: 1.234kB\n"
    assert run(["network", "prune", "-f"]) == 0
    assert capsys.readouterr().out == "Deleted Networks:\nn1\nn2\n\n"
    assert run(["image", "prune", "-af"]) == 0
    assert capsys.readouterr().out == "Deleted Images:\nuntagged: x\n\nTotal reclaimed space: 0B\n"
    assert daemon.requests[0].query == {"filters": ['{"until":{"1h":true}}']}
    assert daemon.requests[2].query == {"filters": ['{"dangling":{"false":true}}']}
    asked = len(daemon.requests)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert run(["container", "prune"]) == 0
    assert len(daemon.requests) == asked
    assert capsys.readouterr().out.startswith("WARNING! This will remove all stopped containers.\n")


# looking


def test_lists(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["GET /networks"] = Answer(body=[NETWORK])
    assert run(["network", "ls", "--filter", "driver=bridge", "-q", "--format", "{{.Name}}"]) == 0
    assert capsys.readouterr().out == "my_app_net\n"
    assert daemon.requests[0].query == {"filters": ['{"driver":{"bridge":true}}']}
    assert run(["network", "ls", "-q", "--no-trunc"]) == 0
    assert capsys.readouterr().out == f"{NETWORK_ID}\n"


def test_ps_asks_for_what_it_shows(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["GET /containers/json"] = Answer(body=[])
    for argv, query in (
        (["-a", "-s"], {"all": ["1"], "size": ["1"]}),
        (["-l"], {"all": ["1"], "limit": ["1"]}),
        (["--format", "{{.Size}}"], {"size": ["1"]}),
        (["-f", "name=a", "-f", "name=b"], {"filters": ['{"name":{"a":true,"b":true}}']}),
    ):
        assert run(["ps", *argv]) == 0
        assert daemon.requests[-1].query == query
    capsys.readouterr()
    assert run(["ps"]) == 0
    assert capsys.readouterr().out == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"


def test_inspect_takes_whatever_has_the_name(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["GET /networks/my_app_net"] = Answer(body=NETWORK)
    assert run(["inspect", "-f", "{{.Name}}", "web", "my_app_net"]) == 0
    assert capsys.readouterr().out == "/web\nmy_app_net\n"
    assert run(["container", "inspect", "--format", "{{ .NetworkSettings.IPAddress }}", "web"]) == 0
    assert capsys.readouterr().out == "172.17.0.2\n"
    assert run(["inspect", "nope", "my_app_net"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith('[\n    {\n        "Name": "my_app_net",\n')
    assert err == "Error: No such object: nope\n"
    assert run(["network", "inspect", "nope"]) == 1
    assert capsys.readouterr() == ("[]\n", "Error response from daemon: network nope not found\n")


def test_inspect_with_bad_templates(daemon: Daemon, capsys: Outputs) -> None:
    assert run(["inspect", "-f", "{{", "web"]) == 64
    assert capsys.readouterr().err == "template parsing error: template: :1: unclosed action\n"
    assert run(["inspect", "-f", "{{.Foo}}", "web"]) == 1
    message = 'template parsing error: template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"\n'
    assert capsys.readouterr().err == message


def test_port_and_top(daemon: Daemon, capsys: Outputs) -> None:
    assert run(["port", "web"]) == run(["port", "web", "80/tcp"]) == 0
    assert capsys.readouterr().out == "80/tcp -> 0.0.0.0:8800\n80/tcp -> [::]:8800\n0.0.0.0:8800\n[::]:8800\n"
    assert run(["port", "web", "53/udp"]) == 1
    assert capsys.readouterr().err == "Error: No public port '53/udp' published for web\n"
    daemon.routes["GET /containers/web/top"] = Answer(body={"Titles": ["PID", "CMD"], "Processes": [["1", "sh -c x"]]})
    assert run(["top", "web", "-o", "pid,comm"]) == 0
    assert capsys.readouterr().out == "PID                 CMD\n1                   sh -c x\n"
    assert daemon.requests[-1].query == {"ps_args": ["-o pid,comm"]}


def test_stats_of_one(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["GET /containers/web/stats"] = Answer(body={"id": CID, "name": "/web"})
    assert run(["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}", "web"]) == 0
    assert capsys.readouterr().out == "web 0.00%\n"
    assert run(["stats", "--no-stream", "nope"]) == 1
    assert capsys.readouterr().err == "Error response from daemon: No such container: nope\n"


def test_check_and_repair(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["GET /netpy/check"] = [
        Answer(body={"Drift": ["bridge br0: mtu is 1400, should be 1500"]}),
        Answer(body={"Drift": []}),
    ]
    daemon.routes["POST /netpy/repair"] = Answer(body={"Repaired": ["bridge br0: mtu"]})
    assert [run(["network", "check"]), run(["network", "check", "--repair"]), run(["network", "check"])] == [1, 0, 0]
    assert capsys.readouterr().out == "bridge br0: mtu is 1400, should be 1500\nrepaired bridge br0: mtu\n"


def test_version_and_info(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["GET /version"] = Answer(
        body={
            "Version": "0.1.0",
            "Platform": {"Name": "netpy"},
            "Components": [{"Name": "Engine", "Version": "0.1.0", "Details": {}}],
        }
    )
    daemon.routes["GET /info"] = Answer(body={"Containers": 3, "Name": "here", "Warnings": ["WARNING: no swap"]})
    assert run(["version", "--format", "{{.Server.Version}}"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"
    assert run(["version"]) == 0
    assert "Server: netpy\n Engine:\n  Version:          0.1.0\n" in capsys.readouterr().out
    assert run(["info"]) == 0
    out, err = capsys.readouterr()
    assert " Containers: 3\n" in out
    assert err == "WARNING: no swap\n"
    assert run(["system", "info", "-f", "{{.Name}}"]) == 0
    assert capsys.readouterr().out == "here\n"


def test_events(daemon: Daemon, capsys: Outputs) -> None:
    event = b'{"Type":"container","Action":"die","Actor":{"ID":"c4","Attributes":{"name":"y","exitCode":"3"}},"timeNano":%d}\n'
    daemon.routes["GET /events"] = Answer(chunks=[event % 1795255343757534584])
    assert run(["events", "--since", "1", "--until", "2"]) == 0
    assert capsys.readouterr().out.split(" ", 1)[1] == "container die c4 (exitCode=3, name=y)\n"
    assert run(["events", "--format", "{{.Actor.Attributes.name}} {{.Action}}"]) == 0
    assert capsys.readouterr().out == "y die\n"


def test_disk_usage(daemon: Daemon, capsys: Outputs) -> None:
    image = {"Id": IMAGE_ID, "Containers": 1, "Size": 77900000, "SharedSize": 0, "RepoTags": ["a:b"]}
    daemon.routes["GET /system/df"] = Answer(
        body={"LayersSize": 99000000, "Images": [image], "Containers": [], "Volumes": None}
    )
    assert run(["system", "df"]) == 0
    assert "Images          1         1         99MB      21.1MB (21%)\n" in capsys.readouterr().out


# images


def test_pull(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /images/create"] = Answer(chunks=[b'{"status":"Pulling from library/x","id":"latest"}\r\n'])
    assert run(["pull", "x"]) == 0
    assert (
        capsys.readouterr().out
        == "Using default tag: latest\nlatest: Pulling from library/x\ndocker.io/library/x:latest\n"
    )
    assert run(["pull", "-q", "localhost:5000/a@sha256:" + "1" * 64]) == 0
    assert daemon.requests[-1].query == {"fromImage": ["localhost:5000/a"], "tag": ["sha256:" + "1" * 64]}


def test_archives_are_streamed(daemon: Daemon, capsys: Outputs, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(b"tar" * 50000)
    daemon.routes["POST /images/create"] = Answer(chunks=[b'{"status":"sha256:b6"}\n'])
    daemon.routes["POST /images/load"] = Answer(chunks=[b'{"stream":"Loaded image: y:1\\n"}\n'])
    daemon.routes["GET /images/get"] = Answer(chunks=[b"a" * 5, b"b"])
    assert run(["import", "-c", "CMD sh", "-m", "hi", str(archive), "y:1"]) == run(["load", "-i", str(archive)]) == 0
    assert capsys.readouterr().out == "sha256:b6\nLoaded image: y:1\n"
    create, load = daemon.requests
    assert create.query == {"fromSrc": ["-"], "repo": ["y:1"], "message": ["hi"], "changes": ["CMD sh"]}
    assert create.raw == load.raw == archive.read_bytes()
    target = tmp_path / "out.tar"
    assert run(["save", "-o", str(target), "y:1", "z"]) == 0
    assert target.read_bytes() == b"aaaaab"
    assert daemon.requests[-1].query == {"names": ["y:1", "z"]}
    assert run(["load", "-i", str(tmp_path / "none")]) == 1
    assert "no such file or directory" in capsys.readouterr().err


def test_tag_and_remove(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /images/y/tag"] = Answer(status=201)
    daemon.routes["DELETE /images/y"] = Answer(body=[{"Untagged": "y:latest"}, {"Deleted": "sha256:1"}])
    assert run(["tag", "y", "127.0.0.1:5000/y:v1"]) == run(["rmi", "y"]) == 0
    assert capsys.readouterr().out == "Untagged: y:latest\nDeleted: sha256:1\n"
    assert daemon.requests[0].query == {"repo": ["127.0.0.1:5000/y"], "tag": ["v1"]}
    assert run(["image", "rm", "nope"]) == 1
