"""Mount points from Docker's documents, and options of volumes."""

from __future__ import annotations

from typing import Any

import pytest

from engine.containers import mounts, volumeoptions
from engine.containers.volumeoptions import Mounting
from engine.model import Json
from netpy.errors import InvalidArgument


def points(config: Json | None = None, **host: Any) -> list[Json]:
    return mounts.points(config or {}, host, lambda reference: [])


def test_binds_and_volumes() -> None:
    bind, named, anonymous = points({"Volumes": {"/anon": {}, "/data": {}}}, Binds=["/host/:/in:ro", "vol:/data"])
    assert (bind["Type"], bind["Source"], bind["RW"], bind["Mode"]) == ("bind", "/host", False, "ro")
    assert (named["Type"], named["Name"], named["Destination"]) == ("volume", "vol", "/data")
    assert (anonymous["Name"], anonymous["Destination"]) == ("", "/anon")


def test_mounts_of_the_long_form() -> None:
    bind, volume, scratch = points(
        Mounts=[
            {"Type": "bind", "Source": "/s", "Target": "/t", "ReadOnly": True},
            {"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"NoCopy": True}},
            {"Type": "tmpfs", "Target": "/tmp"},
        ]
    )
    assert bind["Required"] and not bind["RW"]
    assert volume["NoCopy"] and volume["Mode"] == "z"
    assert scratch["Type"] == "tmpfs" and scratch["Source"] == ""


def test_tmpfs_covers_a_volume_of_the_image() -> None:
    assert points({"Volumes": {"/scratch": {}}}, Tmpfs={"/scratch/": ""}) == []


def test_volumes_from() -> None:
    others = [{"Type": "bind", "Source": "/s", "Destination": "/d", "RW": True, "Mode": "", "Propagation": ""}]
    (found,) = mounts.points({}, {"VolumesFrom": ["other:ro"]}, lambda reference: others)
    assert found["Source"] == "/s" and found["RW"] is False


@pytest.mark.parametrize(
    ("host", "match"),
    [
        ({"Binds": ["/a:b"]}, "mount path must be absolute"),
        ({"Binds": ["/a:/"]}, "destination can't be '/'"),
        ({"Binds": ["/a:/b:ro:x"]}, "invalid volume specification"),
        ({"Binds": ["/a::ro"]}, "invalid volume specification"),
        ({"Binds": ["/a:/b:fast"]}, "invalid mode: fast"),
        ({"Binds": ["/a:/b", "/c:/b/"]}, "Duplicate mount point: /b"),
        ({"Mounts": [{"Type": "bind", "Source": "a", "Target": "/b"}]}, "mount path must be absolute"),
        ({"Mounts": [{"Type": "cloud", "Target": "/b"}]}, "mount type unknown"),
        ({"Mounts": [{"Type": "volume"}]}, "field Target must not be empty"),
        ({"VolumesFrom": ["x:maybe"]}, "^invalid mode: maybe"),
        ({"Binds": ["vol:/b:ro,rw"]}, "^invalid mode: ro,rw$"),
        ({"Binds": ["vol:/b:rshared"]}, 'type "volume": field BindOptions must not be specified'),
        ({"Binds": ["/a:/b:nocopy"]}, 'type "bind": field VolumeOptions must not be specified'),
        ({"Mounts": [{"Type": "tmpfs", "Source": "a", "Target": "/b"}]}, "field Source must not be specified"),
        ({"Mounts": [{"Type": "volume", "Target": "/b", "VolumeOptions": {"Subpath": "../c"}}]}, "subpath"),
        ({"Binds": ["vol:/b"], "Tmpfs": {"/b/": ""}}, "Duplicate mount point: /b"),
        ({"Tmpfs": {"/b": "rw,what"}}, r'^invalid tmpfs option \["what"\]$'),
        ({"Tmpfs": {"b": ""}}, "^invalid mount path: 'b' mount path must be absolute"),
    ],
)
def test_bad_mounts(host: Json, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        points(**host)


def test_tmpfs_are_shown_and_named_volumes_are_shared() -> None:
    tmpfs = {"Type": "tmpfs", "Target": "/s", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o700}}
    named, scratch, anonymous = points({"Volumes": {"/anon": {}}}, Binds=["vol:/data"], Mounts=[tmpfs])
    assert (named["Mode"], anonymous["Mode"], scratch["Mode"]) == ("z", "", "")
    assert scratch["Tmpfs"] == ["size=1024", "mode=700"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"foo": "bar"}, 'create vol: invalid option: "foo"'),
        ({"type": "tmpfs"}, 'create vol: missing required option: "device"'),
        ({"device": "/x"}, 'create vol: missing required option: "type"'),
        ({"size": "1m"}, "create vol: quota size requested but no quota support"),
    ],
)
def test_bad_options_of_volumes(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        volumeoptions.check_options("vol", options)
    assert str(refused.value) == complaint


def test_what_options_of_volumes_come_to() -> None:
    assert volumeoptions.mounting({}) is None
    tmpfs = volumeoptions.mounting({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,noexec,exec,ro"})
    assert tmpfs == Mounting(device="tmpfs", kind="tmpfs", flags=1, data="size=1m,uid=1000")
    bind = volumeoptions.mounting({"type": "none", "device": "/nope", "o": "bind"})
    assert bind and volumeoptions.failure(bind, "/v/_data", "no such file or directory") == (
        "error while mounting volume '/v/_data': failed to mount local volume: "
        "mount /nope:/v/_data, flags: 0x1000: no such file or directory"
    )
    share = Mounting(device="//h/s", kind="cifs", flags=0, data="addr=h,password=secret,vers=3")
    assert volumeoptions.address(share) == "h"
    assert "secret" not in volumeoptions.failure(share, "/v", "no such device")
