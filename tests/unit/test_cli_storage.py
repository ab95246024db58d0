"""Volumes, disk usage and pruning at the command line, against a daemon of canned answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.flags import BadValue
from engine.cli.main import run
from engine.cli.units import natural

from .cli_daemon import IMAGE_ID, Answer, Daemon, answering
from .cli_documents import body

Outputs = pytest.CaptureFixture[str]
VOLUMES = [
    {"Name": "v10", "Driver": "local", "Scope": "local", "Mountpoint": "/m", "Labels": {"a": "b"}},
    {"Name": "v9", "Driver": "local", "Scope": "local", "Mountpoint": "/m", "Labels": None},
]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with answering(tmp_path / "s", monkeypatch) as found:
        yield found


def test_names_are_sorted_as_people_do() -> None:
    assert sorted(["v10", "v9", "v", "b", "v9a"], key=natural) == ["b", "v", "v9", "v9a", "v10"]


def test_volumes_are_made_and_listed(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /volumes/create"] = Answer(status=201, body={"Name": "v1"})
    assert run(["volume", "create", "-o", "type=tmpfs", "--label", "a=b", "v1"]) == 0
    assert daemon.requests[-1].body == {
        "Name": "v1", "Driver": "local", "DriverOpts": {"type": "tmpfs"}, "Labels": {"a": "b"},
    }  # fmt: skip
    daemon.routes["GET /volumes"] = Answer(body={"Volumes": VOLUMES})
    assert run(["volume", "ls", "-f", "dangling=true"]) == 0
    assert run(["volume", "ls", "-q"]) == 0
    assert run(["volume", "ls", "--format", '{{.Name}} {{.Label "a"}} {{.Links}}']) == 0
    lists = "DRIVER    VOLUME NAME\nlocal     v9\nlocal     v10\n" + "v9\nv10\n" + "v9  N/A\nv10 b N/A\n"
    assert capsys.readouterr().out == "v1\n" + lists


def test_a_volume_that_is_missing_is_nothing_to_force(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["DELETE /volumes/v1"] = Answer(status=404, body={"message": "get v1: no such volume"})
    assert run(["volume", "rm", "-f", "v1"]) == 0
    assert run(["volume", "rm", "v1"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("v1\n", "Error response from daemon: get v1: no such volume\n")


def test_pruning_volumes(daemon: Daemon, capsys: Outputs) -> None:
    daemon.routes["POST /volumes/prune"] = Answer(body={"VolumesDeleted": ["v1"], "SpaceReclaimed": 1500})
    assert run(["volume", "prune", "-af"]) == 0
    assert daemon.requests[-1].query["filters"] == ['{"all":{"true":true}}']
    assert capsys.readouterr().out == "Deleted Volumes:\nv1\n\nTotal reclaimed space: 1.5kB\n"


def test_everything_is_pruned_after_one_question(
    daemon: Daemon, capsys: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert run(["system", "prune", "-a", "--filter", "label=x"]) == 0
    question = capsys.readouterr().out
    assert question == (
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
        "  - all images without at least one container associated to them\n  - all build cache\n\n"
        "  Items to be pruned will be filtered with:\n  - label=x\n\n"
        "Are you sure you want to continue? [y/N] "
    )
    answers = {
        "containers": {"ContainersDeleted": ["c"], "SpaceReclaimed": 1},
        "networks": {"NetworksDeleted": None},
        "volumes": {"VolumesDeleted": ["v"], "SpaceReclaimed": 2},
        "images": {"ImagesDeleted": [{"Untagged": "a:b"}, {"Deleted": "sha256:1"}], "SpaceReclaimed": 3},
        "build": {"CachesDeleted": None, "SpaceReclaimed": 0},
    }
    daemon.routes |= {f"POST /{kind}/prune": Answer(body=body) for kind, body in answers.items()}
    assert run(["system", "prune", "-f", "--volumes"]) == 0
    assert capsys.readouterr().out == (
        "Deleted Containers:\nc\n\nDeleted Volumes:\nv\n\nDeleted Images:\nuntagged: a:b\ndeleted: sha256:1\n\n"
        "Total reclaimed space: 6B\n"
    )
    assert run(["system", "prune", "--volumes", "--filter", "until=1h"]) == 1


def test_disk_usage_in_full(daemon: Daemon, capsys: Outputs) -> None:
    image = {"Id": IMAGE_ID, "Created": 0, "Containers": 1, "Size": 3000, "SharedSize": 1000, "RepoTags": ["a:b"]}
    volume = VOLUMES[0] | {"UsageData": {"RefCount": 0, "Size": 500}}
    body = {"LayersSize": 5000, "Images": [image], "Containers": [], "Volumes": [volume], "BuildCache": []}
    daemon.routes["GET /system/df"] = Answer(body=body)
    assert run(["system", "df", "--format", "{{.Type}} {{.Size}} {{.Reclaimable}}"]) == 0
    assert capsys.readouterr().out == (
        "Images 5kB 3kB (60%)\nContainers 0B 0B\nLocal Volumes 500B 500B (100%)\nBuild Cache 0B 0B\n"
    )
    assert run(["system", "df", "-v"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[3][-4:] == ["3kB", "1kB", "2kB", "1"]
    assert ["v10", "0", "500B"] in lines and ["Build", "cache", "usage:", "0B"] in lines


def test_devices_that_are_slowed_down() -> None:
    host = body(
        *[
            "--device-read-bps",
            "/dev/sda:1mb",
            "--device-write-iops",
            "/dev/sda:10",
            "--blkio-weight-device",
            "/dev/sda:500",
        ]
    )["HostConfig"]
    assert host["BlkioDeviceReadBps"] == [{"Path": "/dev/sda", "Rate": 1 << 20}]
    assert host["BlkioDeviceWriteIOps"] == [{"Path": "/dev/sda", "Rate": 10}]
    assert host["BlkioWeightDevice"] == [{"Path": "/dev/sda", "Weight": 500}]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ("--device-read-bps /dev/sda", "bad format: /dev/sda"),
        ("--device-read-iops sda:1", "bad format for device path: sda:1"),
        ("--blkio-weight-device /dev/sda:5", "invalid weight for device: /dev/sda:5"),
        ("--gpus some", 'invalid count (some): value must be either "all" or an integer'),
        ("--mount type=bind,src=/a,dst=/b,bind-recursive=x", "invalid value for bind-recursive: x"),
        ("-v :/x", "invalid spec: :/x: empty section between colons"),
        ("-v /a:/b:ro:z", "invalid spec: /a:/b:ro:z: too many colons"),
        ("--log-driver none --log-opt a=b", "invalid logging opts for driver none"),
    ],
)
def test_what_is_refused_before_the_daemon_is_asked(argv: str, complaint: str) -> None:
    with pytest.raises((BadValue, ValueError)) as refused:
        body(*argv.split())
    assert str(refused.value).startswith(complaint)


def test_devices_by_what_they_can_do() -> None:
    (every,) = body("--gpus", "all")["HostConfig"]["DeviceRequests"]
    assert (every["Count"], every["Capabilities"]) == (-1, [["gpu"]])
