"""From changes to edits, and from what the worker saw to what is wrong: the pure half of the iptables backend."""

from __future__ import annotations

from dataclasses import replace

from netpy.diff import Create, Delete, Update
from netpy.firewall import iptables
from netpy.firewall.rules import Chain, Hook, Skeleton, chain, tag
from netpy.kernel.xt.client import ChainRules
from netpy.kernel.xt.edits import TABLES, chain_seen, dismantling, skeleton_seen, table_edits

FRAME = iptables.skeleton("netpy", 4)
PORTS = chain(
    4,
    "nat",
    "NETPY-P-0123456789",
    ("-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.9.0.2:80",),
    (Hook(parent="NETPY-PORTS", rule="-j NETPY-P-0123456789", owner="NETPY-P-0123456789"),),
)
ROOMS = {"filter": ["NETPY-INTO"], "mangle": ["NETPY-GUARD"], "nat": ["NETPY-PORTS"]}
Tables = dict[str, dict[str, ChainRules]]


def whole() -> Tables:
    """The tables as the worker reports them when all is well."""
    tables: Tables = {table: {} for table in TABLES}
    for frame in FRAME.frames:
        rules = tuple((tag(frame.name, rule), "") for rule in frame.rules)
        tables[frame.table][frame.name] = ChainRules("", rules)
    for table, hook in FRAME.hooks:
        found = tables[table].get(hook.parent, ChainRules("ACCEPT", ()))
        tables[table][hook.parent] = replace(found, rules=(*found.rules, (hook.comment, hook.owner)))
    return tables


def seen(tables: Tables) -> Skeleton | None:
    return skeleton_seen(FRAME, {(4, table): chains for table, chains in tables.items()})


def test_a_whole_skeleton_has_no_fault() -> None:
    assert seen(whole()) == FRAME


def test_nothing_but_the_users_chain_counts_as_nothing() -> None:
    tables: Tables = {"filter": {"NETPY-USER": ChainRules("", (("", "DROP"),))}, "mangle": {}, "nat": {}}
    assert seen(tables) is None


def test_each_fault_is_named() -> None:
    tables = whole()
    tables["filter"]["NETPY-FORWARD"] = ChainRules("", (("", "DROP"),))
    del tables["nat"]["NETPY-PORTS"]
    tables["mangle"]["PREROUTING"] = ChainRules("ACCEPT", ())
    tables["filter"]["FORWARD"] = ChainRules("DROP", tuple(reversed(tables["filter"]["FORWARD"].rules)))
    found = seen(tables)
    assert found is not None
    assert "chain NETPY-FORWARD has 0 of 5 rules and 1 of others" in found.fault
    assert "chain NETPY-PORTS is missing" in found.fault
    assert "mangle PREROUTING does not lead to NETPY-GUARD" in found.fault
    assert "FORWARD leads to the user's chain too late" in found.fault


def test_a_chain_is_seen_with_every_hook_that_is_there() -> None:
    hooks = ChainRules("", ((PORTS.hooks[0].comment, PORTS.name),))
    rules = ChainRules("", ((PORTS.tags[0], "DNAT"),))
    assert chain_seen(PORTS, {"NETPY-PORTS": hooks, PORTS.name: rules}) == PORTS
    assert chain_seen(PORTS, {"NETPY-PORTS": ChainRules("", ())}) is None
    without = chain_seen(PORTS, {"NETPY-PORTS": ChainRules("", ()), PORTS.name: rules})
    assert without is not None
    assert without.tags == PORTS.tags[:1]
    stale = ChainRules("", (*hooks.rules, (f"netpy:stale:{PORTS.name}", "ACCEPT")))
    assert chain_seen(PORTS, {"NETPY-PORTS": stale, PORTS.name: rules}) != PORTS


def test_a_new_chain_is_filled_and_hooked_and_undone_by_removal() -> None:
    [edits] = table_edits([Create(PORTS)], ROOMS)
    assert (edits.family, edits.table) == (4, "nat")
    assert edits.edits == [
        ["unhook", "NETPY-PORTS", f":{PORTS.name}"],
        ["fill", PORTS.name, [[PORTS.rules[0], tag(PORTS.name, PORTS.rules[0])]]],
        ["hook", "NETPY-PORTS", "-j NETPY-P-0123456789", PORTS.hooks[0].comment, False],
    ]
    assert edits.undo == [["unhook", "NETPY-PORTS", f":{PORTS.name}"], ["remove", PORTS.name]]


def test_an_orphan_is_removed_with_the_hooks_that_nobody_remembers() -> None:
    orphan = Chain(family=4, table="filter", name="NETPY-N-0123456789", tags=("a",))
    [edits] = table_edits([Delete(orphan)], ROOMS)
    assert edits.edits == [["unhook", "NETPY-INTO", ":NETPY-N-0123456789"], ["remove", "NETPY-N-0123456789"]]


def test_undo_runs_backwards() -> None:
    other = replace(PORTS, name="NETPY-P-9876543210")
    [edits] = table_edits([Create(PORTS), Create(other)], ROOMS)
    assert [edit[1] for edit in edits.undo if edit[0] == "remove"] == [other.name, PORTS.name]


def test_the_skeleton_is_set_up_with_the_users_chain_in_front() -> None:
    edits = {each.table: each.edits for each in table_edits([Create(FRAME)], ROOMS)}
    hooks = [edit[2] for edit in edits["filter"] if edit[:2] == ["hook", "FORWARD"]]
    assert hooks == ["-j NETPY-FORWARD", "-j NETPY-USER"]  # each is put in front of the one before
    assert ["make", "NETPY-USER"] in edits["filter"]


def test_damage_is_not_brought_back_and_a_shared_frame_not_removed_outright() -> None:
    damaged = replace(FRAME, fault="chain NETPY-FORWARD is missing")
    assert table_edits([Update(FRAME, damaged)], ROOMS) == []
    assert table_edits([Delete(FRAME)], ROOMS) == []
    assert table_edits([Update(damaged, FRAME)], ROOMS)


def test_dismantling_keeps_a_users_chain_and_its_hook() -> None:
    edits = {each.table: each.edits for each in dismantling(FRAME, {"NETPY-USER"})}
    assert not [edit for edit in edits["filter"] if "NETPY-USER" in str(edit)]
    assert ["remove", "NETPY-FORWARD"] in edits["filter"]
    everything = {each.table: each.edits for each in dismantling(FRAME, set())}
    assert ["remove", "NETPY-USER"] in everything["filter"]
