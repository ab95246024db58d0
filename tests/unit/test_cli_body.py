"""Flags of run and create into the API's documents: byte for byte what Docker's client sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.endpoints import Attach, attach
from engine.cli.environment import variables
from engine.cli.flags import BadValue, invalid
from engine.cli.mounts import mount

from .cli_documents import ENDPOINT, FLAGS, MINIMAL, body


def test_the_smallest_document() -> None:
    assert body("-d") == MINIMAL


def test_a_rich_document() -> None:
    argv = (
        "-d --network ynet --network-alias web --ip 10.77.0.200 -p 18080:80 -p 127.0.0.1::53/udp "
        "-e A=1 -v yvol:/data -v /tmp:/hosttmp:ro --cap-add net_admin --dns 10.0.0.53 "
        "--add-host foo:1.2.3.4 -m 64m --cpus 0.5 --restart on-failure:2 -w /tmp "
        "-l k=v --tmpfs /scratch --health-cmd true -h yh"
    )
    found = body(*argv.split())
    host = found.pop("HostConfig")
    endpoints = found.pop("NetworkingConfig")["EndpointsConfig"]
    expected = {name: value for name, value in MINIMAL.items() if name not in ("HostConfig", "NetworkingConfig")}
    assert found == expected | {
        "Hostname": "yh",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
        "Env": ["A=1"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"]},
        "WorkingDir": "/tmp",
        "Labels": {"k": "v"},
    }
    assert host == MINIMAL["HostConfig"] | {
        "Binds": ["yvol:/data", "/tmp:/hosttmp:ro"],
        "NetworkMode": "ynet",
        "PortBindings": {
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
            "80/tcp": [{"HostIp": "", "HostPort": "18080"}],
        },
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "CapAdd": ["CAP_NET_ADMIN"],
        "Dns": ["10.0.0.53"],
        "ExtraHosts": ["foo:1.2.3.4"],
        "Tmpfs": {"/scratch": ""},
        "Memory": 67108864,
        "NanoCpus": 500000000,
    }
    assert endpoints == {"ynet": ENDPOINT | {"IPAMConfig": {"IPv4Address": "10.77.0.200"}, "Aliases": ["web"]}}


def test_an_interactive_document() -> None:
    found = body("-it")
    assert [found[name] for name in ("AttachStdin", "AttachStdout", "Tty", "OpenStdin", "StdinOnce")] == [True] * 5
    assert found["HostConfig"]["ConsoleSize"] == [30, 100]
    assert body("-a", "STDOUT")["AttachStderr"] is False


def test_several_networks() -> None:
    found = body(
        "--network",
        "name=a,ip=10.0.0.2,ip6=fd00::2,alias=x,alias=y,mac-address=02:42:ac:11:00:02,driver-opt=k=v,gw-priority=-3,"
        "link-local-ip=169.254.1.1",
        "--net",
        "b",
    )
    assert list(found["NetworkingConfig"]["EndpointsConfig"]) == ["a", "b"]
    assert found["NetworkingConfig"]["EndpointsConfig"]["a"] == ENDPOINT | {
        "IPAMConfig": {"IPv4Address": "10.0.0.2", "IPv6Address": "fd00::2", "LinkLocalIPs": ["169.254.1.1"]},
        "Aliases": ["x", "y"],
        "MacAddress": "02:42:ac:11:00:02",
        "DriverOpts": {"k": "v"},
        "GwPriority": -3,
    }
    assert found["HostConfig"]["NetworkMode"] == "a"


def test_a_network_without_wishes_has_no_endpoint() -> None:
    found = body("--network", "host")
    assert found["NetworkingConfig"]["EndpointsConfig"] == {}
    assert found["HostConfig"]["NetworkMode"] == "host"


def test_limits_and_the_rest() -> None:
    argv = (
        "--memory-swap -1 --memory-reservation 1g --pids-limit 9 --cap-drop ALL --cap-add CAP_CHOWN "
        "--ulimit nofile=1:2 --ulimit core=0 --device /dev/null:/dev/x:rw --device /dev/zero "
        "--sysctl net.x=1 --init --shm-size 64m --rm --mount type=bind,src=/a,dst=/b,ro "
        "--log-opt a=b --log-opt c --security-opt no-new-privileges --read-only"
    )
    host = body(*argv.split())["HostConfig"]
    assert (host["MemorySwap"], host["MemoryReservation"], host["PidsLimit"], host["ShmSize"]) == (
        -1,
        1 << 30,
        9,
        64 << 20,
    )
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["CAP_CHOWN"])
    assert host["Ulimits"] == [{"Name": "core", "Hard": 0, "Soft": 0}, {"Name": "nofile", "Hard": 2, "Soft": 1}]
    assert host["Devices"] == [
        {"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"},
        {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/zero", "CgroupPermissions": "rwm"},
    ]
    assert host["Mounts"] == [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True}]
    assert (host["Sysctls"], host["Init"], host["AutoRemove"], host["ReadonlyRootfs"]) == (
        {"net.x": "1"},
        True,
        True,
        True,
    )
    assert (host["LogConfig"]["Config"], host["SecurityOpt"]) == ({"a": "b", "c": ""}, ["no-new-privileges"])


def test_process_options(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\n\n  A=1\nHOME\nNOPE\n")
    found = body("--env-file", str(tmp_path / "env"), "-e", "B=", "-e", "GONE", "--entrypoint", "", "--stop-timeout", "0",
                 "--stop-signal", "INT", "-v", "/anon", "-v", "./rel:/rel", "--health-interval", "1m30s", "--expose", "9")  # fmt: skip
    assert found["Env"] == ["A=1", "HOME=/root", "B=", "GONE"]
    assert (found["Entrypoint"], found["StopTimeout"], found["StopSignal"]) == ([""], 0, "INT")
    assert (found["Volumes"], found["HostConfig"]["Binds"]) == ({"/anon": {}}, ["/work/rel:/rel"])
    assert (found["Healthcheck"], found["ExposedPorts"]) == ({"Interval": 90_000_000_000}, {"9/tcp": {}})
    assert body("--no-healthcheck")["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--rm --restart always", "conflicting options: cannot specify both --restart and --rm"),
        ("--restart always:x", "invalid restart policy format: maximum retry count must be an integer"),
        ("--mac-address zz", "zz is not a valid mac address"),
        (
            "--network host --network a",
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        ("--network a --network a", 'network "a" is specified multiple times'),
        ("--network-alias x", "network-scoped aliases are only supported for user-defined networks"),
        (
            "--ip 1.2.3.4 --network name=a,ip=1.2.3.5",
            "conflicting options: cannot specify both --ip and per-network IPv4 address",
        ),
        (
            "--network-alias x --network name=a,alias=y",
            "conflicting options: cannot specify both --network-alias and per-network alias",
        ),
        ("--label-file /nope", "open /nope: no such file or directory"),
        ("--device /a:/b:/c:/d", "bad format for path: /a:/b:/c:/d"),
        (
            "--security-opt seccomp=/nope",
            "opening seccomp profile (/nope) failed: open /nope: no such file or directory",
        ),
        ("--no-healthcheck --health-cmd x", "--no-healthcheck conflicts with --health-* options"),
        ("-p 99999:1", "invalid hostPort: 99999"),
    ],
)
def test_options_that_do_not_go_together(argv: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        body(*argv.split())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--memory x", 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        ("-e =x", 'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        ("--network x,y=1", 'invalid argument "x,y=1" for "--network" flag: invalid field x'),
        (
            "--network ip=1.2.3.4",
            'invalid argument "ip=1.2.3.4" for "--network" flag: network name/id is not specified',
        ),
        ("--network name=a,x=y", 'invalid argument "name=a,x=y" for "--network" flag: invalid field key x'),
        ("--mount type=bind", 'invalid argument "type=bind" for "--mount" flag: target is required'),
        ("--ulimit x", 'invalid argument "x" for "--ulimit" flag: invalid ulimit argument: x'),
        ("--add-host foo", 'invalid argument "foo" for "--add-host" flag: bad format for add-host: "foo"'),
        ("--dns 1.2.x", 'invalid argument "1.2.x" for "--dns" flag: IP address is not correctly formatted: 1.2.x'),
        ("--cpus x", 'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number'),
        ("--link a:b:c", 'invalid argument "a:b:c" for "--link" flag: bad format for links: a:b:c'),
        ("--sysctl a", 'invalid argument "a" for "--sysctl" flag: sysctl \'a\' is not allowed'),
        (
            "--health-interval 1",
            'invalid argument "1" for "--health-interval" flag: time: missing unit in duration "1"',
        ),
        ("-a foo", 'invalid argument "foo" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'),
    ],
)
def test_bad_values_name_their_flag(argv: str, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        body(*argv.split())
    assert invalid(FLAGS, caught.value) == message


def test_a_plain_network_is_its_name() -> None:
    assert attach("front") == Attach(target="front")
    assert attach("container:web") == Attach(target="container:web")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("foo=1,target=/a", "unexpected key 'foo' in 'foo=1'"),
        ("type=bind,target=/a,ro=x", "invalid value for ro: x"),
        ("type=bind,src=/a,target=/a,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
        ("type=tmpfs,target=/a,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
    ],
)
def test_bad_mounts(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        mount(spec)
    assert str(caught.value) == message


def test_mounts_with_details() -> None:
    assert mount("source=v,target=/c,volume-nocopy,volume-opt=a=b,volume-driver=local,volume-label=x=y") == {
        "Type": "volume",
        "Source": "v",
        "Target": "/c",
        "VolumeOptions": {
            "NoCopy": True,
            "DriverConfig": {"Options": {"a": "b"}, "Name": "local"},
            "Labels": {"x": "y"},
        },
    }
    assert mount("type=tmpfs,target=/d,tmpfs-size=1m,tmpfs-mode=1777")["TmpfsOptions"] == {
        "SizeBytes": 1 << 20,
        "Mode": 0o1777,
    }


def test_env_files_are_checked(tmp_path: Path) -> None:
    for content, message in (("=x", "no variable name on line '=x'"), ("a b=c", "variable 'a b' contains whitespaces")):
        (tmp_path / "env").write_text(content)
        with pytest.raises(ValueError, match=message):
            variables([], [str(tmp_path / "env")], {})
