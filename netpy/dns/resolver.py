"""What to answer: a query's bytes in; an answer's bytes, a decision to forward, or silence out. No I/O, no clock.

How it works. A `Resolver` holds the snapshot in force; each sandbox asks through an `Asker` of its own, because what
a name means depends on who asks. A query takes the first of four roads:

1. The same has been answered before, octet by octet but for the id: the reply lies ready, again but for the id and,
   where there are several backends, the rotation.
2. The question section, lower-cased, is looked up in the asker's cache. What is found there is an `_Answer`: records
   already in wire form, twice in a row, so that every rotation of them is one slice. Header, question and slice are
   joined and that is the reply; with our OPT record where one came without options or flags. The types cached (1, 12
   and 28) are no letters, so that lower-casing the whole section can confuse nothing; and neither an EDNS cookie nor
   0x20 spelling makes the key new.
3. A simple query that is not in the cache is read by `wire`, looked up in the snapshot, and cached if we know it.
4. Anything stranger is read by `codec`; what that refuses, it answers itself.

The first two are `Asker.quick`; they cost a microsecond, the others ten or a hundred, so that a server may treat them
differently.

A new snapshot empties the caches: each asker notices by identity at its next query.

Rotation. Each (asker, question) goes round its backends in order, so that every backend is first equally often. The
place where a new round starts comes from a counter that all askers share, so that a hundred containers which ask once
each spread over the backends too. Nothing is random.

Rules of Docker kept here (its TTL of 600 s is not): a name that we know is never forwarded, whatever the type: types
that we do not have get NOERROR without records. A name that we do not know is always forwarded and never denied by us,
except a single label where ndots was asked for. RA is set, AA is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netpy.dns import TTL, View, codec, wire
from netpy.dns.zones import Backend, Snapshot

LONGEST_QUERY = 4096  # octets; nothing that asks is longer
_ONE_QUESTION = b"\0\1\0\0\0\0\0\0"  # the four counts of a header
_WITH_OPTION = b"\0\1\0\0\0\0\0\1"
_OUR_OPTION = wire.option()
_CACHE = 4096  # answers kept for one asker
_READY = 1024  # replies kept for one asker
_STARTS = 65536  # questions whose next starting place is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """This query is for others: `servers` are to be asked, from inside the sandbox or (`host`) from the host."""

    packet: bytes
    query: wire.Query
    limit: int
    stream: bool
    servers: tuple[str, ...]
    host: bool


Outcome = bytes | Forward | None


class _Answer:
    """Records for one question in every rotation. `starts` are the offsets at which a rotation may begin."""

    __slots__ = ("count", "heads", "length", "records", "starts", "turn", "width")

    def __init__(self, groups: Sequence[Sequence[bytes]], turn: int) -> None:
        body = b"".join(b"".join(group) for group in groups)
        self.records = body + body
        self.length = len(body)
        self.count = sum(map(len, groups))
        self.width = self.length // self.count if self.count else 1
        starts = [0]
        for group in groups[:-1]:
            starts.append(starts[-1] + sum(map(len, group)))
        self.starts = tuple(starts)
        self.turn = turn % len(starts)
        rest = b"\x80\0\1" + min(self.count, 0xFFFF).to_bytes(2, "big") + b"\0\0"
        # Without and with RD, which is all that differs in the flags of a quick reply; the same with an OPT record.
        self.heads = tuple(flags + rest + extra for extra in (b"\0\0", b"\0\1") for flags in (b"\x80", b"\x81"))

    def body(self) -> bytes:
        """The records, the next backend's first."""
        turn = self.turn
        start = self.starts[turn]
        self.turn = turn + 1 if turn + 1 < len(self.starts) else 0
        return self.records[start : start + self.length]


class Resolver:
    """The state that all askers share. Not thread-safe: one loop owns it."""

    def __init__(self, *, ttl: int = TTL, snapshot: Snapshot | None = None) -> None:
        self.ttl = ttl
        self.snapshot = snapshot or Snapshot()
        self._starts: dict[tuple[str, str, int], int] = {}

    def swap(self, snapshot: Snapshot) -> None:
        """From now on answer from `snapshot`."""
        self.snapshot = snapshot

    def asker(self, sandbox_id: str) -> Asker:
        return Asker(self, sandbox_id)

    def start(self, key: tuple[str, str], qtype: int) -> int:
        """Where the next round over the backends of a name begins; goes up by one with each call."""
        if len(self._starts) >= _STARTS:
            self._starts.clear()
        place = (*key, qtype)
        start = self._starts.get(place, 0)
        self._starts[place] = start + 1
        return start


class Asker:
    """One sandbox, as the resolver knows it."""

    __slots__ = ("_cache", "_ready", "_resolver", "_snapshot", "_view", "sandbox_id")

    def __init__(self, resolver: Resolver, sandbox_id: str) -> None:
        self.sandbox_id = sandbox_id
        self._resolver = resolver
        self._renew()

    def quick(self, packet: bytes, *, stream: bool = False) -> bytes | None:
        """The reply to `packet` where the caches have one; None where it takes longer. Never raises."""
        if self._snapshot is not self._resolver.snapshot:
            self._renew()
        ready = self._ready.get(packet[2:])
        if ready is not None:
            front, records, back = ready
            return packet[:2] + front + records.body() + back if records else packet[:2] + front
        return self._composed(packet, stream)

    def answer(self, packet: bytes, *, stream: bool = False) -> Outcome:
        """What becomes of `packet`, which came over UDP, or TCP where `stream`. None: say nothing. Never raises."""
        return self.quick(packet, stream=stream) or self._answer(packet, stream)

    def _composed(self, packet: bytes, stream: bool) -> bytes | None:
        """The reply from cached records; None where there are none, or the query is not of the usual form."""
        counts = packet[4:12]
        if counts == _ONE_QUESTION:
            question, option, limit = packet[12:], b"", wire.PLAIN_LIMIT
        elif counts == _WITH_OPTION and packet[-11:-8] == b"\0\0\x29" and packet[-6:] == b"\0\0\0\0\0\0":
            question, option, limit = packet[12:-11], _OUR_OPTION, packet[-8] << 8 | packet[-7]
        else:
            return None
        folded = question.lower()
        known = self._cache.get(folded)
        if (
            known is None
            or packet[2] > 1  # not a standard query, with or without RD
            or packet[3] & 0xDF  # more than AD
            or len(packet) + known.length > (wire.STREAM_LIMIT if stream else limit)
        ):
            return None
        front = known.heads[packet[2] + 2 * packet[11]] + question
        if not stream and question == folded:  # spellings are many: they would crowd out the others
            self._keep(packet[2:], front, known, option)
        return packet[:2] + front + known.body() + option

    def _keep(self, asked: bytes, front: bytes, known: _Answer, option: bytes) -> None:
        """Have the reply to these octets ready from now on."""
        if len(self._ready) >= _READY:
            self._ready.clear()
        if len(known.starts) > 1:
            self._ready[asked] = front, known, option
        else:
            self._ready[asked] = front + known.body() + option, None, b""

    def _renew(self) -> None:
        self._snapshot = self._resolver.snapshot
        self._view = self._snapshot.views.get(self.sandbox_id)
        self._cache: dict[bytes, _Answer] = {}
        self._ready: dict[bytes, tuple[bytes, _Answer | None, bytes]] = {}

    def _answer(self, packet: bytes, stream: bool) -> Outcome:
        if len(packet) < wire.HEADER or packet[2] & 0x80:
            return None  # nobody to answer, or itself an answer: replying to those makes loops
        if len(packet) > LONGEST_QUERY:
            return codec.refusal(packet, wire.FORMERR)
        query = wire.read(packet) or codec.examine(packet)
        if isinstance(query, bytes):
            return query
        limit = wire.STREAM_LIMIT if stream else query.limit
        if query.cls != wire.IN:
            return self._forward(packet, query, limit, stream)
        cached = query.question.lower()
        found = self._cache.get(cached) or self._look_up(query)
        if found is None:
            return self._forward(packet, query, limit, stream)
        if query.type in (wire.A, wire.AAAA, wire.PTR):
            if len(self._cache) >= _CACHE:
                self._cache.clear()
            self._cache[cached] = found
        return _fitted(query, found, limit)

    def _look_up(self, query: wire.Query) -> _Answer | None:
        """The answer from the snapshot, which may have no records; None where the name is not ours."""
        if self._view is None or not query.name:
            return None
        found = self._snapshot.find(self._view, query.name)
        if found is None:
            return self._reverse(self._view, query)
        turn = self._resolver.start(found.key, query.type) if len(found.backends) > 1 else 0
        return _Answer(self._groups(found.backends, query.type), turn)

    def _groups(self, backends: Sequence[Backend], qtype: int) -> list[list[bytes]]:
        ttl = self._resolver.ttl
        match qtype:
            case wire.A:
                chosen = [backend.v4 for backend in backends]
            case wire.AAAA:
                chosen = [backend.v6 for backend in backends]
            case wire.ANY:  # of both families, in one group: their records differ in width
                every = [address for backend in backends for address in backend.v4 + backend.v6]
                chosen = [tuple(every)]
            case _:
                chosen = []
        return [[wire.address_record(address, ttl) for address in group] for group in chosen if group]

    def _reverse(self, view: View, query: wire.Query) -> _Answer | None:
        address = wire.reverse_address(query.name)
        names = self._snapshot.reverse(view, address) if address else ()
        if not names:
            return None
        if query.type not in (wire.PTR, wire.ANY):
            return _Answer((), 0)
        records = [wire.pointer_record(name, self._resolver.ttl) for name in names]
        return _Answer([[record for record in records if record]], 0)

    def _forward(self, packet: bytes, query: wire.Query, limit: int, stream: bool) -> Outcome:
        view = self._view
        if view is None or not (view.upstreams or view.external):
            return wire.reply(query, rcode=wire.SERVFAIL)
        if view.ndots > 0 and query.name and "." not in query.name:
            return wire.reply(query)
        return Forward(
            packet=packet,
            query=query,
            limit=limit,
            stream=stream,
            servers=view.upstreams,
            host=not view.upstreams,
        )


def _fitted(query: wire.Query, answer: _Answer, limit: int) -> bytes:
    """The reply, with as many whole records as fit into `limit` octets, and TC where that is not all of them."""
    space = wire.room(query, limit)
    body = answer.body()
    if answer.length <= space:
        return wire.reply(query, count=answer.count, body=body)
    if query.type not in (wire.A, wire.AAAA):  # records of various widths: none of them rather than a part of one
        return wire.reply(query, truncated=True)
    count = max(0, space // answer.width)
    return wire.reply(query, count=count, body=body[: count * answer.width], truncated=True)
