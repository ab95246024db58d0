"""Real containers: what they see of the machine, what they may do, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.model import Json
from engine.oci.mounts import Mount
from engine.runtime import accounts, host
from tests.integration.runtime_lab import Lab, busybox, choice, lab

__all__ = ("busybox", "choice", "lab")
pytestmark = pytest.mark.root


def test_capabilities_and_seccomp_are_dockers(lab: Lab) -> None:
    _, text = lab.run("grep", "-E", "^(Cap|Seccomp|NoNew)", "/proc/self/status")
    fields = dict(line.split(":\t") for line in text.splitlines())
    assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"00000000a80425fb"}
    assert {fields[name] for name in ("CapInh", "CapAmb")} == {"0" * 16}
    assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("2", "0")


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /tmp",
        "unshare -U true",
        "unshare -n true",
        "unshare -m true",
        "echo 1 > /proc/sysrq-trigger",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /sys/kernel/uevent_helper",
        "hostname other",
        "umount /proc",
        "pivot_root /tmp /tmp",
        "ip link add d type dummy",
        "chroot --nosuch",
    ],
)
def test_what_is_refused(lab: Lab, command: str) -> None:
    code, text = lab.sh(f"if {command}; then echo it worked; else exit 42; fi")
    assert (code, "it worked" in text) == (42, False), text


def test_the_filter_itself_refuses(lab: Lab) -> None:
    """With the capability added, only the filter could stand in the way: so it is seen to be what opens and closes."""
    script = "mount -t tmpfs none /tmp && echo mounted"
    assert lab.sh(script, host={"CapAdd": ["SYS_ADMIN"]})[1] == "mounted\n"
    closed = lab.facts.capabilities
    policy = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]}
    options = {"CapAdd": ["SYS_ADMIN"], "SecurityOpt": ["seccomp=" + json.dumps(policy)]}
    assert "CAP_SYS_ADMIN" in closed
    code, text = lab.sh(script, host=options)
    assert code != 0
    assert "mounted" not in text


def test_a_namespace_needs_no_capability_but_the_filter(lab: Lab) -> None:
    """Making a user namespace needs no privilege: without the filter it works, with it it does not."""
    if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("this host has no user namespaces")
    open_filter = {"SecurityOpt": ["seccomp=unconfined"]}
    assert lab.sh("unshare -U true && echo made", host=open_filter)[1] == "made\n"
    code, text = lab.sh("unshare -U true && echo made")
    assert code != 0
    assert "made" not in text


def test_proc_is_masked(lab: Lab) -> None:
    _, text = lab.sh("cat /proc/keys /proc/timer_list | wc -c; ls -A /proc/acpi /sys/firmware | grep -v : | wc -w")
    assert text.split() == ["0", "0"]


def test_privileged(lab: Lab) -> None:
    code, text = lab.sh("mount -t tmpfs none /tmp && grep Seccomp: /proc/self/status", host={"Privileged": True})
    assert (code, text.split()) == (0, ["Seccomp:", "0"])


def test_user_environment_and_directory(lab: Lab) -> None:
    user = accounts.resolve(lab.layer, "www")
    code, text = lab.sh(
        "id; pwd; echo $HOME $HOSTNAME $A; hostname; grep CapEff /proc/self/status",
        user=user,
        config={"WorkingDir": "/tmp", "Env": ["A=1"]},
        hostname="web",
    )
    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith("uid=33(www) gid=34(www)")
    assert "50(media)" in lines[0]
    assert lines[1:4] == ["/tmp", "/var/www web 1", "web"]
    assert lines[4].split()[1] == "0" * 16


def test_mounts(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("hello\n")
    wish = {"Tmpfs": {"/scratch": "size=64k"}, "ReadonlyRootfs": True}
    bind = Mount(source=f"{tmp_path}/in", destination="/in", read_only=True)
    script = "cat /in/file; touch /in/x || echo ro; touch /scratch/x && echo rw; touch /x || echo sealed"
    lines = lab.run("sh", "-c", script, host=wish, mounts=(bind,))[1].splitlines()
    assert lines == ["hello", "ro", "rw", "sealed"]


def test_the_writable_layer(lab: Lab) -> None:
    container = lab.start("sh", "-c", "echo new > /etc/passwd; rm -r /tmp; echo done")
    container.until(b"done")
    assert container.wait() == 0
    assert (container.bundle / "upper" / "etc" / "passwd").read_text() == "new\n"
    assert "root" in (lab.layer / "etc" / "passwd").read_text()


def test_sysctls_and_domain_in_a_network_namespace(lab: Lab, namespace: str) -> None:
    code, text = lab.sh(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/core/somaxconn; "
        "cat /proc/sys/kernel/domainname; ls /sys/class/net",
        netns=namespace,
        host={"Sysctls": {"net.core.somaxconn": "99"}},
        domainname="example.org",
    )
    assert (code, text.split()) == (0, ["0", "99", "example.org", "lo"])


def test_init_reaps_and_passes_the_exit_code(lab: Lab) -> None:
    if not lab.facts.init:
        pytest.skip("no static init program")
    assert lab.sh("cat /proc/1/comm; exit 6", host={"Init": True})[0] == 6


def test_shared_namespaces(lab: Lab) -> None:
    first = lab.start("sleep", "600")
    pid = first.process.pid
    _, text = lab.sh("ps", namespaces={"pid": f"/proc/{pid}/ns/pid", "ipc": f"/proc/{pid}/ns/ipc"})
    assert "sleep 600" in text


def test_ulimits_and_devices(lab: Lab) -> None:
    wish: Json = {
        "Ulimits": [{"Name": "nofile", "Soft": 77, "Hard": 2**40}],
        "Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/mine", "CgroupPermissions": "r"}],
    }
    code, text = lab.sh("ulimit -Sn; ls -l /dev/mine", host=wish, devices=host.devices(wish))
    assert code == 0
    assert text.splitlines()[0] == "77"
    assert "1,  11" in text
