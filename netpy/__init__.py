"""Container networking as a library: networks for sandboxes, which may be any network namespace.

This is the public surface. Names are loaded when they are first used, so that importing one part (the command line's
client, a driver's protocol) does not load netlink and SQLite.

    from netpy import Controller, EndpointSpec, NetworkSpec, Sandbox
    controller.create_network(NetworkSpec(name="back"))
    controller.attach(Sandbox(id="…", netns="/run/netns/a"), [("back", EndpointSpec(name="a", names=("a",)))])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netpy.controller import Controller, Pool, Settings
    from netpy.diff import Plan
    from netpy.errors import (
        ApplyError,
        Conflict,
        Exhausted,
        Forbidden,
        InvalidArgument,
        KernelError,
        NetpyError,
        NotFound,
        Unsupported,
    )
    from netpy.model import (
        Endpoint,
        EndpointSpec,
        Network,
        NetworkSpec,
        PortBinding,
        Sandbox,
        Subnet,
        SubnetSpec,
    )
    from netpy.store import Store

__all__ = [
    "ApplyError",
    "Conflict",
    "Controller",
    "Endpoint",
    "EndpointSpec",
    "Exhausted",
    "Forbidden",
    "InvalidArgument",
    "KernelError",
    "NetpyError",
    "Network",
    "NetworkSpec",
    "NotFound",
    "Plan",
    "Pool",
    "PortBinding",
    "Sandbox",
    "Settings",
    "Store",
    "Subnet",
    "SubnetSpec",
    "Unsupported",
]

_PLACES = {
    "netpy.controller": ("Controller", "Pool", "Settings"),
    "netpy.diff": ("Plan",),
    "netpy.model": (
        "Endpoint",
        "EndpointSpec",
        "Network",
        "NetworkSpec",
        "PortBinding",
        "Sandbox",
        "Subnet",
        "SubnetSpec",
    ),
    "netpy.store": ("Store",),
}
_MODULE = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'netpy' has no attribute {name!r}")
    return getattr(import_module(_MODULE.get(name, "netpy.errors")), name)
