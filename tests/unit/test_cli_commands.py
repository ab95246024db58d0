"""Commands against a daemon of canned answers on a real socket: what they ask, print and return."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import fast, registry
from engine.cli.command import Command, LazyGroup
from engine.cli.main import run

from .cli_daemon import CONTAINER_ID, IMAGE_ID, NETWORK_ID, Answer, Daemon, Request

CID = CONTAINER_ID
NETWORK = {
    "Name": "my_app_net",
    "Id": NETWORK_ID,
    "Driver": "bridge",
    "Scope": "local",
    "Labels": {"a": "b"},
    "Created": "",
}
CONTAINER: dict[str, Any] = {
    "Id": CID,
    "Name": "/web",
    "Config": {"Tty": False, "OpenStdin": False, "Labels": {}},
    "State": {"Running": True, "Paused": False, "Restarting": False},
    "HostConfig": {"AutoRemove": False},
    "NetworkSettings": {
        "IPAddress": "172.17.0.2",
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8800"}, {"HostIp": "::", "HostPort": "8800"}],
            "53/udp": None,
        },
    },
}


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with Daemon(tmp_path / "s") as found:
        monkeypatch.setenv("NETPY_HOST", found.host)
        found.routes["GET /containers/web/json"] = Answer(body=CONTAINER)
        yield found


Outputs = pytest.CaptureFixture[str]


def follows(*steps: bytes) -> Answer:
    """An answer that is taken over: sends frames, then waits for the client's end of input."""

    def talk(sock: socket.socket) -> None:
        for step in steps:
            sock.sendall(step)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return Answer(hijack=talk)


OUT_ERR = follows(b"\x02\0\0\0\0\0\0\x04err\n", b"\x01\0\0\0\0\0\0\x04out\n")


def runnable(daemon: Daemon, code: int = 3) -> None:
    daemon.routes["POST /containers/create"] = Answer(status=201, body={"Id": CID, "Warnings": ["careful"]})
    daemon.routes[f"POST /containers/{CID}/attach"] = OUT_ERR
    daemon.routes[f"POST /containers/{CID}/wait"] = Answer(chunks=[b'{"StatusCode":%d}\n' % code])
    daemon.routes[f"POST /containers/{CID}/start"] = Answer(status=204)


# run


def test_run_goes_in_dockers_order(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    assert run(["run", "--name", "web", "--rm", "busybox", "sh", "-c", "exit 3"]) == 3
    assert capsys.readouterr() == ("out\n", "WARNING: careful\nerr\n")
    assert daemon.lines() == [
        "POST /containers/create",
        f"POST /containers/{CID}/attach",
        f"POST /containers/{CID}/wait",
        f"POST /containers/{CID}/start",
    ]
    create, attach, wait, _ = daemon.requests
    assert (create.query, create.body["Cmd"]) == ({"name": ["web"]}, ["sh", "-c", "exit 3"])
    assert attach.query == {"stream": ["1"], "stdout": ["1"], "stderr": ["1"]}
    assert wait.query == {"condition": ["removed"]}


def test_run_detached_prints_the_id(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    assert run(["run", "-d", "busybox"]) == 0
    assert capsys.readouterr().out == f"{CID}\n"
    assert daemon.lines() == ["POST /containers/create", f"POST /containers/{CID}/start"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nosuch": executable file not found in $PATH: unknown', 127),
        ('exec: "/etc": permission denied', 126),
        ("Bind for 0.0.0.0:18080 failed: port is already allocated", 125),
    ],
)
@pytest.mark.parametrize("detached", [True, False])
def test_a_container_that_cannot_start(
    daemon: Daemon, capsys: Outputs, message: str, code: int, detached: bool
) -> None:
    runnable(daemon)
    daemon.routes[f"POST /containers/{CID}/start"] = Answer(status=500, body={"message": message})
    assert run(["run", *(["-d"] if detached else []), "busybox"]) == code
    expected = f"WARNING: careful\nnetpy: Error response from daemon: {message}.\nSee 'netpy run --help'.\n"
    assert capsys.readouterr() == ("", expected)


def test_a_missing_image_is_pulled(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    created = daemon.routes["POST /containers/create"]
    assert isinstance(created, Answer)
    missing = Answer(status=404, body={"message": "No such image: busybox:latest"})
    daemon.routes["POST /containers/create"] = [missing, created]
    daemon.routes["POST /images/create"] = Answer(chunks=[b'{"status":"Pulling"}\n'])
    assert run(["run", "-d", "busybox"]) == 0
    assert capsys.readouterr().err == "Unable to find image 'busybox:latest' locally\nPulling\nWARNING: careful\n"
    assert daemon.requests[1].query == {"fromImage": ["docker.io/library/busybox"], "tag": ["latest"]}


def test_a_missing_image_is_not_pulled_for_never(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/create"] = Answer(status=404, body={"message": "No such image: busybox:latest"})
    assert run(["run", "--pull", "never", "busybox"]) == 125
    assert "No such image: busybox:latest" in capsys.readouterr().err
    assert daemon.lines() == ["POST /containers/create"]


def test_a_pull_that_fails_half_way_fails_the_run(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/create"] = Answer(status=404, body={"message": "No such image: x:latest"})
    daemon.routes["POST /images/create"] = Answer(chunks=[b'{"status":"Pulling"}\n{"error":"manifest unknown"}\n'])
    assert run(["run", "x"]) == 125
    assert capsys.readouterr().err.endswith("netpy: manifest unknown\nSee 'netpy run --help'.\n")


def test_dry_runs_print_the_plan(daemon: Daemon, capsys: Outputs) -> None:
    plan = Answer(body={"Plan": "+ bridge br0\n"})
    for path in ("/containers/create", "/networks/create", "/networks/front/connect"):
        daemon.routes[f"POST {path}"] = plan
    assert run(["run", "--dry-run", "x"]) == run(["network", "create", "--dry-run", "x"]) == 0
    assert run(["network", "connect", "--dry-run", "front", "web"]) == 0
    assert capsys.readouterr().out == "+ bridge br0\n" * 3
    assert [request.query for request in daemon.requests] == [{"dryrun": ["1"]}] * 3


def test_the_id_file(daemon: Daemon, capsys: Outputs, tmp_path: Path) -> None:
    runnable(daemon)
    target = str(tmp_path / "cid")
    assert run(["run", "-d", "--cidfile", target, "x"]) == 0
    assert Path(target).read_text() == CID
    capsys.readouterr()
    assert run(["run", "-d", "--cidfile", target, "x"]) == 125
    assert "container ID file found, make sure the other container isn't running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["run", "--xx"], 125, "unknown flag: --xx\nSee 'netpy run --help'.\n"),
        (["run", "-m", "x", "b"], 125, "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'\nSee 'netpy run --help'.\n"),
        (["run", "-p", "a:1", "b"], 125, "netpy: invalid hostPort: a\nSee 'netpy run --help'.\n"),
        (["run", "Foo"], 125, "netpy: invalid reference format: repository name (library/Foo) must be lowercase\nSee 'netpy run --help'.\n"),
        (["run", "-d", "-a", "stdout", "b"], 1, "conflicting options: cannot specify both --attach and --detach\n"),
        (["run", "--pull", "x", "b"], 125, 'netpy: invalid pull option: \'x\': must be one of "always", "missing" or "never"\nSee \'netpy run --help\'.\n'),
        (["foo"], 1, "netpy: 'foo' is not a netpy command.\nSee 'netpy --help'\n"),
        (["network", "foo"], 1, "netpy: 'network foo' is not a netpy command.\nSee 'netpy network --help'\n"),
        (["rename", "a"], 1, '"netpy rename" requires exactly 2 arguments.\nSee \'netpy rename --help\'.\n\nUsage:  netpy rename CONTAINER NEW_NAME\n\nRename a container\n'),
        (["ps", "-f", "x"], 125, 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)\nSee \'netpy ps --help\'.\n'),
        (["inspect", "--type", "foo", "x"], 1, 'unknown type: "foo": must be one of "config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"\n'),
        (["tag", "a", "Foo"], 1, 'Error parsing reference: "Foo" is not a valid repository/tag: invalid reference format: repository name (library/Foo) must be lowercase\n'),
        (["exec", "-it", "web", "sh"], 1, "the input device is not a TTY\n"),
    ],
)  # fmt: skip
def test_mistakes(daemon: Daemon, capsys: Outputs, argv: list[str], code: int, message: str) -> None:
    assert run(argv) == code
    assert capsys.readouterr() == ("", message)


# attach, exec, logs


def test_exec_prints_and_returns_what_the_process_did(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/exec"] = Answer(status=201, body={"Id": "e1"})
    daemon.routes["POST /exec/e1/start"] = OUT_ERR
    still = Answer(body={"Running": True, "ExitCode": None})
    daemon.routes["GET /exec/e1/json"] = [still, Answer(body={"Running": False, "ExitCode": 4})]
    assert run(["exec", "-e", "Z=1", "-w", "/", "web", "sh", "-c", "x"]) == 4
    assert capsys.readouterr() == ("out\n", "err\n")
    assert daemon.requests[1].body == {
        "User": "",
        "Privileged": False,
        "Tty": False,
        "AttachStdin": False,
        "AttachStderr": True,
        "AttachStdout": True,
        "Detach": False,
        "DetachKeys": "",
        "Env": ["Z=1"],
        "WorkingDir": "/",
        "Cmd": ["sh", "-c", "x"],
    }
    assert daemon.requests[2].body == {"Detach": False, "Tty": False}


def test_exec_detached_does_not_stay(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/exec"] = Answer(status=201, body={"Id": "e1"})
    daemon.routes["POST /exec/e1/start"] = Answer(status=200)
    assert run(["exec", "-d", "web", "true"]) == 0
    assert capsys.readouterr() == ("", "")
    assert daemon.requests[2].body == {"Detach": True, "Tty": False}


def test_start_attached(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon, code=7)
    assert run(["start", "-a", "web"]) == 7
    assert capsys.readouterr() == ("out\n", "err\n")
    assert run(["start", "-a", "web", "db"]) == 1
    assert capsys.readouterr().err == "you cannot start and attach multiple containers at once\n"


def test_start_goes_on_after_a_failure(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /containers/web/start"] = Answer(status=204)
    assert run(["start", "nope", "web"]) == 1
    err = "Error response from daemon: No such container: nope\nError: failed to start containers: nope\n"
    assert capsys.readouterr() == ("web\n", err)


def test_attach_needs_a_running_container(daemon: Daemon, capsys: Outputs) -> None:
    runnable(daemon)
    assert run(["attach", "web"]) == 3
    assert capsys.readouterr() == ("out\n", "err\n")
    stopped = CONTAINER | {"State": {"Running": False, "Paused": False, "Restarting": False}}
    daemon.routes["GET /containers/web/json"] = Answer(body=stopped)
    assert run(["attach", "web"]) == 1
    assert capsys.readouterr().err == "cannot attach to a stopped container, start it first\n"


def test_logs(daemon: Daemon, capsys: Outputs) -> None:
    frames = [b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0", b"\0\0\0\x04err\n"]
    daemon.routes[f"GET /containers/{CID}/logs"] = Answer(chunks=frames)
    assert run(["logs", "--tail", "2", "-t", "--since", "5", "web"]) == 0
    assert capsys.readouterr() == ("out\n", "err\n")
    assert daemon.requests[1].query == {
        "stdout": ["1"],
        "stderr": ["1"],
        "since": ["5"],
        "timestamps": ["1"],
        "tail": ["2"],
    }
    assert run(["logs", "--since", "foo", "web"]) == 1
    assert capsys.readouterr().err == 'invalid value for "since": failed to parse value as time or duration: "foo"\n'


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
    image = {"Id": IMAGE_ID, "Containers": 1, "Size": 77900000, "RepoTags": ["a:b"]}
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
    assert "No such file or directory" in capsys.readouterr().err


def test_tag_and_remove(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /images/y/tag"] = Answer(status=201)
    daemon.routes["DELETE /images/y"] = Answer(body=[{"Untagged": "y:latest"}, {"Deleted": "sha256:1"}])
    assert run(["tag", "y", "127.0.0.1:5000/y:v1"]) == run(["rmi", "y"]) == 0
    assert capsys.readouterr().out == "Untagged: y:latest\nDeleted: sha256:1\n"
    assert daemon.requests[0].query == {"repo": ["127.0.0.1:5000/y"], "tag": ["v1"]}
    assert run(["image", "rm", "nope"]) == 1


# the fast path


@pytest.mark.parametrize(
    "argv",
    [["network", "ls"], ["ps"], ["ps", "-a"], ["images"], ["inspect", "web"], ["network", "inspect", "my_app_net"]],
)
def test_the_fast_path_prints_what_the_slow_one_does(daemon: Daemon, capsys: Outputs, argv: list[str]) -> None:
    container = {
        "Id": CID,
        "Names": ["/é"],
        "Image": "x",
        "Created": 1,
        "Command": "sh",
        "ImageID": IMAGE_ID,
        "Ports": [],
    }
    image = {"Id": IMAGE_ID, "RepoTags": ["u:1"], "RepoDigests": None, "Created": 1, "Size": 77900000}
    daemon.routes["GET /networks"] = Answer(chunks=[b'[{"Name":"n","Id":"1","Driver":"null"', b',"Scope":"local"}]\n'])
    daemon.routes["GET /networks/my_app_net"] = Answer(body=NETWORK)
    daemon.routes["GET /containers/json"] = Answer(body=[container])
    daemon.routes["GET /images/json"] = Answer(body=[image])
    quick = fast.attempt(argv)
    first = [(request.line, request.query) for request in daemon.requests]
    assert run(argv) == 0
    assert quick == capsys.readouterr().out
    assert first == [(request.line, request.query) for request in daemon.requests[len(first) :]]


@pytest.mark.parametrize(
    "argv",
    [
        ["ps", "-q"],
        ["inspect", "nope"],
        ["inspect", "a/b"],
        ["inspect", "-f"],
        ["inspect", "é"],
        [],
        ["network", "inspect", "?x"],
    ],
)
def test_the_fast_path_leaves_the_unusual_alone(daemon: Daemon, argv: list[str]) -> None:
    assert fast.attempt(argv) is None


def test_the_fast_path_needs_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in (f"unix://{tmp_path}/none", "tcp://127.0.0.1:1"):
        monkeypatch.setenv("NETPY_HOST", host)
        assert fast.attempt(["ps"]) is None


def test_no_daemon(tmp_path: Path, capsys: Outputs) -> None:
    host = f"unix://{tmp_path}/none"
    assert run(["-H", host, "ps", "-q"]) == 1
    assert capsys.readouterr().err == f"Cannot connect to the netpy daemon at {host}. Is the netpy daemon running?\n"
    assert run(["-H", host, "run", "x"]) == 125


# the command tree


def commands(group: LazyGroup, path: str = "netpy") -> Iterator[tuple[str, str, Any]]:
    for name, entry in group.entries.items():
        found = group.get_command(registry.ROOT.make_context("netpy", []), name)
        assert found is not None, entry.where
        yield f"{path} {name}", entry.summary, found
        if isinstance(found, LazyGroup):
            yield from commands(found, f"{path} {name}")


def test_every_command_exists_and_says_what_its_group_says() -> None:
    found = list(commands(registry.ROOT))
    assert len(found) > 70
    for path, summary, command in found:
        assert command.help == summary, path
        if isinstance(command, Command):
            spellings = [spelling for option in command.params for spelling in option.opts]
            assert len(spellings) == len(set(spellings)), path


def test_help(capsys: Outputs) -> None:
    assert run([]) == run(["--help"]) == run(["network"]) == run(["run", "--help"]) == run(["--version"]) == 0
    out = capsys.readouterr().out
    assert (
        "\nUsage:  netpy run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nCreate and run a new container from an image\n"
        in out
    )
    assert "  -p, --publish list" in out
    assert "Usage:  netpy network [OPTIONS] COMMAND" in out or "Usage:  netpy network COMMAND" in out


def test_a_reader_that_goes_away_is_no_error(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Request) -> Answer:
        raise AssertionError

    read, write = os.pipe()
    os.close(read)
    saved = os.dup(1)
    try:
        os.dup2(write, 1)
        monkeypatch.setattr(sys, "stdout", os.fdopen(os.dup(1), "w"))
        daemon.routes["GET /networks"] = Answer(body=[NETWORK])
        daemon.routes["GET /never"] = gone
        assert run(["network", "ls", "-q"]) == 141
        os.dup2(1, sys.stdout.fileno())
        sys.stdout.close()
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write)
