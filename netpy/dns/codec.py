# pyright: basic
"""The rest of DNS, through dnslib: queries that are not of the one simple shape, and what to say to them.

The only file that touches dnslib. It is pure, and it answers for dnslib: whatever its parser raises on a hostile
packet ends here, as FORMERR.
"""

from __future__ import annotations

from dnslib import DNSBuffer, DNSHeader, DNSQuestion, DNSRecord

from netpy.dns import wire

_QUERY = 0
_LONGEST = 512  # dnslib follows every pointer of every record: a larger puzzle could hold up everybody's names
_BADVERS = 16


def examine(packet: bytes) -> wire.Query | bytes:
    """The query in `packet` (at least a header long), or the error message that it deserves.

    FORMERR for what cannot be parsed, is oversized or has not exactly one question, NOTIMP for other opcodes
    (RFC 1035 §4.1.1), BADVERS for a later EDNS (RFC 6891 §6.1.3).
    """
    if (packet[2] >> 3) & 0x0F != _QUERY:
        return refusal(packet, wire.NOTIMP)
    if len(packet) > _LONGEST:
        return refusal(packet, wire.FORMERR)
    try:
        record = DNSRecord.parse(packet)
        if len(record.questions) != 1 or record.header.qr:
            return refusal(packet, wire.FORMERR)
        return _understood(packet, record)
    except Exception:  # DNSError, but also IndexError, ValueError, RecursionError …: none may end the server
        return refusal(packet, wire.FORMERR)


def refusal(packet: bytes, rcode: int) -> bytes:
    """A bare header with `rcode`, under the id of `packet`: there is no question worth repeating."""
    header = DNSHeader(
        id=int.from_bytes(packet[:2], "big"),
        bitmap=0,
        qr=1,
        opcode=(packet[2] >> 3) & 0x0F,
        rd=packet[2] & 1,
        ra=1,
        rcode=rcode,
    )
    return bytes(DNSRecord(header).pack())


def _understood(packet: bytes, record: DNSRecord) -> wire.Query | bytes:
    question = record.q
    option = next((extra for extra in record.ar if extra.rtype == wire.OPT), None)
    query = wire.Query(
        id=packet[:2],
        name=wire.text(question.qname.label),
        type=question.qtype,
        cls=question.qclass,
        question=_section(question),
        recursion=bool(record.header.rd),
        checking_disabled=bool(record.header.cd),
        edns=option is not None,
        dnssec_ok=bool(option and option.ttl & 0x8000),
        limit=max(wire.PLAIN_LIMIT, option.rclass) if option else wire.PLAIN_LIMIT,
    )
    if option and (option.ttl >> 16) & 0xFF:
        return _bad_version(query)
    return query


def _section(question: DNSQuestion) -> bytes:
    """The question section written out: what came may have used compression."""
    buffer = DNSBuffer()
    question.pack(buffer)
    return bytes(buffer.data)


def _bad_version(query: wire.Query) -> bytes:
    """BADVERS: its upper bits stand in the OPT record, its lower four are those of NOERROR."""
    plain = wire.reply(query)
    at = len(plain) - 6  # the first octet of the OPT record's extended flags
    return plain[:at] + bytes((_BADVERS >> 4,)) + plain[at + 1 :]
