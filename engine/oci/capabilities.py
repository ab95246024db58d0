"""Linux capabilities of a container: Docker's defaults, and what --cap-add, --cap-drop and --privileged make of them.

Pure. Which capabilities the daemon itself may hand out is a fact about the host and comes in as an argument: asking a
runtime for one outside the bounding set makes it fail, so the defaults are cut down to what there is, while naming
one explicitly that cannot be had is an error.
"""

from __future__ import annotations

from collections.abc import Iterable

from netpy.errors import InvalidArgument

# In the order of their numbers, from linux/capability.h.
_ORDER = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
    SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_DEFAULTS = """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP
    SETUID SYS_CHROOT
"""
NAMES = tuple(f"CAP_{name}" for name in _ORDER.split())
DEFAULTS = frozenset(f"CAP_{name}" for name in _DEFAULTS.split())


def from_mask(mask: int) -> frozenset[str]:
    """The capabilities of a bit mask, as /proc/<pid>/status prints it."""
    return frozenset(name for bit, name in enumerate(NAMES) if mask >> bit & 1)


def granted(*, add: Iterable[str], drop: Iterable[str], privileged: bool, available: frozenset[str]) -> frozenset[str]:
    """What a container gets. Names may lack the prefix CAP_ and be in any case; ALL stands for every one.

    As Docker: a capability that is both dropped and added is added, also with ALL on either side.
    Raises InvalidArgument for an unknown or unavailable name.
    """
    added, dropped = _names("CapAdd", add), _names("CapDrop", drop)
    if privileged:
        return available
    missing = sorted((added - {"ALL"}) - available)
    if missing:
        raise InvalidArgument(f"invalid CapAdd: {missing[0]} is not available to the daemon on this host")
    base = available if "ALL" in added else frozenset[str]() if "ALL" in dropped else DEFAULTS & available
    return (base - (dropped - added)) | (added - {"ALL"})


def check(*, add: Iterable[str], drop: Iterable[str]) -> None:
    """InvalidArgument for a name that is none."""
    _names("CapAdd", add)
    _names("CapDrop", drop)


def _names(field: str, names: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        full = name.upper() if name.upper().startswith("CAP_") else "CAP_" + name.upper()
        if full == "CAP_ALL":
            found.add("ALL")
        elif full in NAMES:
            found.add(full)
        else:
            raise InvalidArgument(f'invalid {field}: unknown capability: "{full}"')
    return frozenset(found)
