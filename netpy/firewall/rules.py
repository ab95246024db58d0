"""What firewall intents are lowered to: the objects that the two backends create, look up and delete.

Two families. For nftables there is one table per instance whose chains never change (`Ruleset`), and everything that
exists once per network or per port is an element of one of its sets and maps (`Element`). For x_tables there is a
static frame of chains per address family (`Skeleton`), and what belongs to a network or a container is a chain of
its own (`Chain`), replaced whole. `Passage` belongs to both: a way through a FORWARD chain that is not ours. `Opening`
is an element or a chain that lets packets in, and therefore comes last and goes first.

A rule in the kernel is known by its tag, a hash of its text in its comment, because kernels print rules in other
words than they were given. The same tag in the same place is the same rule.

Pure values; the compilers `netpy.firewall.nft` and `netpy.firewall.iptables` make them, `netpy.kernel` carries them
out.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Literal

from netpy.errors import InvalidArgument
from netpy.model import Family
from netpy.objects import Key

MARK = "netpy"


@lru_cache(maxsize=4096)
def tag(*parts: str) -> str:
    """The tag of a rule: `netpy:` and 12 hex digits of a hash of where it stands and what it says."""
    return f"{MARK}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def checked_interface(name: str) -> str:
    """`name`, if it means the same, and only one interface, in nft's language and in iptables'. InvalidArgument if not.

    A final `*` (nft) or `+` (iptables) would match every interface whose name begins so; quotes would end the string.
    """
    if not re.fullmatch(r"[^\s\"'\\/:%;{}*+]{1,15}", name):
        raise InvalidArgument(f"bridge name {name!r} cannot be used in firewall rules")
    return name


# ---- nftables ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A set, or with `value` a map. `fields` and `value` are nft data types; `interval` admits subnets as keys.

    `raw`: the same fields as places in a packet, in nft's words, where its language has no name for a place that the
    set is looked up by; its keys are then numbers. `dynamic`: filled by rules, as packets pass, and nobody else.
    """

    name: str
    fields: tuple[str, ...]
    value: tuple[str, ...] = ()
    interval: bool = False
    raw: tuple[str, ...] = ()
    dynamic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseChain:
    """A chain of our table. Without `hook` it is a regular one; `open` chains belong to the user, their rules too."""

    name: str
    rules: tuple[str, ...] = ()
    kind: Literal["filter", "nat"] = "filter"
    hook: str = ""
    priority: int = 0
    open: bool = False

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(tag(self.name, rule) for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """An nft table with its static chains and its (empty) sets and maps. `nft list table FAMILY TABLE`.

    `anchor` names the set that holds something as long as the table is in use: deleting the object deletes the
    table only when that set is empty, since every network shares it. Observed, `fault` says what is not as it should
    be.
    """

    RANK: ClassVar[int] = 5
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"sets", "chains", "fault"})

    family: Literal["inet", "ip", "bridge"]
    table: str
    sets: tuple[Set, ...] = ()
    chains: tuple[BaseChain, ...] = ()
    anchor: str = ""
    fault: str = ""
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("nft-table", self.netns, f"{self.family} {self.table}")

    def set_named(self, name: str) -> Set:
        return next(each for each in self.sets if each.name == name)

    def describe(self) -> str:
        text = f"nft table {self.family} {self.table}"
        return f"{text} ({self.fault})" if self.fault else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a set or map of our table. `nft add element FAMILY TABLE CONTAINER { KEY : VALUE }`.

    `fields` and `value` hold one text for each part of a concatenation.
    """

    RANK: ClassVar[int] = 10
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"value"})

    table: str
    container: str
    fields: tuple[str, ...]
    value: tuple[str, ...] = ()
    family: Literal["inet", "bridge"] = "inet"
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("nft-element", self.netns, f"{self.family} {self.table} {self.container} {' . '.join(self.fields)}")

    def describe(self) -> str:
        value = f" : {' . '.join(self.value)}" if self.value else ""
        return f"nft element {self.family} {self.table} {self.container} {{ {' . '.join(self.fields)}{value} }}"


# ---- x_tables ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A rule that a chain of ours has in another chain, `parent`, of the same table: first in it, or last.

    `owner` is the chain it is there for; it stands in the comment, so that it is found again with its owner.
    """

    parent: str
    rule: str
    owner: str
    first: bool = False

    @property
    def comment(self) -> str:
        return f"{tag(self.parent, self.rule)}:{self.owner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A chain of the skeleton: with rules of ours that never change, or `open`, filled by hooks (or by the user)."""

    table: str
    name: str
    rules: tuple[str, ...] = ()
    open: bool = False
    user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """The static chains of one address family and the rules by which built-in chains lead into them.

    Shared by all networks: deleting it removes it only when no open chain holds anything any more.
    """

    RANK: ClassVar[int] = 5
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"frames", "hooks", "fault"})

    family: Family
    prefix: str
    frames: tuple[Frame, ...]
    hooks: tuple[tuple[str, Hook], ...]
    fault: str = ""
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("xt-skeleton", self.netns, f"{program(self.family)} {self.prefix}")

    def describe(self) -> str:
        text = f"{program(self.family)} chains {self.prefix}-*"
        return f"{text} ({self.fault})" if self.fault else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One chain and the hooks that lead to it. `iptables -t TABLE -S NAME`.

    `tags` are what the kernel can tell of it: those of `rules`, in order, then those of `hooks` that are there,
    sorted. Only they are compared; an orphan that was found by a dump has no texts.
    """

    RANK: ClassVar[int] = 10
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"tags", "rules", "hooks"})

    family: Family
    table: str
    name: str
    tags: tuple[str, ...]
    rules: tuple[str, ...] = field(default=(), compare=False)
    hooks: tuple[Hook, ...] = field(default=(), compare=False)
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("xt-chain", self.netns, f"{program(self.family)} {self.table} {self.name}")

    def describe(self) -> str:
        lines = [f"{program(self.family)} -t {self.table} -N {self.name}"]
        lines += [f"  -A {hook.parent} {hook.rule}" for hook in self.hooks]
        lines += [f"  -A {self.name} {rule}" for rule in self.rules]
        if not self.rules and not self.hooks:
            lines.append(f"  {len(self.tags)} rules")
        return "\n".join(lines)


def chain(family: Family, table: str, name: str, rules: tuple[str, ...], hooks: tuple[Hook, ...]) -> Chain:
    """A chain with its tags worked out; `netns` is the host's. The name has at most 28 characters (kernel's limit)."""
    tags = (*(tag(name, rule) for rule in rules), *sorted(hook.comment for hook in hooks))
    return Chain(family=family, table=table, name=name, tags=tags, rules=rules, hooks=hooks)


def program(family: Family) -> str:
    """The command that shows this family's legacy rules."""
    return "iptables" if family == 4 else "ip6tables"


# ---- both --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An element or a chain that lets packets in: made when what is behind it stands, removed before it goes."""

    RANK: ClassVar[int] = 80
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"of"})

    of: Element | Chain

    @property
    def netns(self) -> str:
        return self.of.netns

    @property
    def key(self) -> Key:
        return self.of.key

    def describe(self) -> str:
        return self.of.describe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Rules that accept what enters or leaves `bridge`, at the end of the FORWARD chain of somebody else.

    An accept of ours is not the last word: each table has its own, and a policy DROP in `ip filter` (Docker sets it, by
    way of iptables-nft or in the legacy tables) drops what ours let through. So there, and only where that chain
    exists, our bridges are let through; our own table still decides. Where there is no such chain the passage counts
    as present. `iptables -A FORWARD -i BRIDGE -j ACCEPT; iptables -A FORWARD -o BRIDGE -j ACCEPT`.

    Docker up to 27 relies on that policy to keep strangers from its containers' ports that are not published. So where
    its chain is that drops what leaves by a bridge of its, whatever the bridge is called, what comes from ours goes
    through it first: published ports and answers were accepted by Docker's own rules before. In the legacy tables our
    own frame may stand before Docker's rules; there ("frame") it is asked about new connections that nobody translated.
    """

    RANK: ClassVar[int] = 11
    ISOLATION: ClassVar[str] = "DOCKER-ISOLATION-STAGE-2"
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    where: Literal["nft", "legacy", "frame"]
    family: Family
    instance: str
    bridge: str
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("passage", self.netns, f"{self.where} {program(self.family)} {self.instance} {self.bridge}")

    @property
    def comments(self) -> tuple[str, str, str]:
        """In the rules' order: the one that has Docker judge, those for what enters by the bridge and what leaves."""
        stem = f"{MARK}:{self.instance}:{self.bridge}"
        return f"{stem}:judged", f"{stem}:in", f"{stem}:out"

    def needed(self, *, judged: bool) -> tuple[str, ...]:
        """The comments of the rules that belong there; `judged` is whether Docker's chain is there."""
        accepting = () if self.where == "frame" else self.comments[1:]
        return (self.comments[0], *accepting) if judged else accepting

    def describe(self) -> str:
        if self.where == "frame":
            return f"iptables-legacy (IPv{self.family}) what enters by {self.bridge} passes {self.ISOLATION}"
        kind = "iptables-nft" if self.where == "nft" else "iptables-legacy"
        return f"{kind} (IPv{self.family}) FORWARD accepts -i {self.bridge} and -o {self.bridge}"


Lowered = Ruleset | Element | Skeleton | Chain | Opening | Passage
KINDS = (Ruleset, Element, Skeleton, Chain, Opening, Passage)


def inner(obj: object) -> object:
    """The object itself, or what an Opening opens."""
    return obj.of if isinstance(obj, Opening) else obj
