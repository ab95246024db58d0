"""Real containers, by each OCI runtime under conmon: what goes in, what comes out, what is refused, what is left.

The rootfs is a static busybox. crun refuses a host whose v2 control group tree stands beside v1 hierarchies and still
has controllers; there it runs behind a script that first, in a mount namespace of its own, mounts those controllers
as v1, so that none is left. Nothing outside sees that mount.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine import accounts, attach, cgroups, host, logs, rootfs, spec, stats
from engine.model import Json
from engine.probe import Choice, complaint, probe
from engine.refusal import StartRefused
from engine.runtime import KILLED, Process, Runtime
from engine.streams import STDERR, STDOUT, Frame, Session
from netpy.errors import Conflict, KernelError, NotFound, Unsupported

pytestmark = pytest.mark.root
PATIENCE = 20.0

V1_ONLY = """\
#!/bin/sh
# The kernel gives a controller back some time after its last mount has gone: until then mounting it fails.
exec unshare --mount --propagation private sh -c '
    controllers=$1; shift
    mount -t tmpfs none /mnt
    for name in $controllers; do
        mkdir /mnt/$name
        tries=0
        until mount -t cgroup -o $name none /mnt/$name 2>/dev/null; do
            tries=$((tries + 1)); [ $tries -gt 200 ] && exit 99; sleep 0.02
        done
    done
    exec crun "$@"' sh '%s' "$@"
"""


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an image's only layer."""
    layer = tmp_path_factory.mktemp("layer")
    (layer / "bin").mkdir()
    shutil.copy("/bin/busybox", layer / "bin" / "busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in applets:
        if name != "busybox":
            (layer / "bin" / name).symlink_to("busybox")
    (layer / "etc").mkdir()
    (layer / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\n")
    (layer / "etc" / "group").write_text("root:x:0:\nwww:x:34:\nmedia:x:50:www\n")
    (layer / "tmp").mkdir(mode=0o1777)
    return layer


@pytest.fixture(scope="module", params=["runc", "crun"])
def choice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Choice:
    name: str = request.param
    binary, conmon = shutil.which(name), shutil.which("conmon")
    if binary is None or conmon is None:
        pytest.skip(f"{name} or conmon is not installed")
    hierarchy = cgroups.detect()
    if name == "crun" and hierarchy.version == "hybrid" and hierarchy.unified:
        script = tmp_path_factory.mktemp("bin") / "crun"
        script.write_text(V1_ONLY % " ".join(sorted(hierarchy.unified)))
        script.chmod(0o755)
        binary = str(script)
    if reason := complaint(binary):
        pytest.skip(f"{name} does not work on this host: {reason}")
    return Choice(name=name, binary=binary, conmon=conmon)


@dataclass
class Container:
    """One container under test."""

    id: str
    runtime: Runtime
    bundle: Path
    process: Process = Process(pid=0, monitor_pid=0)
    session: Session | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    results: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])

    @property
    def log(self) -> Path:
        return self.bundle / "log"

    def on_exit(self, code: int, oom: bool) -> None:
        self.results.append((code, oom))
        self.ended.set()

    def wait(self) -> int:
        assert self.ended.wait(PATIENCE), "the container did not end"
        return self.results[0][0]

    def frames(self) -> list[Frame]:
        assert self.session is not None
        return list(iter(self.session.read, None))

    def output(self, stream: int = STDOUT) -> str:
        return b"".join(frame.data for frame in self.frames() if frame.stream == stream).decode()

    def until(self, text: bytes) -> bytes:
        """Output up to a mark."""
        assert self.session is not None
        seen = b""
        while text not in seen:
            frame = self.session.read()
            assert frame is not None, seen
            seen += frame.data
        return seen

    def say(self, text: str) -> None:
        assert self.session is not None
        self.session.write(text.encode())


class Lab:
    """Makes containers on one runtime, and takes all of them away."""

    def __init__(self, choice: Choice, layer: Path, folder: Path) -> None:
        self.folder, self.layer = folder, layer
        self.hierarchy = cgroups.detect()
        self.facts = host.facts(self.hierarchy)
        self.choice = choice
        self.runtime = self.open()
        self.made: list[Container] = []

    def open(self) -> Runtime:
        """As a daemon does at its start."""
        chosen = self.choice
        return Runtime(exec_root=self.folder, conmon=chosen.conmon, binary=chosen.binary, name=chosen.name)

    def request(self, *args: str, **changes: Any) -> spec.SpecRequest:
        id = secrets.token_hex(32)
        plain = spec.SpecRequest(
            id=id,
            rootfs=str(self.runtime.bundle(id) / "rootfs"),
            args=args,
            config={},
            host_config={},
            cgroup=cgroups.container_path(id),
            facts=self.facts,
        )
        return replace(plain, **changes)

    def create(self, *args: str, config: Json | None = None, host: Json | None = None, **changes: Any) -> Container:
        wish = self.request(*args, config=config or {}, host_config=host or {}, **changes)
        bundle = self.runtime.bundle(wish.id)
        container = Container(id=wish.id, runtime=self.runtime, bundle=bundle)
        self.made.append(container)
        rootfs.mount([self.layer], bundle / "upper", bundle / "work", Path(wish.rootfs))
        (bundle / "config.json").write_text(json.dumps(spec.oci_spec(wish)))
        tty, stdin = bool(wish.config.get("Tty")), bool(wish.config.get("OpenStdin"))
        container.process = self.runtime.create(wish.id, bundle, log=container.log, tty=tty, stdin=stdin)
        container.session = self.runtime.attach(wish.id, tty=tty, stdin=stdin)
        self.runtime.watch(wish.id, container.process.monitor_pid, container.on_exit)
        return container

    def start(self, *args: str, **wishes: Any) -> Container:
        container = self.create(*args, **wishes)
        self.runtime.start(container.id)
        return container

    def run(self, *args: str, **wishes: Any) -> tuple[int, str]:
        container = self.start(*args, **wishes)
        output = container.output()
        return container.wait(), output

    def sh(self, script: str, **wishes: Any) -> tuple[int, str]:
        return self.run("sh", "-c", script + " 2>&1", **wishes)

    def clear(self) -> None:
        for container in self.made:
            if container.session is not None:
                container.session.close()
            self.runtime.delete(container.id, force=True)
            if container.process.monitor_pid:
                gone(container.process.monitor_pid)
            rootfs.unmount(container.bundle / "rootfs")
        self.runtime.close()


def gone(pid: int) -> None:
    """Wait for a process to end."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            assert select.select([pidfd], [], [], PATIENCE)[0], f"process {pid} is still there"
        finally:
            os.close(pidfd)


@pytest.fixture
def lab(choice: Choice, busybox: Path, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(choice, busybox, tmp_path)
    yield made
    made.clear()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    for container in made.made:
        left = [tree for tree in made.hierarchy.trees if (tree / f"netpy-{container.id}").exists()]
        assert left == [], "control groups are left"
    assert list((tmp_path / "runtime").iterdir()) == []


def test_exit_codes_and_streams(lab: Lab) -> None:
    container = lab.start("sh", "-c", "echo out; echo err >&2; exit 7")
    frames = container.frames()
    assert sorted(frames, key=lambda frame: frame.stream) == [Frame(STDOUT, b"out\n"), Frame(STDERR, b"err\n")]
    assert container.wait() == 7
    assert container.results == [(7, False)]
    assert sorted(logs.read(container.log), key=lambda frame: frame.stream) == frames or len(frames) == 2


def test_the_program_waits_for_start(lab: Lab) -> None:
    container = lab.create("sh", "-c", "echo now")
    state = lab.runtime.state(container.id)
    assert state is not None
    assert state["status"] == "created"
    assert lab.runtime.alive(container.id)
    assert lab.runtime.pid(container.id) == state["pid"] == container.process.pid
    assert not container.log.exists() or container.log.read_bytes() == b""
    lab.runtime.start(container.id)
    assert container.output() == "now\n"
    assert container.wait() == 0
    lab.runtime.delete(container.id)
    assert lab.runtime.state(container.id) is None
    lab.runtime.delete(container.id)


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH: unknown'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory: unknown'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied: unknown'),
        ("/etc", 126, 'exec: "/etc": '),
    ],
)
def test_a_program_that_cannot_run(lab: Lab, program: str, code: int, words: str) -> None:
    with pytest.raises(StartRefused) as caught:
        lab.create(program)
    assert caught.value.exit_code == code
    assert words in str(caught.value)
    assert str(caught.value).startswith("failed to create task for container: failed to create shim task: OCI runtime")


def test_standard_input_reaches_the_program_whole(lab: Lab) -> None:
    data = os.urandom(3_000_000)
    container = lab.start("sha256sum", config={"OpenStdin": True, "StdinOnce": True})
    session = container.session
    assert session is not None
    session.write(data)
    session.close_input()
    assert container.output().split()[0] == hashlib.sha256(data).hexdigest()
    assert container.wait() == 0


def test_without_standard_input_there_is_an_end_at_once(lab: Lab) -> None:
    assert lab.run("cat") == (0, "")


def test_an_open_input_outlives_its_clients(lab: Lab) -> None:
    container = lab.start("cat", config={"OpenStdin": True})
    container.say("one\n")
    assert container.until(b"\n") == b"one\n"
    assert container.session is not None
    container.session.close()
    container.session = lab.runtime.attach(container.id, tty=False, stdin=True)
    container.say("two\n")
    assert container.until(b"\n") == b"two\n"
    assert not container.ended.is_set()


def test_closing_a_session_wakes_its_reader(lab: Lab) -> None:
    container = lab.start("sleep", "600")
    found: list[Frame | None] = []
    session = container.session
    assert session is not None
    reader = threading.Thread(target=lambda: found.append(session.read()))
    reader.start()
    session.close()
    reader.join(PATIENCE)
    assert found == [None]


def test_a_terminal_and_its_size(lab: Lab) -> None:
    size = {"ConsoleSize": [30, 100]}
    container = lab.start("sh", config={"Tty": True, "OpenStdin": True, "StdinOnce": True}, host=size)
    container.say("stty size; echo is-$((1+1))\n")
    assert b"30 100" in container.until(b"is-2")
    # The shell hears of a change by a signal; it says so itself, so that nothing need be waited for blindly.
    container.say("trap 'echo size-$(stty size)' WINCH; echo set-$((1+1))\n")
    container.until(b"set-2")
    lab.runtime.resize(container.id, 41, 113)
    container.say("sleep 1; echo\n")
    assert b"size-41 113" in container.until(b"size-41 113")
    container.say("exit 5\n")
    assert container.wait() == 5
    lab.runtime.resize(container.id, 1, 1)


def test_exec(lab: Lab) -> None:
    container = lab.start("sleep", "600", host={"CapDrop": ["NET_RAW"]})

    def run(command: list[str], *, stdin: bytes | None = None, **options: Any) -> tuple[int, list[Frame]]:
        body: Json = {"Cmd": command, **options}
        wish = spec.ExecRequest(options=body, container={}, host_config={}, hostname="h", facts=lab.facts)
        tty = bool(options.get("Tty"))
        done = lab.runtime.exec(container.id, spec.exec_process(wish), tty=tty, stdin=stdin is not None)
        assert done.session is not None
        assert done.pid > 0
        if stdin is not None:
            done.session.write(stdin)
            done.session.close_input()
        frames = list(iter(done.session.read, None))
        done.session.close()
        return done.wait(), frames

    code, frames = run(["sh", "-c", "echo $A; echo err >&2; exit 4"], Env=["A=1"])
    assert code == 4
    assert sorted(frames, key=lambda frame: frame.stream) == [Frame(STDOUT, b"1\n"), Frame(STDERR, b"err\n")]
    assert run(["cat"], stdin=b"x" * 100_000)[0] == 0
    code, frames = run(["tty"], Tty=True)
    assert (code, b"".join(frame.data for frame in frames)) == (0, b"/dev/pts/0\r\n")
    with pytest.raises(StartRefused, match=r'^OCI runtime exec failed: exec failed: .*exec: "nosuch": executable'):
        run(["nosuch"])
    wish = spec.ExecRequest(options={"Cmd": ["sh", "-c", "exit 9"]}, container={}, host_config={}, hostname="h")
    wish = replace(wish, facts=lab.facts)
    detached = lab.runtime.exec(container.id, spec.exec_process(wish), tty=False, stdin=False, detach=True)
    assert detached.session is None
    assert detached.wait() == 9
    assert list((container.bundle / "exec").iterdir()) == []


def test_signals(lab: Lab) -> None:
    container = lab.start("sh", "-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    container.until(b"ready\n")
    with pytest.raises(Conflict, match="is running"):
        lab.runtime.delete(container.id)
    lab.runtime.kill(container.id, signal.SIGTERM)
    assert container.wait() == 3
    with pytest.raises(NotFound, match="is not running"):
        lab.runtime.kill(container.id, signal.SIGTERM)


def test_kill_all(lab: Lab) -> None:
    container = lab.start("sh", "-c", "sleep 600 & sleep 600 & echo ready; wait")
    container.until(b"ready\n")
    assert len(cgroups.pids(lab.hierarchy, lab.runtime.cgroup(container.id))) == 3
    lab.runtime.kill(container.id, signal.SIGKILL, all=True)
    assert container.wait() == KILLED


def test_pause(lab: Lab) -> None:
    container = lab.start("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    container.until(b"tick")
    lab.runtime.pause(container.id)
    assert cgroups.frozen(lab.hierarchy, lab.runtime.cgroup(container.id))
    state = lab.runtime.state(container.id)
    assert state is not None
    assert state["status"] == "paused"
    lab.runtime.resume(container.id)
    assert not cgroups.frozen(lab.hierarchy, lab.runtime.cgroup(container.id))
    container.until(b"tick")
    with pytest.raises(NotFound, match="is not running"):
        lab.runtime.pause("ff" * 32)


def test_logs_are_followed_to_the_end(lab: Lab) -> None:
    container = lab.start("sh", "-c", "echo one; read line; echo two", config={"OpenStdin": True, "StdinOnce": True})
    frames = logs.read(container.log, follow=True, stopped=container.ended.is_set)
    assert next(frames) == Frame(STDOUT, b"one\n")
    container.say("go\n")
    assert list(frames) == [Frame(STDOUT, b"two\n")]
    assert list(logs.read(container.log, tail=1)) == [Frame(STDOUT, b"two\n")]


def test_too_much_memory(lab: Lab) -> None:
    if not lab.facts.support.memory:
        pytest.skip("no memory controller")
    limit = {"Memory": 16 << 20, "MemorySwap": 16 << 20}
    container = lab.start("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M", host=limit)
    assert container.wait() != 0
    assert container.results[0][1], "the kernel's kill was not noticed"


def test_limits_are_in_force(lab: Lab) -> None:
    container = lab.start("sleep", "600", host={"Memory": 64 << 20, "PidsLimit": 17, "NanoCpus": 500_000_000})
    group = lab.runtime.cgroup(container.id)

    def value(controller: str, v1: str, v2: str) -> str:
        name = v2 if lab.hierarchy.is_v2(controller) else v1
        return cgroups.read(lab.hierarchy.file(controller, group, name)).strip()

    assert value("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert value("pids", "pids.max", "pids.max") == "17"
    assert value("cpu", "cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
    subject = stats.Subject(id=container.id, name="x", cgroup=group, hierarchy=lab.hierarchy, pid=container.process.pid)
    document = stats.sample(subject)
    assert document["memory_stats"]["limit"] == 64 << 20
    assert document["pids_stats"] == {"current": 1, "limit": 17}


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
        "date -s 2020.01.01-00:00",
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
    wish = {"Binds": [f"{tmp_path}/in:/in:ro"], "Tmpfs": {"/scratch": "size=64k"}, "ReadonlyRootfs": True}
    script = "cat /in/file; touch /in/x || echo ro; touch /scratch/x && echo rw; touch /x || echo sealed"
    lines = lab.sh(f"({script}) 2>/dev/null", host=wish)[1].splitlines()
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


def test_a_container_that_an_earlier_daemon_started(lab: Lab) -> None:
    container = lab.start("sh", "-c", "read line; exit 8", config={"OpenStdin": True})
    lab.runtime.close()
    lab.runtime = lab.open()
    again, late = threading.Event(), threading.Event()
    codes: list[int] = []

    def report(event: threading.Event) -> Callable[[int, bool], None]:
        def told(code: int, oom: bool) -> None:
            codes.append(code)
            event.set()

        return told

    lab.runtime.watch(container.id, container.process.monitor_pid, report(again))
    session = lab.runtime.attach(container.id, tty=False, stdin=True)
    session.write(b"x\n")
    assert again.wait(PATIENCE)
    session.close()
    # And one that ended while nobody looked.
    lab.runtime.watch(container.id, container.process.monitor_pid, report(late))
    assert late.wait(PATIENCE)
    assert codes == [8, 8]
    with pytest.raises(NotFound, match="its monitor has gone"):
        attach.connect(container.bundle, tty=False, stdin=False)


def test_a_killed_monitor_takes_its_container_along(lab: Lab) -> None:
    container = lab.start("sleep", "600")
    os.kill(container.process.monitor_pid, signal.SIGKILL)
    assert container.wait() == KILLED
    assert not lab.runtime.alive(container.id)


def test_many_at_once(lab: Lab) -> None:
    results: dict[int, int] = {}
    lock = threading.Lock()

    def one(number: int) -> None:
        code, _ = lab.run("sh", "-c", f"exit {number}")
        with lock:
            results[number] = code

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: number for number in range(8)}


def test_nothing_is_left_open(lab: Lab) -> None:
    """Descriptors neither pile up here nor leak into containers."""
    lab.run("true")
    before = len(os.listdir("/proc/self/fd"))
    container = lab.start("ls", "/proc/self/fd")
    assert container.output().split() == ["0", "1", "2", "3"], "3 is the directory that ls reads"
    assert container.wait() == 0
    assert container.session is not None
    container.session.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_probe_finds_what_works() -> None:
    assert probe().name in ("crun", "runc")
    with pytest.raises(Unsupported, match="nosuch is not installed: install the package nosuch"):
        probe("nosuch")
    with pytest.raises(Unsupported, match="/bin/true does not work on this host"):
        probe("/bin/true")


def test_overlays(tmp_path: Path) -> None:
    layers = [tmp_path / f"layer{number}" / ("x" * 80) for number in range(60)]
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / f"f{number}").write_text("")
        (layer / "same").write_text(str(number))
    upper, work, target = tmp_path / "upper", tmp_path / "work", tmp_path / "target"
    try:
        rootfs.mount(layers, upper, work, target)
        rootfs.mount(layers, upper, work, target)
        assert len(list(target.iterdir())) == 61
        assert (target / "same").read_text() == "0", "the first layer is the topmost"
        (target / "new").write_text("x")
        assert (upper / "new").exists()
        with (target / "new").open():
            rootfs.unmount(target)
    finally:
        rootfs.unmount(target)
    assert not target.is_mount()
    with pytest.raises(KernelError, match="cannot mount an overlay on"):
        rootfs.mount([tmp_path / "nosuch"], upper, work, target)
