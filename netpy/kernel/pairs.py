"""Veth pairs: one object with an end in either namespace.

Deleting a pair costs the kernel 20 ms of waiting; `departures` waits only until it is out of sight. When its sandbox is
already gone not even that is needed: the pair is only marked, and a thread deletes all marked links at once. Whoever
looks takes a marked link for gone.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace

from netpy.diff import Change, Create, Delete, Update
from netpy.errors import KernelError, NotFound
from netpy.kernel import departures, links, netns
from netpy.kernel.rtnetlink import Channel, Message
from netpy.objects import Veth
from netpy.threads import started

logger = logging.getLogger(__name__)


class Pairs:
    """Makes, changes, removes and reads pairs. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doomed = threading.Event()
        self._reaper: threading.Thread | None = None

    def make(self, change: Change) -> None:
        """Carry out a change of a Veth; OSError or NetpyError when the kernel refuses."""
        match change:
            case Create(Veth() as veth):
                _create(veth)
            case Update(_, Veth() as veth):
                _send(*links.update_veth(veth), *links.resident(veth))
                if veth.peer_netns:
                    netns.run_in(veth.peer_netns, lambda: _send(links.raise_link(veth.ifname, veth.mtu)))
            case Delete(Veth() as veth):
                self._delete(veth)
            case _:
                raise TypeError(f"not a change of a veth: {change}")

    def observe(self, channel: Channel, wanted: Veth) -> Veth | None:
        """The pair under the name of `wanted`, seen from both ends; `channel` is in the near namespace."""
        near = links.find(channel, wanted.name) if links.index_of(wanted.name) else None
        if near is None:
            return None
        if wanted.ifname and not wanted.peer_netns:
            return replace(_near_end(near, wanted), locked=_is_locked(channel, near, wanted))
        try:
            far = netns.run_in(wanted.peer_netns, lambda: _find(wanted.ifname))
        except NotFound:
            far = None
        if far is not None and far.peer != near.index:
            far = None
        return Veth(
            name=wanted.name,
            netns=wanted.netns,
            peer_netns=wanted.peer_netns if far else "",
            ifname=wanted.ifname if far else "",
            mac=far.mac if far else "",
            mtu=near.mtu if far is None or far.mtu == near.mtu else far.mtu,
            mark=near.mark,
            bridge=links.name_of(near.master) if near.master else "",
            hairpin=near.hairpin,
            isolated=near.isolated,
            locked=_is_locked(channel, near, wanted),
            up=near.up and far is not None and far.up,
        )

    def _delete(self, veth: Veth) -> None:
        if links.index_of(veth.name) == 0:
            return
        if netns.exists(veth.peer_netns) if veth.peer_netns else veth.ifname:
            # The sandbox lives on and may be plugged in again under the same interface name: wait until that is free.
            departures.delete(veth.name)
            return
        _send(links.doom(veth.name), tolerant=True)
        with self._lock:
            if self._reaper is None:
                try:
                    self._reaper = started(self._reap, "link-reaper")
                except KernelError:
                    _send(links.delete_doomed(), tolerant=True)
        self._doomed.set()

    def _reap(self) -> None:
        while True:
            self._doomed.wait()
            self._doomed.clear()
            try:
                _send(links.delete_doomed(), tolerant=True)
            except OSError as error:
                logger.warning("deleting links that are no longer used: %s", error)


def _is_locked(channel: Channel, near: links.Link, wanted: Veth) -> bool:
    """Whether the port is locked, and its resident known, where there is to be one."""
    return near.locked and (not wanted.locked or links.is_resident(channel, near.index, wanted.mac))


def _near_end(near: links.Link, wanted: Veth) -> Veth:
    """A pair whose far end is somebody else's by now."""
    return replace(
        wanted,
        mtu=near.mtu,
        mark=near.mark,
        bridge=links.name_of(near.master) if near.master else "",
        hairpin=near.hairpin,
        isolated=near.isolated,
        up=near.up,
    )


def _create(veth: Veth) -> None:
    if not veth.peer_netns:
        _create_loose(veth)
        return
    try:
        descriptor = os.open(veth.peer_netns, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"network namespace {veth.peer_netns} does not exist") from None
    try:
        # The first message alone decides whether there is a pair of ours to take back.
        create, *settings = links.new_veth(veth, descriptor)
        _send(create)
    finally:
        os.close(descriptor)
    try:
        _send(*settings, *links.resident(veth))
        netns.run_in(veth.peer_netns, lambda: _send(links.raise_link(veth.ifname, veth.mtu)))
    except BaseException:
        _send(links.delete(veth.name), tolerant=True)
        raise


def _create_loose(veth: Veth) -> None:
    create, *settings = links.new_veth(veth)
    _send(create)
    try:
        _send(*settings, *links.resident(veth))
    except BaseException:
        _send(links.delete(veth.name), tolerant=True)
        raise


def _find(name: str) -> links.Link | None:
    with Channel() as channel:
        return links.find(channel, name)


def _send(*messages: Message, tolerant: bool = False) -> None:
    with Channel() as channel:
        links.request(channel, messages, tolerant=tolerant)
