"""Forgets tracked connections that a rule which has come or gone would decide otherwise.

A UDP flow never ends by itself while packets arrive: without this, a client goes on speaking to a container
that is gone. The kernel is told which flows to drop by the port that the *client* spoke to; it searches its own
table, we dump nothing. Equivalent: `conntrack -D -p PROTO --orig-port-dst PORT`, `conntrack -D -r ADDRESS`.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import threading
from ipaddress import ip_address

from netpy.kernel import FlushConntrack, ForgetUnanswered
from netpy.kernel.rtnetlink import Channel, Message, attribute, nested

logger = logging.getLogger(__name__)
_NETLINK_NETFILTER = 12
_DELETE = (1 << 8) | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _FILTER, _STATUS_MASK = 1, 2, 3, 25, 26
_ANSWERED, _TRANSLATED = 0x2, 0x30  # IPS_SEEN_REPLY; IPS_SRC_NAT and IPS_DST_NAT
_IP, _PROTO = 1, 2
_BY_SOURCE, _BY_DESTINATION, _BY_PROTOCOL, _BY_PORT = 1, 2, 8, 32
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


class Flows:
    """The tracked connections of the namespace in which this is first used. Thread-safe.

    Its socket stays open: after rules were removed, closing one of its kind waits, 10 to 20 ms, until none reads them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: Channel | None = None

    def flush(self, action: FlushConntrack | ForgetUnanswered) -> None:
        """Drop the flows that `action` names. That there are none is no error; a refusal is logged."""
        with self._lock:
            try:
                self._channel = self._channel or Channel(_NETLINK_NETFILTER)
                error = self._channel.request([message(action)])[0]
            except OSError as failure:
                error = failure
                self._close()  # whose answer comes next from there is not known
        if error is not None and error.errno != errno.ENOENT:
            logger.warning("forgetting flows of %s: %s", action, error)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def message(action: FlushConntrack | ForgetUnanswered) -> Message:
    """The request: flows to the host port if there is one, else flows whose answers come from the address."""
    if isinstance(action, ForgetUnanswered):
        wanted = attribute(_STATUS, struct.pack(">I", 0))
        return Message(
            _DELETE, 0, bytes(4) + wanted + attribute(_STATUS_MASK, struct.pack(">I", _ANSWERED | _TRANSLATED))
        )
    address = ip_address(action.host_ip if action.host_port else action.address)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    header = struct.pack(">BBH", family, 0, 0)
    source, destination = (1, 2) if address.version == 4 else (3, 4)
    if not action.host_port:
        reply = nested(_TUPLE_REPLY, nested(_IP, attribute(source, address.packed)))
        return Message(_DELETE, 0, header + reply + _filter(orig=0, reply=_BY_SOURCE))
    wanted = _BY_PROTOCOL | _BY_PORT
    parts: list[bytes] = []
    if not address.is_unspecified:
        wanted |= _BY_DESTINATION
        parts.append(nested(_IP, attribute(destination, address.packed)))
    protocol = attribute(1, bytes([_PROTOCOLS[action.protocol]])) + attribute(3, struct.pack(">H", action.host_port))
    parts.append(nested(_PROTO, protocol))
    return Message(_DELETE, 0, header + nested(_TUPLE_ORIG, *parts) + _filter(orig=wanted, reply=0))


def _filter(*, orig: int, reply: int) -> bytes:
    return nested(_FILTER, attribute(1, orig), attribute(2, reply))
