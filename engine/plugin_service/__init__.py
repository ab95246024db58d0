"""netpy as a plugin of Docker's: our drivers and our address manager, for a real dockerd.

`service` is the composition root and the HTTP side, `calls` the NetworkDriver calls on the public surface of netpy
(`netpy.Controller`, with a store and an instance of its own), `addresses` the IpamDriver calls, `handing` (pure) what
becomes of a driver when somebody else moves the interface into the sandbox.

What is different from our own engine: libnetwork chooses the addresses, takes one end of the pair away, gives it its
address and routes, and tells us of ports later. We keep the bridge, the near end of each pair, isolation, NAT and
published ports. So drift is looked for there alone: the far end has left our view, and what becomes of it in the
container is Docker's to know. When a pair is gone its container has lost its interface, and nobody but Docker can plug
it in again: at a start such endpoints are forgotten.
"""

from __future__ import annotations

from engine.plugin_service.service import main

__all__ = ["main"]
