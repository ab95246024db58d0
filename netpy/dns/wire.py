"""DNS messages by hand: the few shapes that nearly every query and every answer of ours has.

`read` understands the simple query: one question, no compression, at most an OPT record behind it; whatever is
stranger goes to `codec`. Answers are the question as it was asked, then records that point back to it (0xC00C), so
that a record is the same bytes for every spelling of the name. RFC 1035 §4, RFC 6891 for OPT, RFC 2308 for empty
answers. Pure: bytes in, bytes out, and no input whatever makes a function here raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct
from typing import Literal

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5

HEADER = 12
PLAIN_LIMIT = 512  # a UDP answer without EDNS, RFC 1035 §4.2.1
STREAM_LIMIT = 65535
OUR_PAYLOAD = 1232  # what we ask others to send us at most: fits every path without fragments

_COUNTS = Struct("!4H")
_TYPE_CLASS = Struct("!HH")
_OPT = Struct("!BHHIH")  # root name, type, payload size, extended flags, length of the options
_RECORD = Struct("!HHHIH")  # pointer to the question, type, class, TTL, length
_POINTER = 0xC00C
_DNSSEC_OK = 0x8000
_LONGEST_NAME = 255
_LONGEST_LABEL = 63

Verdict = Literal["good", "bad", "truncated", "foreign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query understood. `name` is folded and without the final dot; `question` is the section as it came.

    `limit` is the largest answer in octets that the asker takes over UDP; `edns` says that an OPT record came.
    """

    id: bytes
    name: str
    type: int
    cls: int
    question: bytes
    recursion: bool = True
    checking_disabled: bool = False
    edns: bool = False
    dnssec_ok: bool = False
    limit: int = PLAIN_LIMIT


def read(packet: bytes) -> Query | None:
    """The query in `packet` (at least a header long), or None where it is not of the simple shape."""
    counts = _COUNTS.unpack_from(packet, 4)
    if packet[2] & 0xFE or counts[:3] != (1, 0, 0) or counts[3] > 1:
        return None  # a response, another opcode, or more than a question
    labels, end = _labels(packet)
    if not end or end + 4 > len(packet):
        return None
    extended = _option(packet, end + 4) if counts[3] else None
    if (extended is None) != (end + 4 == len(packet)):
        return None
    qtype, qclass = _TYPE_CLASS.unpack_from(packet, end)
    limit, flags = extended or (PLAIN_LIMIT, 0)
    return Query(
        id=packet[:2],
        name=text(labels),
        type=qtype,
        cls=qclass,
        question=packet[HEADER : end + 4],
        recursion=bool(packet[2] & 1),
        checking_disabled=bool(packet[3] & 0x10),
        edns=extended is not None,
        dnssec_ok=bool(flags & _DNSSEC_OK),
        limit=limit,
    )


def text(labels: Iterable[bytes]) -> str:
    """Labels as a folded name. A label with a dot of its own can be no name of ours: it gives the empty name."""
    kept = tuple(labels)
    if any(b"." in label for label in kept):
        return ""
    return b".".join(kept).lower().decode("utf-8", "surrogateescape")


def _labels(packet: bytes) -> tuple[list[bytes], int]:
    """The labels from octet 12 on and where they end; (…, 0) for compression, overruns and overlong names."""
    labels: list[bytes] = []
    at, size = HEADER, len(packet)
    while at < size and at - HEADER < _LONGEST_NAME:
        length = packet[at]
        if not length:
            return labels, at + 1
        if length > _LONGEST_LABEL:
            break
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    return labels, 0


def _option(packet: bytes, at: int) -> tuple[int, int] | None:
    """(payload size, flags) of the OPT record of version 0 that fills the packet from `at`; None otherwise."""
    if at + _OPT.size > len(packet):
        return None
    root, rtype, payload, extended, length = _OPT.unpack_from(packet, at)
    if root or rtype != OPT or extended >> 16 or at + _OPT.size + length != len(packet):
        return None  # another record, a later version of EDNS (RFC 6891 §6.1.3), or something behind it
    return max(PLAIN_LIMIT, payload), extended & 0xFFFF


def address_record(address: bytes, ttl: int) -> bytes:
    """An A or AAAA record, by the length of `address`, for the name in question."""
    return _RECORD.pack(_POINTER, A if len(address) == 4 else AAAA, IN, ttl, len(address)) + address


def pointer_record(name: str, ttl: int) -> bytes:
    """A PTR record for the name in question; empty where `name` cannot be said in DNS (RFC 1035 §2.3.4)."""
    labels = name.encode("utf-8", "surrogateescape").split(b".")
    target = b"".join(bytes((len(label) & 0xFF,)) + label for label in labels) + b"\0"
    if len(target) > _LONGEST_NAME or any(not 0 < len(label) <= _LONGEST_LABEL for label in labels):
        return b""
    return _RECORD.pack(_POINTER, PTR, IN, ttl, len(target)) + target


def reverse_address(name: str) -> bytes:
    """The address that a folded name under in-addr.arpa or ip6.arpa stands for, in wire form; empty for others."""
    if name.endswith(".in-addr.arpa"):
        plain = ".".join(reversed(name.split(".")[:-2]))
    elif name.endswith(".ip6.arpa"):
        digits = name.split(".")[-3::-1]
        if len(digits) != 32 or any(len(digit) != 1 for digit in digits):
            return b""
        plain = ":".join("".join(digits[at : at + 4]) for at in range(0, 32, 4))
    else:
        return b""
    try:
        return ip_address(plain).packed
    except ValueError:
        return b""


def reply(query: Query, *, rcode: int = NOERROR, count: int = 0, body: bytes = b"", truncated: bool = False) -> bytes:
    """The answer to `query` with `count` records in `body`; with an OPT record where one was asked with."""
    flags = bytes(
        (
            0x80 | (0x02 if truncated else 0) | query.recursion,  # QR, TC, RD; not AA: Docker does not claim it
            0x80 | (0x10 if query.checking_disabled else 0) | rcode,  # RA, CD
        )
    )
    head = query.id + flags + _COUNTS.pack(1, count, 0, int(query.edns)) + query.question
    return head + body + option(dnssec_ok=query.dnssec_ok) if query.edns else head + body


def room(query: Query, limit: int) -> int:
    """The octets that an answer of at most `limit` has for records."""
    return limit - HEADER - len(query.question) - (_OPT.size if query.edns else 0)


def option(*, dnssec_ok: bool = False) -> bytes:
    """The OPT record of our replies."""
    return _OPT.pack(0, OPT, OUR_PAYLOAD, _DNSSEC_OK if dnssec_ok else 0, 0)  # DO is repeated: RFC 3225 §3


def relayed(query: Query, answer: bytes, limit: int) -> bytes:
    """An upstream's answer under the asker's id; where it is longer than `limit`, only its head with TC."""
    if len(answer) > limit:
        return reply(query, rcode=answer[3] & 0x0F, truncated=True)
    return query.id + answer[2:]


def verdict(answer: bytes, id: bytes, question: bytes) -> Verdict:
    """What an upstream's datagram is worth to who asked `question` under `id`.

    Foreign: not an answer to this; keep waiting. Bad: the server will not or cannot; ask another one.
    """
    if len(answer) < HEADER or answer[:2] != id or not answer[2] & 0x80:
        return "foreign"
    refused = answer[3] & 0x0F in (SERVFAIL, NOTIMP, REFUSED)
    if answer[4:6] == b"\0\0" and answer[3] & 0x0F:
        return "bad"  # some servers do not repeat the question when they refuse it
    same = answer[4:6] == b"\0\1" and answer[HEADER : HEADER + len(question)].lower() == question.lower()
    if not same:
        return "foreign"
    if refused:
        return "bad"
    return "truncated" if answer[2] & 0x02 else "good"
