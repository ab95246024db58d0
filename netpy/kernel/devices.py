"""Links that are neither bridge nor pair: dummy, VLAN, macvlan and ipvlan, and what others made.

A link in a sandbox may stand on one of the host, or come from there, so both namespaces are needed: everything here is
called in the host's and goes into the sandbox by `netns.run_in`. A sandbox that is gone holds nothing.

`Adopt` moves a link and, when it is to go, moves it back under its old name. `Given` is only looked at; what cannot be
found cannot be made here, and what is left of it when its maker should have removed it is deleted.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from netpy.diff import Change, Create, Delete, Update
from netpy.errors import Conflict, KernelError, NotFound, Unsupported
from netpy.kernel import links, netns
from netpy.kernel import rtnetlink as rt
from netpy.kernel.links import HEADER, Link
from netpy.kernel.rtnetlink import Channel, Message, attribute, attributes, nested, number
from netpy.objects import Adopt, Child, Device, Given, KernelObject

Placed = Device | Child | Adopt | Given
Inside = TypeVar("Inside", Child, Adopt, Given)
PLACED = (Device, Child, Adopt, Given)
_MAC, _IFNAME, _MTU, _LINK, _LINKINFO, _ALIAS, _NETNS_FD = 1, 3, 4, 5, 18, 20, 28
_KIND, _DATA = 1, 2
PATIENCE = 5.0  # seconds to wait for links of a namespace that is gone
_FLAGS, _IPVLAN_FLAGS = 2, {"": 0, "private": 1, "vepa": 2}
_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16, "l2": 0, "l3": 1, "l3s": 2}


def observe(wanted: KernelObject) -> KernelObject | None:
    """The object under the key of `wanted` as it really is, or None where it is missing."""
    match wanted:
        case Device():
            with Channel() as channel:
                return _device(links.find(channel, wanted.name), wanted)
        case Child():
            parent = links.index_of(wanted.parent)
            return _inside(wanted, lambda link, child: _child(link, child, parent))
        case Adopt():
            return _inside(wanted, _adopted)
        case Given():
            return _inside(wanted, _given)
        case _:
            raise TypeError(f"not a placed link: {wanted}")


def lacks(kind: str) -> str:
    """What this kernel lacks for links of a kind that needs a parent; empty where it can make them.

    Asked for one without a parent: a kernel that knows the kind finds fault with that, another with the kind. Nothing
    is made, and the module is loaded if there is one.
    """
    body = HEADER.pack(0, 0, 0, 0, 0) + nested(_LINKINFO, attribute(_KIND, kind), b"")
    try:
        _send_new(body, kind)
    except Unsupported as error:
        return str(error)
    except OSError:
        return ""
    return ""


def make(change: Change) -> None:
    """Carry out a change; OSError or NetpyError when the kernel refuses."""
    match change:
        case Create(after):
            _create(after)
        case Update(before, after):
            _update(before, after)
        case Delete(Device() as device):
            _send(links.delete(device.name), tolerant=True)
        case Delete((Child() | Adopt() | Given()) as link):
            if netns.exists(link.netns):
                _remove(link)
        case _:
            raise TypeError(f"not a change of a placed link: {change}")


def _create(obj: KernelObject) -> None:
    match obj:
        case Device():
            _create_device(obj)
        case Child():
            _create_child(obj)
        case Adopt():
            _adopt(obj)
        case Given():
            raise _not_ours(obj)
        case _:
            raise TypeError(f"not a placed link: {obj}")


def _update(before: KernelObject, after: KernelObject) -> None:
    match before, after:
        case Device(), Device():
            if before.mark and before.mark.partition("/")[0] != after.mark.partition("/")[0]:
                raise Conflict(f"link {before.name} exists already and belongs to somebody else ({before.mark})")
            _send(links.modify(after.name, _settings(after), up=after.up))
        case _, Child() | Adopt():
            netns.run_in(after.netns, lambda: _send(links.modify(after.ifname, _settings(after), up=after.up)))
        case _, Given():
            raise _not_ours(after)
        case _:
            raise TypeError(f"not a placed link: {after}")


def _not_ours(given: Given) -> KernelError:
    return KernelError(
        f"{given.ifname} is not there or not as {given.maker} said: only {given.maker} can make it, "
        "disconnect and connect again"
    )


# ---- looking -----------------------------------------------------------------------------------------------------


def _inside(wanted: Inside, described: Callable[[Link, Inside], Inside | None]) -> Inside | None:
    def look() -> Inside | None:
        with Channel() as channel:
            link = links.find(channel, wanted.ifname)
            return described(link, wanted) if link else None

    try:
        return netns.run_in(wanted.netns, look)
    except NotFound:
        return None


def _device(link: Link | None, wanted: Device) -> Device | None:
    if link is None:
        return None
    is_vlan = link.kind == "vlan"
    return Device(
        kind="vlan" if is_vlan else "dummy",
        name=wanted.name if link.kind in ("vlan", "dummy") else "",
        mark=link.mark,
        parent=links.name_of(link.peer) if is_vlan else "",
        vlan=number(attributes(link.data).get(1, b"")) if is_vlan else 0,
        mtu=link.mtu if wanted.mtu else 0,
        mac=link.mac if wanted.mac else "",
        up=link.up,
        netns=wanted.netns,
    )


def _child(link: Link, wanted: Child, parent: int) -> Child | None:
    if link.kind not in ("macvlan", "ipvlan"):
        return None
    mode = number(attributes(link.data).get(1, b""))
    names = ("l2", "l3", "l3s") if link.kind == "ipvlan" else ("private", "vepa", "bridge", "passthru", "source")
    flags = number(attributes(link.data).get(_FLAGS, b"")) if link.kind == "ipvlan" else 0
    return replace(
        wanted,
        kind="ipvlan" if link.kind == "ipvlan" else "macvlan",
        parent=wanted.parent if link.peer == parent else "",
        mode=next((name for name in names if _MODES[name] == mode), str(mode)),
        flag=next((name for name, value in _IPVLAN_FLAGS.items() if value == flags), str(flags)),
        mark=link.mark,
        mac=link.mac if wanted.mac and link.kind != "ipvlan" else wanted.mac,
        mtu=link.mtu if wanted.mtu else 0,
        up=link.up,
    )


def _adopted(link: Link, wanted: Adopt) -> Adopt:
    return replace(
        wanted,
        mark=link.mark,
        mac=link.mac if wanted.mac else "",
        mtu=link.mtu if wanted.mtu else 0,
        up=link.up,
    )


def _given(link: Link, wanted: Given) -> Given:
    with Channel() as channel:
        there = links.addresses(channel, link.index)
        found = {six: links.routes(channel, six) for six in {6 if ":" in to else 4 for to, _ in wanted.routes}}
    routes = tuple((to, via) for to, via in wanted.routes if found[6 if ":" in to else 4].get(to) == (via, link.index))
    return replace(
        wanted,
        mac=link.mac if wanted.mac else "",
        addresses=tuple(address for address in wanted.addresses if address in there),
        routes=routes,
        up=link.up,
    )


# ---- making ------------------------------------------------------------------------------------------------------


def _create_device(device: Device) -> None:
    body = HEADER.pack(0, 0, 0, rt.IFF_UP, rt.IFF_UP) + attribute(_IFNAME, device.name) + _hardware(device)
    data = b""
    if device.kind == "vlan":
        body += attribute(_LINK, links.require(device.parent))
        data = nested(_DATA, attribute(1, struct.pack("=H", device.vlan)))
    _send_new(body + nested(_LINKINFO, attribute(_KIND, device.kind), data), device.kind)
    try:
        _send(links.modify(device.name, attribute(_ALIAS, device.mark)))
    except BaseException:
        _send(links.delete(device.name), tolerant=True)
        raise


def _create_child(child: Child) -> None:
    """Links of a namespace that is gone are taken down a little later, and one of them may occupy the parent."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return _try_child(child)
        except OSError as error:
            # EINVAL: the parent is passed through, or has other links and is to be; EADDRINUSE: one has our MAC.
            if error.errno not in (errno.EBUSY, errno.EINVAL, errno.EADDRINUSE):
                raise
            if time.monotonic() > end:
                mac = f", or has a link with the MAC address {child.mac}" if error.errno == errno.EADDRINUSE else ""
                what = f"parent interface {child.parent} is in use in another mode{mac} ({error.strerror})"
                raise KernelError(what) from error
        time.sleep(0.02)


def _try_child(child: Child) -> None:
    mode = struct.pack("=H" if child.kind == "ipvlan" else "=I", _MODES[child.mode])
    flags = attribute(_FLAGS, struct.pack("=H", _IPVLAN_FLAGS[child.flag])) if child.flag else b""
    body = HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, child.ifname) + _hardware(child)
    body += attribute(_LINK, links.require(child.parent))
    body += nested(_LINKINFO, attribute(_KIND, child.kind), nested(_DATA, attribute(1, mode) + flags))
    there = _descriptor(child.netns)
    try:
        _send_new(body + attribute(_NETNS_FD, there), child.kind)
    finally:
        os.close(there)
    _settle(child)


def _adopt(adopt: Adopt) -> None:
    index = links.index_of(adopt.source)
    if not index:
        raise KernelError(f"link {adopt.source} is not on the host")
    there = _descriptor(adopt.netns)
    try:
        body = HEADER.pack(0, 0, index, 0, rt.IFF_UP) + attribute(_IFNAME, adopt.ifname)
        _send(Message(rt.NEWLINK, 0, body + attribute(_NETNS_FD, there)))
    finally:
        os.close(there)
    _settle(adopt)


def _settle(link: Child | Adopt) -> None:
    """The rest of what a link in a sandbox is to be; on failure it is taken away again."""
    settings = _settings(link) + (_hardware(link) if isinstance(link, Adopt) else b"")
    try:
        netns.run_in(link.netns, lambda: _send(links.modify(link.ifname, settings, up=link.up)))
    except BaseException:
        _remove(link)
        raise


def _remove(link: Child | Adopt | Given) -> None:
    if isinstance(link, Child):
        netns.run_in(link.netns, lambda: _send(links.delete(link.ifname), tolerant=True))
    elif isinstance(link, Adopt):
        _return(link.netns, link.ifname, link.source)
    elif not netns.run_in(link.netns, lambda: _deleted(link.ifname)):
        _return(link.netns, link.ifname, link.ifname)


def _deleted(ifname: str) -> bool:
    """Whether the link could be deleted; False for hardware, which cannot."""
    try:
        _send(links.delete(ifname), tolerant=True)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True


def _return(path: str, ifname: str, name: str) -> None:
    """Move a link back to where we are, under its old name, down and without our mark."""
    here = _descriptor("/proc/thread-self/ns/net")

    def move() -> None:
        index = links.index_of(ifname)
        if index:
            body = HEADER.pack(0, 0, index, 0, rt.IFF_UP) + attribute(_IFNAME, name) + attribute(_ALIAS, b"\0")
            _send(Message(rt.NEWLINK, 0, body + attribute(_NETNS_FD, here)))

    try:
        netns.run_in(path, move)
    finally:
        os.close(here)


def _settings(link: Device | Child | Adopt) -> bytes:
    mac = isinstance(link, Adopt) and link.mac
    fields = attribute(_ALIAS, link.mark) + (attribute(_MTU, link.mtu) if link.mtu else b"")
    return fields + (attribute(_MAC, bytes.fromhex(link.mac.replace(":", ""))) if mac else b"")


def _hardware(link: Device | Child | Adopt) -> bytes:
    fields = attribute(_MTU, link.mtu) if link.mtu else b""
    if link.mac and getattr(link, "kind", "") != "ipvlan":
        fields += attribute(_MAC, bytes.fromhex(link.mac.replace(":", "")))
    return fields


def _descriptor(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"network namespace {path} does not exist") from None


def _send_new(body: bytes, kind: str) -> None:
    try:
        _send(Message(rt.NEWLINK, rt.F_CREATE | rt.F_EXCL, body))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unsupported(
                f"this kernel has no {kind} links (CONFIG_{kind.upper() if kind != 'vlan' else 'VLAN_8021Q'}, "
                f"module {kind if kind != 'vlan' else '8021q'})"
            ) from error
        raise


def _send(*messages: Message, tolerant: bool = False) -> None:
    with Channel() as channel:
        links.request(channel, messages, tolerant=tolerant)
