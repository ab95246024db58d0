"""Archives of images that lie about themselves, read by what reads them before anything is unpacked."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import cast

import pytest

from engine.build.copying import is_archive
from engine.images.archive import Reader
from engine.images.layers import Layers
from netpy.errors import InvalidArgument


@pytest.mark.parametrize("kind", [b"0", b"x", b"L"], ids=["file", "pax header", "long name"])
def test_a_member_of_astronomic_size_is_refused_when_the_archive_ends(kind: bytes) -> None:
    with pytest.raises(InvalidArgument, match="reading the image archive: "):
        list(Reader(cast(Layers, None), lambda _: "").read(io.BytesIO(lying(kind))))


def test_headers_without_end_are_no_archive_to_unpack(tmp_path: Path) -> None:
    endless = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    endless[156:157] = b"x"
    endless[148:156] = b"%06o\0 " % (sum(endless[:148]) + sum(endless[156:512]) + 8 * 32)
    for number, data in enumerate([lying(b"x"), lying(b"L"), bytes(endless) * 3000, b"\x1f\x8b\x08\x00 no gzip"]):
        (path := tmp_path / str(number)).write_bytes(data)
        assert not is_archive(path)
    with pytest.raises(InvalidArgument, match="reading the image archive: "):
        list(Reader(cast(Layers, None), lambda _: "").read(io.BytesIO(bytes(endless) * 3000)))


def test_an_ordinary_tar_in_a_context_is_an_archive(tmp_path: Path) -> None:
    for number, mode in enumerate(["w", "w:gz", "w:bz2", "w:xz"]):
        with tarfile.open(path := tmp_path / str(number), mode) as made:
            made.addfile(tarfile.TarInfo("x"))
        assert is_archive(path)


def lying(kind: bytes) -> bytes:
    """A tar whose first member says that it has 2 ** 87 bytes."""
    made = bytearray(tarfile.TarInfo("config.json").tobuf(tarfile.USTAR_FORMAT) + bytes(2048))
    made[124:136] = b"\x80" + (1 << 87).to_bytes(11, "big")
    made[156:157] = kind
    made[148:156] = b"%06o\0 " % (sum(made[:148]) + sum(made[156:512]) + 8 * 32)
    return bytes(made)
