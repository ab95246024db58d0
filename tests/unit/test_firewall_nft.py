"""The nftables compiler: golden documents, and what they have to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netpy.diff import Create, Delete, Update, diff
from netpy.errors import InvalidArgument
from netpy.firewall import nft, sources
from netpy.firewall.rules import Element, Opening, Passage, Ruleset, inner
from netpy.objects import AllowPort, Bridge, Isolate, Publish, RedirectDns, Source
from tests.unit.firewall_scenarios import SCENARIOS, publish

GOLDEN = Path(__file__).parent.parent / "golden" / "nft"
BASE = nft.ruleset("netpy")


def test_the_static_tables_are_as_recorded() -> None:
    text = "\n".join((*nft.script(BASE), *nft.script(sources.ruleset("netpy")), ""))
    assert text == (GOLDEN / "table.txt").read_text()


@pytest.mark.parametrize("name", SCENARIOS)
def test_elements_are_as_recorded(name: str) -> None:
    assert nft.document(nft.lower("netpy", SCENARIOS[name])) == (GOLDEN / f"{name}.txt").read_text()


def test_no_golden_document_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {"table", *SCENARIOS}


def test_every_look_up_of_published_ports_stands_behind_the_local_destination_guard() -> None:
    chains = {chain.name: chain.rules for chain in BASE.chains}
    assert any("@port4" in rule for rule in chains["published"])
    jumps = [rule for rules in chains.values() for rule in rules if "jump published" in rule]
    assert len(jumps) == 2
    assert all(rule == "fib daddr type local jump published" for rule in jumps)
    assert [name for name, rules in chains.items() if " map @port" in str(rules)] == ["published"]


def test_every_set_is_used_and_every_used_set_exists() -> None:
    rules = "\n".join(rule for chain in BASE.chains for rule in chain.rules)
    assert set(re.findall(r"@(\w+)", rules)) == {each.name for each in BASE.sets}


def test_every_set_for_bridges_is_used_but_for_the_one_that_keeps_the_table() -> None:
    base = sources.ruleset("netpy")
    rules = "\n".join(rule for chain in base.chains for rule in chain.rules)
    assert set(re.findall(r"@(?!ll|nh|th)(\w+)", rules)) == {each.name for each in base.sets} - {"bridges"}


def test_without_tables_for_bridges_nothing_comes_of_sources() -> None:
    lowered = nft.lower("netpy", SCENARIOS["sources"], bridged=False)
    assert not [obj for obj in lowered if isinstance(inner(obj), Element | Ruleset) and inner(obj).family == "bridge"]  # pyright: ignore
    assert not nft.lower("netpy", [each for each in SCENARIOS["sources"] if isinstance(each, Source)], bridged=False)


def test_tags_are_unique_in_their_chain_and_survive_a_new_run() -> None:
    for chain in BASE.chains:
        assert len(set(chain.tags)) == len(chain.rules)
    assert nft.ruleset("netpy").chains[1].tags[0] == "netpy:8108a20fc709"


def test_other_objects_pass_and_bring_no_table() -> None:
    bridge = Bridge(name="br-a", mac="02:00:00:00:00:01", mtu=1500, mark="x")
    assert nft.lower("netpy", [bridge]) == {bridge}
    assert nft.lower("netpy", []) == frozenset()


def test_only_what_stands_in_the_hosts_table_brings_it() -> None:
    [table] = nft.lower("netpy", [RedirectDns(port=53000, netns="/n")])
    assert isinstance(table, Ruleset)
    assert (table.family, table.netns, table.anchor) == ("ip", "/n", "")


def test_ports_open_last_and_isolation_comes_first() -> None:
    state = nft.lower("netpy", [*SCENARIOS["nat"], publish("0.0.0.0 80", "10.9.0.2 80")])
    made = [inner(change.after) for change in diff((), state) if isinstance(change, Create)]
    assert isinstance(made[0], Ruleset)
    assert isinstance(made[-1], Element)
    assert made[-1].container == "port4"
    gone = [change.before for change in diff(state, ()) if isinstance(change, Delete)]
    assert isinstance(gone[0], Opening)
    assert isinstance(gone[-1], Ruleset)


def test_a_port_that_leads_elsewhere_is_an_update_and_another_port_is_not() -> None:
    one = nft.lower("netpy", [publish("0.0.0.0 80", "10.9.0.2 80")])
    other = nft.lower("netpy", [publish("0.0.0.0 80", "10.9.0.3 80")])
    [change] = diff(one, other)
    assert isinstance(change, Update)
    third = nft.lower("netpy", [publish("0.0.0.0 81", "10.9.0.2 80")])
    assert {type(change) for change in diff(one, third)} == {Create, Delete}


def test_each_family_has_passages_of_its_own() -> None:
    state = nft.lower("netpy", SCENARIOS["dual-stack"])
    found = {(obj.where, obj.family) for obj in state if isinstance(obj, Passage)}
    assert found == {("nft", 4), ("nft", 6), ("legacy", 4), ("legacy", 6)}


@pytest.mark.parametrize("name", ('x"; flush ruleset', "br*", "br+", "a b", "", "sixteen-letters-", "a/b", "{x}"))
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    intents = (
        Isolate(bridge=name, subnet="10.9.0.0/24"),
        AllowPort(bridge=name, protocol="tcp", address="10.9.0.2", port=80),
    )
    for intent in intents:
        with pytest.raises(InvalidArgument, match="cannot be used in firewall rules"):
            nft.lower("netpy", [intent])


def test_descriptions_name_the_object() -> None:
    texts = {obj.describe() for obj in nft.lower("netpy", SCENARIOS["two-networks"])}  # pyright: ignore
    assert "nft element inet netpy port4 { tcp . 80 : 10.9.0.2 . 80 }" in texts
    assert "nft table inet netpy" in texts
    assert "iptables-nft (IPv4) FORWARD accepts -i br-a and -o br-a" in texts


def test_a_wildcard_and_an_address_do_not_collide() -> None:
    ports: list[Publish] = [publish("0.0.0.0 80", "10.9.0.2 80"), publish("192.0.2.1 80", "10.9.0.3 80")]
    assert len({obj.key for obj in nft.lower("netpy", ports)}) == 3
