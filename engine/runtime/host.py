"""What the host is and can: the facts that `engine.oci.spec` needs but, being pure, does not ask for itself.

Reads /proc, /sys, /dev and the file system; changes nothing. The facts do not change while a daemon runs, so they are
gathered once.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from engine.model import Json
from engine.oci import capabilities
from engine.oci.resources import THROTTLES, Device, Support
from engine.oci.spec import HostFacts
from engine.runtime.cgroups import Hierarchy, read
from netpy.errors import InvalidArgument
from netpy.kernel import descriptors

_INITS = ("docker-init", "tini-static", "catatonit", "tini")


def facts(hierarchy: Hierarchy, files: tuple[int, int] | None = None) -> HostFacts:
    """Everything at once. What cannot be read counts as missing.

    `files` are the soft and the hard limit of descriptors that were there before the daemon raised its own.
    """
    available = _bounding_set()
    return HostFacts(
        machine=platform.machine(),
        capabilities=available,
        support=support(hierarchy),
        ceilings={} if "CAP_SYS_RESOURCE" in available else _hard_limits(),
        former_limits={descriptors.NAME: files} if files and files[0] != files[1] else {},
        private_cgroup=hierarchy.version == "v2",
        init=_init_program(),
    )


def _bounding_set() -> frozenset[str]:
    for line in read(Path("/proc/self/status")).splitlines():
        if line.startswith("CapBnd:"):
            return capabilities.from_mask(int(line.split()[1], 16))
    return frozenset()


def _hard_limits() -> dict[str, int]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    found = {name: resource.getrlimit(cast("int", getattr(resource, name)))[1] for name in names}
    return {name: limit for name, limit in found.items() if limit != resource.RLIM_INFINITY}


def support(hierarchy: Hierarchy) -> Support:
    """Which limits the mounted controllers can enforce."""
    where = hierarchy.directories

    def has(controller: str, v1_file: str) -> bool:
        # The root group of v2 lacks the files of limits, which apply to children only.
        if controller not in where:
            return False
        return hierarchy.is_v2(controller) or not v1_file or (where[controller] / v1_file).exists()

    io = "io" if "io" in where else "blkio"
    swap = Path("/proc/swaps").exists() if hierarchy.is_v2("memory") else has("memory", "memory.memsw.limit_in_bytes")
    return Support(
        memory=has("memory", ""),
        swap=swap,
        pids=has("pids", ""),
        cpu=has("cpu", ""),
        cpuset=has("cpuset", ""),
        weight=has(io, "blkio.weight") or has(io, "blkio.bfq.weight"),
        throttle=has(io, "blkio.throttle.read_bps_device"),
        swappiness=not hierarchy.is_v2("memory"),
        cpus=os.cpu_count() or 1,
        nodes=len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or 1,
        weight_device=has(io, "blkio.weight_device") or has(io, "blkio.bfq.weight_device"),
    )


def _init_program() -> str:
    """A program that can be process 1 in any rootfs: static, as the rootfs may lack our libraries."""
    for name in _INITS:
        path = shutil.which(name)
        if path and is_static(Path(path)):
            return str(Path(path).resolve())
    return ""


def is_static(program: Path) -> bool:
    """Whether an ELF program asks for no interpreter, that is, needs no libraries. False for anything else."""
    try:
        with program.open("rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:5] != b"\x7fELF\x02":
                return False
            order = "<" if head[5] == 1 else ">"
            offset = struct.unpack_from(order + "Q", head, 32)[0]
            size, count = struct.unpack_from(order + "HH", head, 54)
            file.seek(offset)
            table = file.read(size * count)
    except OSError:
        return False
    interpreter = 3  # PT_INTERP
    return all(struct.unpack_from(order + "I", table, index * size)[0] != interpreter for index in range(count))


def devices(host_config: Json) -> tuple[Device, ...]:
    """The nodes for --device (a directory stands for all in it), or every one of the host for --privileged.

    Raises InvalidArgument where a path does not exist or is no device.
    """
    if host_config.get("Privileged"):
        return tuple(_below(Path("/dev"), "/dev", "rwm"))
    found: list[Device] = []
    for item in cast("list[Json]", host_config.get("Devices") or []):
        source = str(item.get("PathOnHost", ""))
        target = str(item.get("PathInContainer") or source)
        found += _asked(Path(source), target, str(item.get("CgroupPermissions") or "rwm"))
    return tuple(found)


def with_block_devices(host_config: Json) -> Json:
    """The same HostConfig with the numbers of the block devices that are to be throttled, for `engine.oci.spec`.

    Raises InvalidArgument where a path does not exist or is no block device.
    """
    numbered = {field: [_numbered(entry) for entry in host_config[field]] for field in _throttled(host_config)}
    return host_config | numbered


def _throttled(host_config: Json) -> list[str]:
    return [field for field in (*THROTTLES.values(), "BlkioWeightDevice") if host_config.get(field)]


def _numbered(entry: Json) -> Json:
    path = str(entry.get("Path", ""))
    try:
        node = Path(path).stat()
    except OSError as error:
        raise InvalidArgument(f"stat {path}: {(error.strerror or '').lower()}") from None
    if not stat.S_ISBLK(node.st_mode):
        raise InvalidArgument(f"cannot throttle {path}: it is no block device")
    return entry | {"Major": os.major(node.st_rdev), "Minor": os.minor(node.st_rdev)}


def _asked(source: Path, target: str, access: str) -> list[Device]:
    if not source.exists():
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": no such file or directory'
        )
    if source.is_dir():
        return list(_below(source, target, access))
    device = _node(source, target, access)
    if device is None:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": not a device node'
        )
    return [device]


# What the runtime itself puts into /dev, and what belongs to no container.
_NOT_PASSED = """
    pts shm fd mqueue console .lxc .lxd-mounts .udev ptmx null zero full random urandom tty
"""
_OWN = frozenset(_NOT_PASSED.split())


def _below(source: Path, target: str, access: str) -> Iterator[Device]:
    for entry in sorted(source.iterdir()) if source.is_dir() else []:
        if source == Path("/dev") and entry.name in _OWN:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _below(entry, f"{target}/{entry.name}", access)
        elif not entry.is_symlink() and (device := _node(entry, f"{target}/{entry.name}", access)):
            yield device


def _node(source: Path, target: str, access: str) -> Device | None:
    try:
        status = source.stat()
    except OSError:
        return None
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    return Device(
        path=target,
        kind=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )
