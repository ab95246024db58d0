"""The OCI configuration: what Docker's documents become, as values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Json
from engine.oci import capabilities, seccomp
from engine.oci.mounts import Mount
from engine.oci.resources import Device, Support, warnings
from engine.oci.spec import (
    MASKED_PATHS,
    PATH,
    READONLY_PATHS,
    STDIN_ONCE,
    ExecRequest,
    HostFacts,
    SpecRequest,
    User,
    environment,
    exec_process,
    oci_spec,
)
from engine.oci.syscalls import ALWAYS
from netpy.errors import InvalidArgument, Unsupported

ID = "ab" * 32


def request(config: Json | None = None, host: Json | None = None, **changes: Any) -> SpecRequest:
    plain = SpecRequest(
        id=ID,
        rootfs="/r",
        args=("sh", "-c", "true"),
        config=config or {},
        host_config=host or {},
        cgroup=f"/netpy-{ID}",
        netns="/run/netns/x",
        facts=HostFacts(support=Support(cpus=4)),
    )
    return replace(plain, **changes)


def spec(config: Json | None = None, host: Json | None = None, **changes: Any) -> Json:
    return oci_spec(request(config, host, **changes))


def destinations(document: Json) -> list[str]:
    return [mount["destination"] for mount in document["mounts"]]


def test_the_plain_container() -> None:
    plain = spec()
    process = plain["process"]
    assert process["args"] == ["sh", "-c", "true"]
    assert process["cwd"] == "/"
    assert process["env"] == [PATH, f"HOSTNAME={ID[:12]}", "HOME=/root"]
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert plain["hostname"] == ID[:12]
    assert plain["root"] == {"path": "/r", "readonly": False}
    assert plain["linux"]["maskedPaths"] == list(MASKED_PATHS)
    assert plain["linux"]["readonlyPaths"] == list(READONLY_PATHS)
    assert plain["linux"]["cgroupsPath"] == f"/netpy-{ID}"
    assert {"type": "network", "path": "/run/netns/x"} in plain["linux"]["namespaces"]
    json.dumps(plain)


def test_nothing_is_limited_that_was_not_asked_for() -> None:
    plain = spec()
    assert "rlimits" not in plain["process"]
    assert "oomScoreAdj" not in plain["process"]
    assert set(plain["linux"]["resources"]) == {"devices"}
    assert "annotations" not in plain


def test_the_default_capabilities_are_dockers() -> None:
    names = spec()["process"]["capabilities"]["bounding"]
    assert sum(1 << capabilities.NAMES.index(name) for name in names) == 0xA80425FB


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), ("ALL",), set[str]()),
        (("net_admin",), ("ALL",), {"CAP_NET_ADMIN"}),
        (("CAP_NET_RAW",), ("NET_RAW",), set(capabilities.DEFAULTS)),
        (("ALL",), ("SYS_ADMIN",), set(capabilities.NAMES) - {"CAP_SYS_ADMIN"}),
        ((), ("Chown",), set(capabilities.DEFAULTS) - {"CAP_CHOWN"}),
    ],
)
def test_capabilities_added_and_dropped(add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]) -> None:
    held = capabilities.granted(add=add, drop=drop, privileged=False, available=frozenset(capabilities.NAMES))
    assert held == expected


def test_defaults_shrink_to_what_the_host_has_but_a_wish_does_not() -> None:
    host = frozenset({"CAP_CHOWN"})
    assert capabilities.granted(add=(), drop=(), privileged=False, available=host) == host
    with pytest.raises(InvalidArgument, match="CAP_SYS_RESOURCE is not available"):
        capabilities.granted(add=("SYS_RESOURCE",), drop=(), privileged=False, available=host)
    with pytest.raises(InvalidArgument, match='invalid CapDrop: unknown capability: "CAP_FLY"'):
        capabilities.granted(add=(), drop=("fly",), privileged=False, available=host)


def test_privileged_takes_the_walls_down() -> None:
    document = spec(host={"Privileged": True})
    linux = document["linux"]
    assert "seccomp" not in linux
    assert "maskedPaths" not in linux
    assert "readonlyPaths" not in linux
    assert len(document["process"]["capabilities"]["bounding"]) == len(capabilities.NAMES)
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    sysfs = next(mount for mount in document["mounts"] if mount["destination"] == "/sys")
    assert "ro" not in sysfs["options"]


def test_a_terminal() -> None:
    process = spec({"Tty": True}, {"ConsoleSize": [30, 100]})["process"]
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 30, "width": 100}
    assert "TERM=xterm" in process["env"]


def test_the_users_variables_win_and_one_without_value_is_removed() -> None:
    env = environment(["PATH=/x", "HOME=/h", "A=1", "A=2=3", "HOSTNAME"], hostname="web", tty=False, home="/root")
    assert env == ["PATH=/x", "HOME=/h", "A=2=3"]


def test_stdin_once_is_told_to_the_runtime() -> None:
    assert spec({"StdinOnce": True})["annotations"] == {STDIN_ONCE: "true"}


def test_limits() -> None:
    found = spec(host={"Memory": 64 << 20, "NanoCpus": 1_500_000_000, "PidsLimit": 7, "CpuShares": 512})
    resources = found["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert resources["cpu"] == {"period": 100_000, "quota": 150_000, "shares": 512}
    assert resources["pids"] == {"limit": 7}


def test_limits_that_the_host_lacks_are_left_out_with_a_warning() -> None:
    host: Json = {"Memory": 64 << 20, "PidsLimit": 7, "BlkioWeight": 100}
    weak = Support(swap=False, pids=False, weight=False)
    resources = spec(host=host, facts=HostFacts(support=weak))["linux"]["resources"]
    assert resources["memory"] == {"limit": 64 << 20}
    assert "pids" not in resources
    assert "blockIO" not in resources
    assert [text.split(".")[0].split("support ")[1] for text in warnings(host, weak)] == [
        "PIDs limit capabilities or the cgroup is not mounted",
        "Block I/O weight or the cgroup is not mounted",
    ]


def test_throttles_need_device_numbers() -> None:
    entry: Json = {"Path": "/dev/vda", "Rate": 1000}
    with pytest.raises(InvalidArgument, match="cannot throttle /dev/vda"):
        spec(host={"BlkioDeviceReadBps": [entry]})
    found = spec(host={"BlkioDeviceReadBps": [entry | {"Major": 254, "Minor": 0}], "BlkioWeight": 300})
    assert found["linux"]["resources"]["blockIO"] == {
        "weight": 300,
        "throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1000}],
    }


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Memory": 1000}, "Minimum memory limit allowed is 6MB"),
        ({"Memory": 64 << 20, "MemorySwap": 1 << 20}, "larger than memory limit"),
        ({"MemorySwap": 64 << 20}, "always set the Memory limit"),
        ({"NanoCpus": 10**10}, "as there are only 4 CPUs available"),
        ({"NanoCpus": 10**9, "CpuQuota": 1000}, "Conflicting options"),
        ({"DeviceCgroupRules": ["c 1:x rwm"]}, "invalid device cgroup rule"),
        ({"SecurityOpt": ["nonsense=1"]}, "invalid --security-opt"),
        ({"SecurityOpt": ["seccomp={"]}, "Decoding seccomp profile failed"),
    ],
)
def test_impossible_wishes(host: Json, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        spec(host=host)


def test_ulimits_are_cut_to_what_may_be_given() -> None:
    host = {"Ulimits": [{"Name": "nofile", "Soft": 100_000, "Hard": -1}, {"Name": "core", "Soft": 0, "Hard": 0}]}
    limits = spec(host=host, facts=HostFacts(ceilings={"RLIMIT_NOFILE": 20_000}))["process"]["rlimits"]
    assert limits == [
        {"type": "RLIMIT_NOFILE", "hard": 20_000, "soft": 20_000},
        {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
    ]


def test_a_limit_that_the_daemon_raised_for_itself_is_not_handed_on() -> None:
    facts = HostFacts(former_limits={"RLIMIT_NOFILE": (1024, 20_000)})
    former = {"type": "RLIMIT_NOFILE", "hard": 20_000, "soft": 1024}
    assert spec(facts=facts)["process"]["rlimits"] == [former]
    asked = {"Ulimits": [{"Name": "nofile", "Soft": 50, "Hard": 60}]}
    assert spec(host=asked, facts=facts)["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 60, "soft": 50}]


def test_binds() -> None:
    document = spec(mounts=(Mount(source="/host", destination="/in", read_only=True, propagation="rshared"),))
    assert {
        "destination": "/in",
        "type": "bind",
        "source": "/host",
        "options": ["rbind", "rshared", "ro"],
    } in document["mounts"]
    assert document["linux"]["rootfsPropagation"] == "shared"


def test_mounts_stand_after_those_they_lie_in() -> None:
    document = spec(mounts=(Mount(source="/b", destination="/a/b"), Mount(source="/a", destination="/a/")))
    found = destinations(document)
    assert found.index("/a") < found.index("/a/b")
    assert found.index("/proc") < found.index("/a")


def test_a_bind_of_dev_replaces_ours() -> None:
    found = destinations(spec(mounts=(Mount(source="/dev", destination="/dev"),)))
    assert found.count("/dev") == 1
    assert "/dev/shm" not in found
    assert "/proc" in found


def test_tmpfs_and_shm() -> None:
    document = spec(host={"Tmpfs": {"/scratch": "size=1m,exec"}, "ShmSize": 4096})
    scratch = next(mount for mount in document["mounts"] if mount["destination"] == "/scratch")
    assert scratch["options"] == ["nosuid", "nodev", "size=1m", "exec"]
    shm = next(mount for mount in document["mounts"] if mount["destination"] == "/dev/shm")
    assert "size=4096" in shm["options"]


def test_namespaces() -> None:
    shared = spec(host={"PidMode": "host", "UTSMode": "host"}, netns="", namespaces={"ipc": "/proc/7/ns/ipc"})
    kinds = {entry["type"]: entry.get("path") for entry in shared["linux"]["namespaces"]}
    assert kinds == {"mount": None, "ipc": "/proc/7/ns/ipc", "cgroup": None}
    assert "hostname" not in shared
    assert "sysctl" not in shared["linux"], "net.* may not be written in the host's network namespace"
    legacy = spec(facts=HostFacts(private_cgroup=False))
    assert "cgroup" not in {entry["type"] for entry in legacy["linux"]["namespaces"]}


def test_sysctls() -> None:
    asked = {"net.core.somaxconn": "9", "net.ipv4.ip_unprivileged_port_start": "1024"}
    found = spec(host={"Sysctls": asked}, domainname="example.org")["linux"]["sysctl"]
    assert found == {
        "net.ipv4.ip_unprivileged_port_start": "1024",
        "net.ipv4.ping_group_range": "0 2147483647",
        "net.core.somaxconn": "9",
        "kernel.domainname": "example.org",
    }


def test_init() -> None:
    document = spec(host={"Init": True}, facts=HostFacts(init="/usr/bin/tini-static"))
    assert document["process"]["args"][:3] == ["/sbin/docker-init", "--", "sh"]
    assert "/sbin/docker-init" in destinations(document)
    with pytest.raises(Unsupported, match="install the package tini"):
        spec(host={"Init": True})


def test_devices() -> None:
    device = Device(path="/dev/fuse", kind="c", major=10, minor=229, access="rw")
    linux = spec(devices=(device,))["linux"]
    assert linux["devices"][0]["path"] == "/dev/fuse"
    rules = linux["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert rules[-1] == {"allow": True, "type": "c", "access": "rw", "major": 10, "minor": 229}


def names_allowed(profile: Json) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def test_the_default_filter() -> None:
    plain = spec()["linux"]["seccomp"]
    assert plain["defaultAction"] == "SCMP_ACT_ERRNO"
    assert plain["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    forbidden = {"mount", "umount2", "unshare", "setns", "keyctl", "add_key", "bpf", "reboot", "init_module"}
    forbidden |= {"kexec_load", "swapon", "userfaultfd", "io_uring_setup", "clone3", "pivot_root", "fsopen"}
    assert not forbidden & names_allowed(plain)
    assert {"read", "openat2", "futex", "chroot", "ptrace", "epoll_pwait2", "arch_prctl"} <= names_allowed(plain)
    clone = next(rule for rule in plain["syscalls"] if rule["names"] == ["clone"])
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in plain["syscalls"]


def test_capabilities_open_the_filter() -> None:
    admin = spec(host={"CapAdd": ["SYS_ADMIN"]})["linux"]["seccomp"]
    assert {"mount", "unshare", "clone3", "setns"} <= names_allowed(admin)
    assert all(rule["action"] == "SCMP_ACT_ALLOW" for rule in admin["syscalls"])
    assert "chroot" not in names_allowed(spec(host={"CapDrop": ["SYS_CHROOT"]})["linux"]["seccomp"])


def test_seccomp_options() -> None:
    assert "seccomp" not in spec(host={"SecurityOpt": ["seccomp=unconfined"]})["linux"]
    own = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}],
        "syscalls": [
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [], "excludes": {"caps": ["CAP_FOWNER"]}},
            {"name": "chown", "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["amd64"]}},
            {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["arm"]}},
        ],
    }
    found = spec(host={"SecurityOpt": ["seccomp=" + json.dumps(own)]})["linux"]["seccomp"]
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]
    assert found["syscalls"] == [{"names": ["chown"], "action": "SCMP_ACT_ERRNO"}]


def test_the_shorthand_of_the_calls_leaves_no_brace() -> None:
    assert all(name.replace("_", "").isalnum() for name in ALWAYS)
    assert {"getuid", "getuid32", "geteuid", "lchown32", "pwritev2", "getpid", "getppid", "gettid"} <= set(ALWAYS)
    assert seccomp.default("unheard-of", ())["architectures"] == []


def test_no_new_privileges() -> None:
    assert spec(host={"SecurityOpt": ["no-new-privileges"]})["process"]["noNewPrivileges"] is True
    assert spec(host={"SecurityOpt": ["no-new-privileges:true"]})["process"]["noNewPrivileges"] is True
    assert spec(host={"SecurityOpt": ["no-new-privileges=false"]})["process"]["noNewPrivileges"] is False


def test_an_exec_inherits_from_its_container() -> None:
    asked: Json = {"Cmd": ["sh"], "Env": ["B=2"], "Tty": True, "WorkingDir": ""}
    container: Json = {"Env": ["A=1"], "WorkingDir": "/work"}
    user = User(uid=5, gid=6, groups=(7,), home="/h")
    process = exec_process(
        ExecRequest(options=asked, container=container, host_config={}, hostname="web", user=user, console=(3, 4))
    )
    assert process["cwd"] == "/work"
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}
    assert process["env"] == [PATH, "HOSTNAME=web", "TERM=xterm", "A=1", "B=2", "HOME=/h"]
    assert process["consoleSize"] == {"height": 3, "width": 4}


@given(st.lists(st.sampled_from(["/a", "/a/b", "/a/b/c", "/dev", "/dev/shm", "/z"]), max_size=6))
def test_every_mount_has_one_place_and_follows_its_parents(places: list[str]) -> None:
    document = spec(mounts=tuple(Mount(source="/s", destination=place) for place in places))
    found = destinations(document)
    assert len(found) == len(set(found))
    for index, place in enumerate(found):
        assert not any((later + "/") != place + "/" and place.startswith(later + "/") for later in found[index:])
