"""Plans mean what they say: applying a diff gives the wanted state, undoing gives back the old one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpy.diff import Create, Delete, Plan, State, Update, apply, by_key, diff
from netpy.objects import Address, Bridge, Isolate, KernelObject, Publish, RedirectDns, Route, Sysctl, Veth

small = st.sampled_from(["a", "b"])
bridges = st.builds(Bridge, name=small, mac=small, mtu=st.sampled_from([1400, 1500]), mark=st.just("m"))
veths = st.builds(
    Veth,
    name=small,
    peer_netns=small,
    ifname=st.sampled_from(["eth0", "eth1"]),
    mac=small,
    mtu=st.just(1500),
    mark=st.just("m"),
    bridge=small,
    isolated=st.booleans(),
)
others = st.one_of(
    st.builds(Sysctl, name=small, value=small, netns=small),
    st.builds(Address, link=small, address=small, netns=small),
    st.builds(Route, destination=small, link=small, via=small),
    st.builds(Isolate, bridge=small, subnet=small, internal=st.booleans()),
    st.builds(RedirectDns, port=st.sampled_from([1, 2]), netns=small),
    st.builds(
        Publish,
        bridge=small,
        protocol=st.sampled_from(["tcp", "udp"]),
        host_ip=small,
        host_port=st.sampled_from([80, 81]),
        address=small,
        port=st.just(80),
    ),
)
states = st.lists(st.one_of(bridges, veths, others), unique_by=lambda obj: obj.key).map(frozenset)


@given(states, states)
def test_applying_the_difference_gives_the_wanted_state(found: State, wanted: State):
    plan = diff(found, wanted)
    assert apply(plan, found) == wanted
    assert not diff(wanted, wanted)


@given(states, states)
def test_undo_gives_back_what_was(found: State, wanted: State):
    plan = diff(found, wanted)
    assert apply(plan.undo(), apply(plan, found)) == found


@given(states, states, st.integers(0, 20))
def test_a_part_of_a_plan_can_be_undone(found: State, wanted: State, number: int):
    done = Plan(diff(found, wanted).changes[:number])
    assert apply(done.undo(), apply(done, found)) == found


@given(states, states)
def test_order(found: State, wanted: State):
    changes = diff(found, wanted).changes
    deletes = [change for change in changes if isinstance(change, Delete)]
    makes = [change for change in changes if not isinstance(change, Delete)]
    assert list(changes) == [*deletes, *makes]
    ranks = [change.before.RANK for change in deletes]
    assert ranks == sorted(ranks, reverse=True)
    ranks = [change.after.RANK for change in makes]
    assert ranks == sorted(ranks)


@given(states, states)
def test_the_same_input_gives_the_same_plan(found: State, wanted: State):
    assert diff(sorted(found, key=repr), sorted(wanted, key=repr)) == diff(found, wanted)


@given(states, states)
def test_updates_change_only_what_may_change(found: State, wanted: State):
    for change in diff(found, wanted):
        if isinstance(change, Update):
            assert type(change.before) is type(change.after)
            for name in change.before.__slots__:
                if name not in change.before.MUTABLE:
                    assert getattr(change.before, name) == getattr(change.after, name)


def bridge(**more: object) -> Bridge:
    return Bridge(**{"name": "br", "mac": "m", "mtu": 1500, "mark": "", **more})  # type: ignore[arg-type]


def test_a_mutable_field_is_updated_and_another_replaced():
    assert list(diff([bridge()], [bridge(mtu=1400)])) == [Update(bridge(), bridge(mtu=1400))]
    one, two = Address(link="a", address="10.0.0.1/24"), Address(link="a", address="10.0.0.2/24")
    assert list(diff([one], [two])) == [Delete(one), Create(two)]
    veth = Veth(name="v", peer_netns="n", ifname="eth0", mac="1", mtu=1500, mark="")
    other = Veth(name="v", peer_netns="n", ifname="eth0", mac="2", mtu=1500, mark="")
    assert list(diff([veth], [other])) == [Delete(veth), Create(other)]


def test_two_objects_with_one_key_are_a_mistake():
    objects: list[KernelObject] = [bridge(), bridge(mtu=1)]
    with pytest.raises(ValueError, match="one key"):
        by_key(objects)
    assert by_key([bridge(), bridge()])
