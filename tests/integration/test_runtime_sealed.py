"""A program that is started from a read-only mount of its own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime import rootfs
from engine.runtime.sealed import Sealed

pytestmark = pytest.mark.root


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    shutil.copy("/bin/true", path)
    return path


@pytest.fixture
def sealed(program: Path) -> Iterator[Sealed]:
    made = Sealed(str(program))
    yield made
    made.close()


def test_it_runs_and_nobody_can_write_to_it(sealed: Sealed, program: Path) -> None:
    path = sealed.path()
    assert path != str(program)
    assert subprocess.run([path]).returncode == 0
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(OSError) as refused:
            os.open(path, flags)
        assert refused.value.errno == errno.EROFS
    assert os.statvfs(path).f_flag & os.ST_RDONLY  # which is what crun asks
    assert sealed.path() == path  # once is enough
    program.write_bytes(program.read_bytes())  # an update in place is the host's affair, and still possible


def test_a_program_that_was_replaced_is_mounted_anew(sealed: Sealed, program: Path) -> None:
    before = sealed.path()
    shutil.copy("/bin/false", program.with_suffix(".new"))
    program.with_suffix(".new").replace(program)
    assert subprocess.run([sealed.path()]).returncode == 1
    assert subprocess.run([before]).returncode == 0  # whoever was about to start it


def test_nothing_is_left(sealed: Sealed) -> None:
    mounts, path = Path("/proc/self/mountinfo").read_text(), sealed.path()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    sealed.close()
    assert not os.path.exists(path)


def test_where_there_is_none_to_be_had_the_program_is_started_itself(
    sealed: Sealed, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(mounted: Path) -> int:
        raise OSError(errno.ENOSYS, "an old kernel")

    monkeypatch.setattr(rootfs, "copy", refused)
    assert sealed.path() == str(program)
    program.unlink()
    assert sealed.path() == str(program)
