"""Effects that are no state, derived from a plan: pure, so that a dry run could show them and a test compares them.

A new address inside a sandbox is announced to its neighbours, who may remember whoever had it before. Connections that
were tracked under the rules of before are forgotten: UDP flows to a published port that comes or goes (a UDP flow
never ends by itself), and every flow of an address that leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netpy.diff import Create, Delete, Plan
from netpy.kernel import Action, Announce, FlushConntrack, ForgetUnanswered
from netpy.objects import Address, KernelObject, LinkObject, Publish


def followups(plan: Plan, macs: Mapping[tuple[str, str], str]) -> list[Action]:
    """The actions after a plan over intents. `macs` are interfaces' MAC addresses by (namespace, interface)."""
    return list(dict.fromkeys(_actions(plan, macs)))


def after_mending(plan: Plan, macs: Mapping[tuple[str, str], str]) -> list[Action]:
    """The actions after a lowered plan that mended: addresses announced; flows that began without rules forgotten."""
    made = [change for change in plan if not isinstance(change, Delete)]
    actions = followups(Plan(tuple(change for change in made if isinstance(change, Create))), macs)
    rules = any(not isinstance(change.after, LinkObject) and not change.key.netns for change in made)
    return [*actions, ForgetUnanswered()] if rules else actions


def has_followups(obj: KernelObject) -> bool:
    """Whether anything could follow when it comes or goes."""
    return isinstance(obj, Address) or (isinstance(obj, Publish) and obj.protocol == "udp")


def _actions(plan: Plan, macs: Mapping[tuple[str, str], str]) -> Iterator[Action]:
    for change in plan:
        match change:
            case Create(Address(netns=netns, link=link) as address) if netns and macs.get((netns, link)):
                yield Announce(netns=netns, link=link, address=_bare(address), mac=macs[netns, link])
            case Delete(Address(netns=netns) as address) if netns:
                yield FlushConntrack(protocol="udp", host_ip="", host_port=0, address=_bare(address))
            case Create(Publish(protocol="udp") as publish) | Delete(Publish(protocol="udp") as publish):
                yield FlushConntrack(
                    protocol="udp", host_ip=publish.host_ip, host_port=publish.host_port, address=publish.address
                )
            case _:
                pass


def _bare(address: Address) -> str:
    return address.address.partition("/")[0]
