"""Spoilt archives for a live daemon: images to load and import, files for a container, contexts of builds.

Archives are spoilt by members (names that lead out, links that lead out, devices, lies about sizes, the same name
twice, whiteouts of everything) and by bytes. Each is refused in words or taken; either way files of the host that it
aims at are as before, and once what was made has been removed nothing is left.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.tortures.fuzz.stage import RESIDENT, Stage, stage
from scripts.tortures.tally import Tally

CANARY = "canary"
_TEXT = b"alive\n"
_BOMB = 64 << 20  # bytes of nothing, in some tens of kilobytes
_DOORS: dict[str, tuple[str, str]] = {
    "import": ("POST", "/images/create?fromSrc=-&repo=spoilt"),
    "load": ("POST", "/images/load"),
    "extract": ("PUT", f"/containers/{RESIDENT}/archive?path=/tmp"),
    "build": ("POST", "/build?t=built&rm=1&forcerm=1&networkmode=none"),
    "add": ("POST", "/build?t=added&rm=1&forcerm=1&networkmode=none"),  # an archive within a context
}
Member = tuple[tarfile.TarInfo, bytes]


def attack(tally: Tally, *, seed: int, rounds: int, brief: bool = False) -> None:
    """Every way to spoil an archive through every door, in brief through one each, then `rounds` spoilt at random."""
    chance = random.Random(seed)
    with stage("archives", tally) as it:
        nest = it.netpy.world.root / "nest"
        nest.mkdir()
        (nest / CANARY).write_bytes(_TEXT)
        ways = list(members(nest).values())
        turn = itertools.cycle(_DOORS)
        for name, spoilt in members(nest).items():
            for door in [next(turn)] if brief else _DOORS:
                _give(it, f"{door}: {name}", door, archive(door, spoilt), nest)
        for name, change in whole().items():
            for door in [next(turn)] if brief else _DOORS:
                _give(it, f"{door}: {name}", door, change(archive(door, [])), nest)
        for number in range(rounds):
            door = chance.choice(list(_DOORS))
            data = archive(door, [each for _ in range(chance.randint(0, 2)) for each in chance.choice(ways)])
            _give(it, f"{door}: round {number} of seed {seed}", door, _spoilt(data, chance), nest)
        _clear(it)
        it.empty()
        it.judge()
        shutil.rmtree(nest)


def _give(it: Stage, name: str, door: str, data: bytes, nest: Path) -> None:
    method, path = _DOORS[door]
    it.tally.count("spoilt archives")
    if door == "add":
        data = tar([("Dockerfile", b"FROM busybox\nADD inner.tar /\n"), ("inner.tar", data)])
    try:
        answer = it.ask(method, path, data=data, headers={"Content-Type": "application/x-tar"})
        said = answer.text
    except OSError as error:
        return it.blame(f"{name}: no answer: {error}")
    if "internal error" in said:
        it.blame(f"{name}: {answer.status_code} {said[-300:]}")
    for line in it.tracebacks():
        it.blame(f"{name}: traceback in the log: {line}")
    if [each.name for each in nest.iterdir()] != [CANARY] or (nest / CANARY).read_bytes() != _TEXT:
        it.blame(f"{name}: touched the host: {[each.name for each in nest.iterdir()]}")
        shutil.rmtree(nest)
        nest.mkdir()
        (nest / CANARY).write_bytes(_TEXT)
    return None


def _clear(it: Stage) -> None:
    """What was put into the resident goes, so that its files are as they were."""
    it.netpy("exec", RESIDENT, "sh", "-c", "rm -rf /tmp/* /tmp/.[!.]*")


def archive(door: str, spoilt: Sequence[Member]) -> bytes:
    """A valid archive for a door, with these members where they do most harm."""
    if door == "load":
        return _image(tar([("etc/motd", b"hello\n")], spoilt))
    if door == "build":
        return tar([("Dockerfile", b"FROM busybox\nCOPY . /there/\n")], spoilt)
    return tar([("etc/motd", b"hello\n")], spoilt)


def tar(files: Sequence[tuple[str, bytes]], members: Sequence[Member] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, content in files:
            made.addfile(_member(name, content)[0], io.BytesIO(content))
        for entry, content in members:
            entry.size = len(content) if entry.isreg() else 0
            made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _image(layer: bytes) -> bytes:
    """An image as `docker save` writes one, of one layer."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": ["spoilt:loaded"], "Layers": ["layer.tar"]}]
    return tar([("config.json", config), ("layer.tar", layer), ("manifest.json", json.dumps(manifest).encode())])


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def members(nest: Path) -> dict[str, list[Member]]:
    """Ways to spoil an archive by its members; `nest` is a directory of the host that they aim at."""
    up = "../" * 12
    return {
        "a name upwards": [_member(f"{up}{str(nest)[1:]}/{CANARY}", b"dead")],
        "a new name upwards": [_member(f"{up}{str(nest)[1:]}/new", b"dead")],
        "an absolute name": [_member(f"{nest}/{CANARY}", b"dead")],
        "through a link": [_member("way", kind=tarfile.SYMTYPE, to=str(nest)), _member(f"way/{CANARY}", b"dead")],
        "through a link upwards": [
            _member("way", kind=tarfile.SYMTYPE, to=f"{up}{str(nest)[1:]}"), _member("way/new", b"dead")
        ],
        "over a link": [_member("file", kind=tarfile.SYMTYPE, to=f"{nest}/{CANARY}"), _member("file", b"dead")],
        "a hard link out": [_member("hard", kind=tarfile.LNKTYPE, to=f"{nest}/{CANARY}"), _member("hard", b"dead")],
        "a hard link upwards": [_member("hard", kind=tarfile.LNKTYPE, to=f"{up}{str(nest)[1:]}/{CANARY}")],
        "a hard link through a link": [
            _member("way", kind=tarfile.SYMTYPE, to=str(nest)),
            _member("hard", kind=tarfile.LNKTYPE, to=f"way/{CANARY}"), _member("hard", b"dead"),
        ],
        "a link to itself": [_member("loop", kind=tarfile.SYMTYPE, to="loop"), _member("loop/in", b"x")],
        "links in a ring": [
            _member("one", kind=tarfile.SYMTYPE, to="two"), _member("two", kind=tarfile.SYMTYPE, to="one"),
            _member("one/in", b"x"),
        ],
        "a disk": [_member("disk", kind=tarfile.BLKTYPE)],
        "a pipe that is written to": [_member("pipe", kind=tarfile.FIFOTYPE), _member("pipe", b"x")],
        "a directory, then a file": [
            _member("both", kind=tarfile.DIRTYPE), _member("both/in", b"x"), _member("both", b"x")
        ],
        "a file, then a directory": [_member("both", b"x"), _member("both/in", b"x")],
        "the same name a hundred times": [_member("again", b"%d" % number) for number in range(100)],
        "the root as a file": [_member(".", b"x")],
        "the root as a link": [_member("./", kind=tarfile.SYMTYPE, to=str(nest)), _member(CANARY, b"dead")],
        "an empty name": [_member("", b"x")],
        "a name too long": [_member("a" * 300, b"x")],
        "a path too long": [_member("/".join(["b" * 200] * 40), b"x")],
        "a path too deep": [_member("/".join(["c"] * 2000), b"x")],
        "a name that is no UTF-8": [_member("\udcff\udcfe", b"x")],
        "a name of several lines": [_member("one\ntwo\x1b[2J", b"x")],
        "whiteouts of everything": [_member(".wh..wh..opq"), _member("etc/.wh..wh..opq"), _member("etc/.wh.passwd")],
        "whiteouts that lead out": [_member(".wh..."), _member(".wh.."), _member(f"{up}{str(nest)[1:]}/.wh.{CANARY}")],
        "whiteouts within whiteouts": [
            _member(".wh..wh.motd"), _member("etc/.wh..wh..wh..opq"), _member(".wh.etc/in", b"x")
        ],
        "a whiteout that is a directory": [_member(".wh.dir", kind=tarfile.DIRTYPE), _member(".wh.dir/in", b"x")],
        "a whiteout through a link": [_member("way", kind=tarfile.SYMTYPE, to=str(nest)), _member(f"way/.wh.{CANARY}")],
        **_lies(nest),
    }  # fmt: skip


def _lies(nest: Path) -> dict[str, list[Member]]:
    """Members that are not what their attributes say."""
    return {
        "an owner beyond everything": [_member("owned", b"x", pax={"uid": "99999999999999", "gid": "-7"})],
        "a time beyond everything": [_member("timed", b"x", pax={"mtime": "1e400"})],
        "a size beyond everything": [_member("sized", b"x", pax={"size": "99999999999999999"})],
        "a size below nothing": [_member("sized", b"x", pax={"size": "-1"})],
        "a sparse map of lies": [
            _member("sparse", b"x", pax={"GNU.sparse.map": "0,9999999999,5,-1", "GNU.sparse.size": "99999999999"})
        ],
        "attributes of strangers": [
            _member("marked", b"x", pax={"SCHILY.xattr.trusted.overlay.redirect": str(nest), "SCHILY.xattr.a=b": "c"})
        ],
        "attributes of a directory": [
            _member("turned", kind=tarfile.DIRTYPE, pax={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
            _member("turned/in", b"x", pax={"SCHILY.xattr.security.capability": "\x01" * 9}),
        ],
        "a member of no known kind": [_member("odd", b"x", kind=b"Z")],
    }  # fmt: skip


def _member(
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    to: str = "",
    pax: dict[str, str] | None = None,
) -> Member:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, to, 0o755
    made.size = len(content)
    made.devmajor, made.devminor = (8, 0) if kind == tarfile.BLKTYPE else (0, 0)
    made.pax_headers = pax or {}
    return made, content


def whole() -> dict[str, Callable[[bytes], bytes]]:
    """Ways to spoil an archive as a whole."""
    return {
        "nothing": lambda _: b"",
        "cut in a header": lambda data: data[:300],
        "cut in a member": lambda data: data[:700],
        "a wrong checksum": lambda data: data[:148] + b"7777777\0" + data[156:],
        "the second checksum wrong": lambda data: data[: 1024 + 148] + b"7777777\0" + data[1024 + 156 :],
        "a size of letters": lambda data: _summed(data[:124] + b"zzzzzzzzzzz\0" + data[136:]),
        "a size of binary lies": lambda data: _summed(data[:124] + b"\x80" + b"\xff" * 11 + data[136:]),
        "a size of binary lies below nothing": lambda data: _summed(data[:124] + b"\xff" * 12 + data[136:]),
        "a large size of binary": lambda data: _summed(
            data[:124] + b"\x80" + (1 << 45).to_bytes(11, "big") + data[136:]
        ),
        "a header of headers with a lie": lambda data: _summed(
            data[:124] + b"\x80" + b"\xff" * 11 + data[136:156] + b"x" + data[157:]
        ),
        "a header of headers without an end": lambda data: _summed(
            data[:124] + b"\x80" + (1 << 42).to_bytes(11, "big") + data[136:156] + b"x" + data[157:]
        ),
        "a long name without an end": lambda data: _summed(
            data[:124] + b"\x80" + (1 << 42).to_bytes(11, "big") + data[136:156] + b"L" + data[157:]
        ),
        "headers of headers of headers": lambda data: _summed(data[:156] + b"x" + data[157:512]) * 3000 + data,
        "zeros alone": lambda _: bytes(10240),
        "noise": lambda _: random.Random(1).randbytes(20000),
        "gzip cut off": lambda data: gzip.compress(data)[:-20],
        "gzip with a wrong sum": lambda data: gzip.compress(data)[:-8] + bytes(8),
        "gzip in gzip": lambda data: gzip.compress(gzip.compress(data)),
        "gzip of noise": lambda _: b"\x1f\x8b\x08\x00" + random.Random(2).randbytes(2000),
        "a gzip bomb": lambda data: gzip.compress(data[:-1024] + bytes(_BOMB), 9),
        "zstd of noise": lambda _: b"\x28\xb5\x2f\xfd" + random.Random(3).randbytes(2000),
        "xz of noise": lambda _: b"\xfd7zXZ\x00" + random.Random(4).randbytes(2000),
        "bzip2 of noise": lambda _: b"BZh9" + random.Random(5).randbytes(2000),
    }


def _summed(data: bytes) -> bytes:
    """The archive with the checksum of its first header right."""
    blank = data[:148] + b" " * 8 + data[156:512]
    return data[:148] + b"%06o\0 " % sum(blank) + data[156:]


def _spoilt(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, most of them in headers, and now and then the end cut off."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        start = 512 * chance.randrange(max(1, len(made) // 512))
        made[min(len(made) - 1, start + chance.randrange(512))] = chance.choice((0, 0x20, 0x2F, 0x2E, 0x37, 0x80, 0xFF))
    cut = chance.randrange(len(made)) if chance.random() < 0.2 else len(made)
    out = bytes(made[:cut])
    return _summed(out) if len(out) >= 512 and chance.random() < 0.5 else out
