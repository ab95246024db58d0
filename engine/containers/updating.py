"""Changing the limits and the restart policy of a container that exists: `docker update`.

`merged` decides, from the configuration as it is and the change that is asked for, what it becomes, or why it cannot
be, in Docker's words. `update` brings it about: a container that runs gets its new limits by the runtime first, and is
recorded when that has worked; one that does not run gets them when it starts.
"""

from __future__ import annotations

from engine import lifecycle
from engine.containers.documents import table
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry
from engine.model import Container, Json
from engine.oci import resources
from engine.oci.resources import Support
from netpy.errors import Conflict, KernelError

_NUMBERS = (
    *("BlkioWeight", "CpuShares", "NanoCpus", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime"),
    *("Memory", "MemorySwap", "MemoryReservation"),
)
_TEXTS = ("CpusetCpus", "CpusetMems")
# Whoever has limited processors by one means cannot go on by the other: (asked for, there already, words).
_CLASHES = (
    ("NanoCpus", "CpuPeriod", "Nano CPUs cannot be updated as CPU Period has already been set"),
    ("NanoCpus", "CpuQuota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ("CpuPeriod", "NanoCpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("CpuQuota", "NanoCpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
)


def update(parts: Parts, entry: Entry, change: Json) -> list[str]:
    """Change it; returns warnings. The caller holds the entry's lock. Any failure changes nothing."""
    support = parts.host.facts.support
    resources.check(change, support, update=True)
    policy = lifecycle.restart_policy(change.get("RestartPolicy"))
    warnings = resources.warnings(change, support)
    wanted = resources.supported(change, support)
    if table(wanted, "RestartPolicy").get("Name"):
        wanted["RestartPolicy"] = {"Name": policy.name, "MaximumRetryCount": policy.maximum}
    container = entry.container
    try:
        _refuse_departed(container)
        host_config = merged(container.host_config, wanted)
        if container.state.running:
            _apply(parts, container, host_config, support)
    except (Conflict, KernelError) as error:
        raise type(error)(f"Cannot update container {entry.id}: {error}") from error
    announce(parts, parts.records.change(entry, host_config=host_config), "update")
    return warnings


def merged(present: Json, change: Json) -> Json:
    """The HostConfig after the change: what the change does not name stays. Conflict for what does not go together."""
    for asked, there, words in _CLASHES:
        if (change.get(asked) or 0) > 0 and (present.get(there) or 0) > 0:
            raise Conflict(f"Conflicting options: {words}")
    memory, swap = change.get("Memory") or 0, change.get("MemorySwap") or 0
    if memory and memory > (present.get("MemorySwap") or 0) and not swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    found = {key: change[key] for key in (*_NUMBERS, *_TEXTS) if change.get(key)}
    if change.get("PidsLimit") is not None:
        found["PidsLimit"] = max(0, change["PidsLimit"])
    policy = table(change, "RestartPolicy")
    if policy.get("Name"):
        if present.get("AutoRemove") and policy["Name"] != "no":
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
        found["RestartPolicy"] = policy
    return present | found


def limits(host_config: Json, support: Support) -> Json:
    """The OCI resources that a running container is given: all but its devices, which stay as they are."""
    found = resources.resources(host_config, support)
    del found["devices"]
    if host_config.get("PidsLimit") == 0 and support.pids:
        found["pids"] = {"limit": -1}
    return found


def _apply(parts: Parts, container: Container, host_config: Json, support: Support) -> None:
    wanted = limits(host_config, support)
    if wanted != limits(container.host_config, support):
        parts.runtime_of(container).update(container.id, wanted)


def _refuse_departed(container: Container) -> None:
    if container.state.status in ("removing", "dead"):
        raise Conflict('container is marked for removal and cannot be "update"')
