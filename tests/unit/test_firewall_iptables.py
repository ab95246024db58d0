"""The x_tables compiler: golden documents, and what they have to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpy.diff import Update, diff
from netpy.errors import InvalidArgument
from netpy.firewall import iptables
from netpy.firewall.rules import Chain, Opening, Passage, Skeleton, inner
from netpy.model import Family
from netpy.objects import Bridge, Isolate, Masquerade
from tests.unit.firewall_scenarios import SCENARIOS, publish

GOLDEN = Path(__file__).parent.parent / "golden" / "iptables"
DOCUMENTS: list[tuple[str, Family]] = [
    (name, family)
    for name, intents in SCENARIOS.items()
    for family in (4, 6)
    if iptables.document(iptables.lower("netpy", intents), family)
]


@pytest.mark.parametrize(("name", "family"), DOCUMENTS)
def test_rules_are_as_recorded(name: str, family: Family) -> None:
    text = iptables.document(iptables.lower("netpy", SCENARIOS[name]), family)
    assert text == (GOLDEN / f"{name}.ipv{family}.txt").read_text()


def test_no_golden_document_is_left_over() -> None:
    assert {path.name for path in GOLDEN.glob("*.txt")} == {f"{name}.ipv{family}.txt" for name, family in DOCUMENTS}


@pytest.mark.parametrize("instance", ("netpy", "netpy-123abc", "an-instance-with-a-very-long-name"))
def test_chain_names_fit_and_tell_instances_apart(instance: str) -> None:
    state = iptables.lower(instance, [intent for intents in SCENARIOS.values() for intent in intents[:1]])
    names = {obj.name for obj in map(inner, state) if isinstance(obj, Chain)}
    names |= {frame.name for obj in state if isinstance(obj, Skeleton) for frame in obj.frames}
    assert max(map(len, names)) <= 28
    assert all(name.startswith(iptables.prefix(instance) + "-") for name in names)


def test_every_look_up_of_published_ports_stands_behind_the_local_destination_guard() -> None:
    for family in (4, 6):
        hooks = [hook for table, hook in iptables.skeleton("netpy", family).hooks if "PUBLISHED" in hook.rule]
        assert {hook.parent for hook in hooks} == {"PREROUTING", "OUTPUT"}
        assert all("-m addrtype --dst-type LOCAL" in hook.rule for hook in hooks)


def test_the_users_chain_comes_first() -> None:
    order = [hook.rule for _, hook in iptables.skeleton("netpy", 4).hooks if hook.parent == "FORWARD"]
    assert order == ["-j NETPY-USER", "-j NETPY-FORWARD"]
    [user] = [frame for frame in iptables.skeleton("netpy", 4).frames if frame.user]
    assert not user.rules


def test_a_port_more_changes_one_chain() -> None:
    ports = [publish(f"0.0.0.0 {port}", "10.9.0.2 80") for port in (80, 81)]
    [change] = diff(iptables.lower("netpy", ports[:1]), iptables.lower("netpy", ports))
    assert isinstance(change, Update)
    assert isinstance(change.after, Opening)


def test_ports_do_not_depend_on_how_they_are_asked_for() -> None:
    ports = SCENARIOS["port-range"]
    assert iptables.lower("netpy", ports) == iptables.lower("netpy", reversed(ports))


def test_only_the_families_in_use_get_a_frame() -> None:
    state = iptables.lower("netpy", SCENARIOS["nat"])
    assert [obj.family for obj in state if isinstance(obj, Skeleton)] == [4]
    bridge = Bridge(name="br-a", mac="02:00:00:00:00:01", mtu=1500, mark="x")
    assert iptables.lower("netpy", [bridge]) == {bridge}


def test_in_the_legacy_tables_a_passage_stands_in_our_own_frame() -> None:
    state = iptables.lower("netpy", SCENARIOS["dual-stack"])
    passages = {(obj.where, obj.family) for obj in state if isinstance(obj, Passage)}
    assert passages == {("nft", 4), ("nft", 6), ("frame", 4), ("frame", 6)}


def test_chains_are_compared_by_what_the_kernel_can_tell() -> None:
    [chain] = [inner(obj) for obj in iptables.lower("netpy", SCENARIOS["ports"][:1]) if isinstance(obj, Opening)]
    assert isinstance(chain, Chain)
    dumped = Chain(family=4, table=chain.table, name=chain.name, tags=chain.tags)
    assert dumped == chain
    assert not diff({dumped}, {chain})
    assert "--to-destination 10.9.0.2:80" in chain.describe()
    assert dumped.describe().endswith("2 rules")


@pytest.mark.parametrize("intent", (Isolate, Masquerade))
def test_names_that_mean_something_else_are_refused(intent: type) -> None:
    with pytest.raises(InvalidArgument, match="cannot be used"):
        iptables.lower("netpy", [intent(bridge="br+", subnet="10.9.0.0/24")])
