"""The seam to the kernel: what the controller asks of it, and nothing more.

Two kernels obey this protocol: `netpy.kernel.linux.LinuxKernel`, which needs root, and
`netpy.kernel.memory.MemoryKernel`, a fake that is held to the same integration tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from netpy.diff import Plan, State
from netpy.model import Protocol as Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Tell the neighbours of a new address: gratuitous ARP, unsolicited neighbour advertisement."""

    netns: str
    link: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushConntrack:
    """Forget the flows that a rule which is gone, or new, would have decided otherwise.

    `host_port` is the port that clients spoke to, before translation; 0 means all flows of `address`.
    """

    protocol: Transport
    host_ip: str
    host_port: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetUnanswered:
    """Forget every flow that was neither answered nor translated.

    A flow that begins while the rules are missing is remembered as one that needs no translation; its packets would
    go out under the container's own address, and never be answered, as long as it is tried again.
    """


Action = Announce | FlushConntrack | ForgetUnanswered


class Kernel(Protocol):
    """Everything that is read from or written to the machine's network."""

    def lower(self, state: Iterable[object]) -> State:
        """`state` with every firewall intent replaced by the objects of the firewall backend in use. Pure."""
        ...

    def observe(self, like: State, *, cursory: bool = False) -> State:
        """What exists under the keys of `like` (a lowered state), in the same terms; what is missing is left out.

        Looks up by key and never by dump; reads only fields that the objects of `like` state. `cursory` takes for
        whole what all networks share as long as it is there at all, which is good enough on the way of a container.
        """
        ...

    def owned(self) -> State:
        """Every object that carries our instance's mark, by one full dump: for reconcile, to find orphans."""
        ...

    def apply(self, plan: Plan) -> None:
        """Make the changes, in order, in as few batches as possible. ApplyError says how far it came.

        Deleting what is already gone succeeds.
        """
        ...

    def doubt(self) -> None:
        """Something could not be taken away, or looked at: whoever watches is to look soon, and mend."""
        ...

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out effects that leave no state. Best effort: failures are logged, never raised."""
        ...

    def hold(self, protocol: Transport, host_ip: str, host_port: int) -> int:
        """Occupy a host port with a socket; 0 lets the kernel choose. Returns the port.

        Conflict("failed to bind host port 0.0.0.0:80/tcp: address already in use") when somebody has it.
        """
        ...

    def release(self, protocol: Transport, host_ip: str, host_port: int) -> None:
        """Close the socket that `hold` opened, if there is one."""
        ...

    def create_netns(self, path: str) -> None:
        """A new network namespace, loopback up, held by a bind mount at `path`. Conflict if there is one."""
        ...

    def delete_netns(self, path: str) -> None:
        """Unmount and remove it; succeeds when it is gone."""
        ...

    def has_netns(self, path: str) -> bool:
        """Whether there is a network namespace at `path`."""
        ...

    def host_prefixes(self) -> list[str]:
        """Every prefix that the host routes or is on, both families, as CIDR text; for overlap checks."""
        ...

    def lacks(self, kind: str) -> str:
        """What is missing for links of a kind (`macvlan`, `ipvlan`, `vlan`), in words; empty where they can be made."""
        ...

    def local_port_range(self) -> tuple[int, int]:
        """First and last ephemeral port of the host."""
        ...
