"""What flags may be given, by the flag's name: fixed sets, and kinds of things whose names the daemon knows. Data."""

from __future__ import annotations

from engine.cli.resources import ULIMITS
from engine.oci.capabilities import NAMES

_CAPABILITIES = ("ALL", *(name.removeprefix("CAP_") for name in NAMES))
_SIGNALS = [
    "ABRT",
    "ALRM",
    "CONT",
    "HUP",
    "INT",
    "KILL",
    "PIPE",
    "QUIT",
    "STOP",
    "TERM",
    "TSTP",
    "USR1",
    "USR2",
    "WINCH",
]

SETS: dict[str, tuple[str, ...]] = {
    "cap_add": _CAPABILITIES,
    "cap_drop": _CAPABILITIES,
    "attach": ("STDIN", "STDOUT", "STDERR"),
    "cgroupns": ("host", "private"),
    "format": ("json", "table"),
    "ipc": ("host", "none", "private", "shareable"),
    "ipam_driver": ("default",),
    "log_driver": ("json-file", "local", "journald", "none"),
    "log_opt": ("max-size=", "max-file=", "compress=", "labels=", "env=", "tag="),
    "mount": ("type=bind,", "type=volume,", "type=tmpfs,"),
    "pid": ("host",),
    "platform": ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386"),
    "pull": ("always", "missing", "never"),
    "restart": ("no", "always", "on-failure", "on-failure:", "unless-stopped"),
    "security_opt": ("seccomp=unconfined", "no-new-privileges", "apparmor=", "label=", "systempaths=unconfined"),
    "signal": tuple(_SIGNALS),
    "stop_signal": tuple(_SIGNALS),
    "type": ("container", "image", "network", "volume"),
    "ulimit": tuple(f"{name}=" for name in ULIMITS),
    "uts": ("host",),
    "userns": ("host",),
    "log_level": ("debug", "info", "warn", "error", "fatal"),
    "firewall_backend": ("auto", "iptables", "nftables"),
}
SOURCES: dict[str, tuple[str, ...]] = {
    "network": ("network",),
    "net": ("network",),
    "volumes_from": ("container",),
    "link": ("container:",),
    "ipc": ("container=",),
    "pid": ("container=",),
    "volume": ("volume:", "files"),
    "cache_from": ("image",),
    "driver": ("driver",),
    "env": ("variable",),
    **{
        name: ("files",)
        for name in [
            "cidfile",
            "cid_file",
            "iidfile",
            "env_file",
            "label_file",
            "input",
            "output",
            "file",
            "device",
            "workdir",
            "config_file",
            "data_root",
            "exec_root",
            "pidfile",
            "tlscacert",
            "tlscert",
            "tlskey",
        ]
    },
}
FILTERS: dict[str, list[str]] = {
    "container": (
        [
            "ancestor",
            "before",
            "exited",
            "expose",
            "health",
            "id",
            "is-task",
            "label",
            "name",
            "network",
            "publish",
            "since",
            "status",
            "until",
            "volume",
        ]
    ),
    "image": ["before", "dangling", "label", "reference", "since", "until"],
    "network": ["dangling", "driver", "id", "label", "name", "scope", "type", "until"],
    "volume": ["all", "dangling", "driver", "label", "name"],
    "system": ["container", "daemon", "event", "image", "label", "network", "type", "until", "volume"],
    "builder": ["until"],
}
