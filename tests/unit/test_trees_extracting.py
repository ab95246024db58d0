"""Tars written into trees: what replaces what, what is refused, and what damage is noticed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.trees.compression import Malformed
from engine.trees.extracting import Options, Refused, extract

HERE = Options(chown=False, confined=False)
KINDS = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "x": b"Z"}


def tar(*specs: str) -> bytes:
    """A tar of entries written `kind name [content or target]`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for spec in specs:
            kind, name, *rest = spec.split(" ")
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = KINDS[kind], 0o750 if kind == "d" else 0o640, 1_000_000_000
            data = rest[0].encode() if rest and kind == "f" else b""
            info.size, info.linkname = len(data), rest[0] if rest and kind in "lh" else ""
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unpack(data: bytes, target: Path, options: Options = HERE) -> None:
    extract(io.BytesIO(data), str(target), options)


def test_files_get_their_modes_and_times(tmp_path: Path) -> None:
    unpack(tar("d dir", "f dir/file hello", "l link dir/file", "h twin dir/file"), tmp_path)
    file = tmp_path / "dir" / "file"
    assert file.read_text() == (tmp_path / "link").read_text() == (tmp_path / "twin").read_text() == "hello"
    assert file.stat().st_mode & 0o7777 == 0o640
    assert file.stat().st_mtime == (tmp_path / "dir").stat().st_mtime == 1_000_000_000
    assert file.stat().st_nlink == 2


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_tars_are_understood(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    unpack(pack(tar("f file x")), tmp_path)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_compression_is_the_archive_s_fault(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    sound = pack(os.urandom(5000))
    with pytest.raises(Malformed, match="damaged compressed data"):
        unpack(sound[:12] + bytes(200) + sound[212:], tmp_path)


def test_a_hard_link_to_nothing_is_told_by_its_names(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r'invalid hardlink ".*/h" -> "nowhere": no such file'):
        unpack(tar("h h nowhere"), tmp_path)


def test_absolute_names_are_below_the_destination(tmp_path: Path) -> None:
    unpack(tar("f /abs/file x", "f /../../up y"), tmp_path)
    assert (tmp_path / "abs" / "file").read_text() == "x" and (tmp_path / "up").read_text() == "y"


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["f ../out x"], 'outside of "'),
        (["f a/../../out x"], 'outside of "'),
        (["l bad ../../etc"], "invalid symlink"),
        (["h bad ../secret"], "invalid hardlink"),
        (["x odd"], "unhandled tar header type 90"),
        (["l way /etc", "f way/passwd x"], 'outside of "'),
    ],
)
def test_ways_out_are_refused(tmp_path: Path, specs: list[str], words: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(Refused, match=words):
        unpack(tar(*specs), inside)
    assert sorted(os.listdir(tmp_path)) == ["inside", "secret"]


def test_a_link_to_a_file_outside_of_the_tree_is_never_made_hard(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        unpack(tar("h passwd /etc/passwd"), tmp_path)  # it is sought below the destination


def test_what_is_there_gives_way(tmp_path: Path) -> None:
    (tmp_path / "dir" / "full").mkdir(parents=True)
    (tmp_path / "file").write_text("old")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "stays").touch()
    unpack(tar("f dir new", "d file", "d merged", "f merged/more x"), tmp_path)
    assert (tmp_path / "dir").read_text() == "new" and (tmp_path / "file").is_dir()
    assert sorted(os.listdir(tmp_path / "merged")) == ["more", "stays"]


def test_a_link_that_is_there_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    unpack(tar("f link new"), tmp_path)
    assert (tmp_path / "target").read_text() == "old" and not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("specs", "words"), [(["f dir x"], "cannot overwrite directory"), (["d file"], "non-directory")]
)
def test_kinds_are_kept_where_that_is_asked(tmp_path: Path, specs: list[str], words: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=words):
        unpack(tar(*specs), tmp_path, Options(chown=False, confined=False, keep_kinds=True))


def test_entries_can_be_renamed(tmp_path: Path) -> None:
    options = Options(chown=False, confined=False, rename=("old", "new"))
    unpack(tar("d old", "f old/old x", "h old/twin old/old"), tmp_path, options)
    assert sorted(os.listdir(tmp_path / "new")) == ["old", "twin"]


def test_nothing_is_an_archive_too(tmp_path: Path) -> None:
    unpack(b"", tmp_path)


@pytest.mark.parametrize("kept", [100, 700, 1200, 2000])
def test_what_breaks_off_is_noticed(tmp_path: Path, kept: int) -> None:
    with pytest.raises((Malformed, tarfile.TarError)):
        unpack(tar(f"f one {'x' * 300}", f"f two {'y' * 900}")[:kept], tmp_path)


def test_damage_after_the_first_entry_is_noticed(tmp_path: Path) -> None:
    data = bytearray(tar("f one x", "f two y"))
    data[1024 + 150] ^= 0xFF
    with pytest.raises(Malformed):
        unpack(bytes(data), tmp_path)


@pytest.mark.root
def test_owners_are_the_archive_s_or_the_one_that_was_asked_for(tmp_path: Path) -> None:
    unpack(tar("f plain x"), tmp_path, Options(confined=False))
    unpack(tar("f deep/owned x"), tmp_path, Options(confined=False, owner=(7, 8)))
    found = [(path.stat().st_uid, path.stat().st_gid) for path in (tmp_path / "plain", tmp_path / "deep" / "owned")]
    assert found == [(0, 0), (7, 8)]
    assert (tmp_path / "deep").stat().st_uid == 7
