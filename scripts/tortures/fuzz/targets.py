"""Every reader of other people's bytes, each as one function of bytes.

A target may return, or raise what its `refuses` names: an error of ours. Anything else is a finding: an exception
from deeper down, an answer that breaks a rule, an endless loop. `words` help a fuzzer that mutates bytes to find the
syntax; `documents` says that the input is a JSON value, which is then mutated as a tree.

The samples that each begins with, and every input that ever broke one, are files under tests/corpora/NAME.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

CORPORA = Path(__file__).resolve().parents[3] / "tests" / "corpora"


Reader: TypeAlias = "tuple[Callable[[bytes], object], tuple[type[Exception], ...]]"  # the function, what it may raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader. `load` imports it first, so that a fuzzer may instrument what is imported: the modules of `code`."""

    name: str
    load: Callable[[], Reader]
    code: tuple[str, ...]
    documents: bool = False
    words: tuple[bytes, ...] = ()

    def function(self) -> Callable[[bytes], None]:
        """The target as it is tried: refusals are swallowed, all else comes out."""
        read, refuses = self.load()

        def tried(data: bytes) -> None:
            try:
                read(data)
            except refuses:
                return

        return tried

    def samples(self) -> list[Path]:
        """The files that it is tried with first."""
        return sorted((CORPORA / self.name).iterdir())


BY_NAME: dict[str, Target] = {}


def target(name: str, **more: Any) -> Callable[[Callable[[], Reader]], Callable[[], Reader]]:
    """Make a loader known as the target `name`."""

    def known(load: Callable[[], Reader]) -> Callable[[], Reader]:
        BY_NAME[name] = Target(name=name, load=load, **more)
        return load

    return known


def _of_document(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A reader of JSON values, fed with bytes: what is no JSON is not for it."""

    def of_bytes(data: bytes) -> object:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return read(value)

    return of_bytes


def _of_object(read: Callable[[dict[str, Any]], object]) -> Callable[[bytes], object]:
    return _of_document(lambda value: read(value) if isinstance(value, dict) else None)


# ---- names -------------------------------------------------------------------------------------------------------


@target(
    "dns-query",
    code=("netpy.dns",),
    words=(b"\x03web", b"\x00\x01\x00\x01", b"\x00\x1c\x00\x01", b"\x00\x00)", b"\xc0\x0c"),
)
def _dns_query() -> Reader:
    from dnslib import DNSRecord

    from netpy.dns import Record, View
    from netpy.dns.resolver import Forward, Resolver
    from netpy.dns.zones import snapshot

    records = [
        Record(endpoint_id=f"e{n}", network_id="n", names=("web", f"web{n}"), addresses=(f"10.0.0.{n}", f"fd00::{n}"))
        for n in range(1, 40)
    ]
    views = [View(sandbox_id="s", networks=(("n", "net"),), links={"db": "web3"}, upstreams=("192.0.2.1",))]
    asker = Resolver(snapshot=snapshot(records, views)).asker("s")

    def ask(data: bytes) -> None:
        for stream in (False, True):
            outcome = asker.answer(data, stream=stream)
            if isinstance(outcome, bytes):
                assert outcome[:2] == data[:2], "an answer under another id"
                assert outcome[2] & 0x80, "an answer that is a question"
                assert stream or len(outcome) <= max(512, 4096), "longer than any datagram may be"
                DNSRecord.parse(outcome)
            elif isinstance(outcome, Forward):
                assert outcome.packet == data
        still = asker.answer(b"\1\2\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1")
        assert isinstance(still, bytes) and still[7], "it no longer answers"

    return ask, ()


@target(
    "dns-answer", code=("netpy.dns",), words=(b"\x124\x81\x80", b"\x07example\x03com\x00\x00\x01\x00\x01", b"\xc0\x0c")
)
def _dns_answer() -> Reader:
    from netpy.dns.upstream import Ask, Done, Exchange

    question = b"\7example\3com\0\0\1\0\1"

    def hear(data: bytes) -> None:
        exchange = Exchange(id=b"\x12\x34", question=question, servers=2, upgrade=True, now=0.0)
        asked = exchange.expired(0.0)
        assert asked and isinstance(asked[0], Ask)
        for action in exchange.heard(0, "udp", data, 0.1):
            if isinstance(action, Done) and action.answer is not None:
                assert action.answer[:2] == b"\x12\x34", "took an answer with another id"
                refused = action.answer[3] & 0x0F
                told = action.answer[12 : 12 + len(question)].lower() == question
                assert told or refused, "took an answer to another question"

    return hear, ()


# ---- the API -----------------------------------------------------------------------------------------------------


@target(
    "http-head", code=("engine.api.request",), words=(b" HTTP/1.1\r\n", b"Transfer-Encoding: chunked", b"%2F", b"?all=")
)
def _http_head() -> Reader:
    from engine.api import request
    from engine.api.wire import Wire
    from netpy.errors import InvalidArgument

    class Nothing:
        """A connection on which no more comes."""

        def recv(self, size: int) -> bytes:
            return b""

        def sendall(self, data: bytes) -> None: ...

    def read(data: bytes) -> None:
        parsed = request.parse(data, Wire(Nothing()))  # pyright: ignore[reportArgumentType]
        for name in ("filters", "all", "limit", "t"):
            for ask in (parsed.query.text, parsed.query.flag, parsed.query.number):
                try:
                    ask(name)
                except InvalidArgument:
                    continue
        parsed.query.filters()

    return read, (InvalidArgument,)


@target(
    "create-body",
    code=("engine.api.shapes", "engine.containers.merging", "engine.containers.mounts", "engine.containers.ports"),
    documents=True,
)
def _create_body() -> Reader:
    from engine.api import shapes
    from engine.api.decode import as_object
    from engine.containers import merging, mounts, ports
    from netpy.errors import NetpyError

    def inherit(name: str) -> list[dict[str, Any]]:
        return [{"Type": "bind", "Source": "/a", "Destination": f"/{name}", "RW": True, "Mode": ""}]

    def create(value: Any) -> None:
        body = shapes.checked(as_object(value), shapes.CONTAINER)
        config = merging.config(body, {"Cmd": ["sh"], "Env": ["PATH=/bin"]}, "0" * 64)
        host = merging.host_config(body.get("HostConfig") or {}, merging.Defaults())
        mounts.points(config, host, inherit)
        ports.bindings(config, host)
        ports.keys(config, host)

    return _of_document(create), (NetpyError,)


# ---- images and builds -------------------------------------------------------------------------------------------


@target("image-documents", code=("engine.images",), documents=True)
def _image_documents() -> Reader:
    from engine.images import documents, layout
    from engine.images.manifests import Platform
    from netpy.errors import NetpyError

    def read(entries: Mapping[str, Any]) -> None:
        files = {name: json.dumps(value).encode() for name, value in entries.items()}
        for found in layout.found(files, {}, Platform(architecture="amd64")):
            documents.inspect(found.image, ())
            documents.summary(found.image)
            documents.history(found.image, {})

    return _of_object(read), (NetpyError,)


@target("manifest", code=("engine.images.manifests",), documents=True)
def _manifest() -> Reader:
    from engine.images import manifests
    from netpy.errors import NetpyError

    platform = manifests.Platform(architecture="arm", variant="v7")

    def read(value: dict[str, Any]) -> None:
        manifests.media_type(value)
        if manifests.is_index(value):
            manifests.blob(manifests.choose(value, platform))
        else:
            manifests.manifest(value)

    return _of_object(read), (NetpyError,)


@target(
    "reference", code=("engine.images.references",), words=(b"docker.io/", b"@sha256:", b":tag", b"localhost:5000/")
)
def _reference() -> Reader:
    from engine.images.references import parse
    from netpy.errors import NetpyError

    def read(data: bytes) -> None:
        reference = parse(data.decode(errors="replace"))
        assert parse(str(reference)) == reference, "written and read again it is another"

    return read, (NetpyError,)


@target("dockerfile", code=("engine.build",), words=(b"FROM ", b"<<EOF\n", b"# escape=`\n", b"ONBUILD ", b"--mount="))
def _dockerfile() -> Reader:
    from engine.build import dockerfile, stages
    from netpy.errors import NetpyError

    return lambda data: stages.recipe(dockerfile.parse(data)), (NetpyError,)


@target("dockerignore", code=("engine.build.ignore",), words=(b"**/", b"[a-", b"!", b"\\", b"*?*"))
def _dockerignore() -> Reader:
    from engine.build import ignore
    from netpy.errors import NetpyError

    def read(data: bytes) -> None:
        rules = ignore.read(data.decode(errors="replace"))
        for path in ("a", "a/b/c.txt", "src/aaaaaaaaaaaaaaaaaaaaaaaaaaaa/x.py", ".git/config"):
            rules.excludes(path)

    return read, (NetpyError,)


# ---- files of our own --------------------------------------------------------------------------------------------


@target("daemon-json", code=("engine.settings", "engine.images.endpoints"), documents=True)
def _daemon_json() -> Reader:
    from engine import settings
    from netpy.errors import InvalidArgument

    file = Path(f"/proc/self/fd/{os.memfd_create('daemon.json')}")  # a file that goes with the process

    def read(data: bytes) -> None:
        file.write_bytes(data)
        settings.load({}, file)

    return read, (InvalidArgument,)


@target("records", code=("netpy.store", "netpy.model"), documents=True)
def _records() -> Reader:
    from netpy.model import Endpoint, Network
    from netpy.store import decode

    def read(body: dict[str, Any]) -> None:
        for kind in (Network, Endpoint):
            try:
                decode(kind, body)
            except (ValueError, TypeError):
                continue

    return _of_object(read), ()


# ---- plugins -----------------------------------------------------------------------------------------------------


@target("remote-answer", code=("netpy_docker_remote",), documents=True)
def _remote_answer() -> Reader:
    from netpy_docker_remote import answers
    from netpy_docker_remote.bodies import Interface

    def read(value: dict[str, Any]) -> None:
        answer = answers.folded(value)
        for reader in (
            lambda: answers.interface(answer, Interface(mac="02:00:00:00:00:01")),
            lambda: answers.joined(answer),
        ):
            try:
                reader()
            except answers.WrongAnswer:
                continue

    return _of_object(read), ()


@target("cni-result", code=("netpy_cni",), documents=True)
def _cni_result() -> Reader:
    from netpy_cni import results

    return _of_object(lambda value: results.outcome(value, "/run/netns/a", "eth0")), (results.BadResult,)


@target("cni-list", code=("netpy_cni",), documents=True)
def _cni_list() -> Reader:
    from netpy_cni import conflist

    from netpy.errors import NetpyError

    def read(value: dict[str, Any]) -> None:
        found = conflist.parse(value, "a.conflist")
        assert conflist.parse(conflist.document(found), "again") == found

    return _of_object(read), (NetpyError,)


@target("netavark-answer", code=("netpy_netavark",), documents=True)
def _netavark_answer() -> Reader:
    from netpy_netavark import documents

    asked = {"name": "net", "id": "0" * 64, "driver": "d"}

    def read(value: dict[str, Any]) -> None:
        for reader in (lambda: documents.status(value, "eth0"), lambda: documents.completed(asked, {**value, **asked})):
            try:
                reader()
            except documents.BadDocument:
                continue

    return _of_object(read), ()


@target("netavark-call", code=("netpy_as_netavark",), documents=True)
def _netavark_call() -> Reader:
    from netpy_as_netavark import messages

    from netpy.errors import NetpyError

    return _of_document(lambda value: messages.network_spec(messages.call(value).network)), (NetpyError,)


@target("cni-call", code=("netpy_cni_plugin",), documents=True)
def _cni_call() -> Reader:
    from netpy_cni_plugin import protocol, settings, wants

    from netpy.errors import NetpyError

    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/a", "CNI_IFNAME": "eth0"}

    def read(data: bytes) -> None:
        request = protocol.Request(environment, data.decode(errors="replace"))
        request.check()
        settings.delegated(request.conf)
        settings.spec(request.conf)
        wants.is_plain(request.conf)
        wants.ports(request.conf, {4: True, 6: True})
        wants.dns(request.conf)
        wants.address_and_mac(request.conf, "")

    return read, (protocol.CniError, NetpyError)
