"""Namespaces that are held by a file, and files that hold none."""

from __future__ import annotations

from pathlib import Path

import pytest

from netpy.errors import NotFound
from netpy.kernel import netns

pytestmark = pytest.mark.root


def test_a_file_that_holds_no_namespace_is_none(tmp_path: Path) -> None:
    """What a crash leaves between letting go of a namespace and removing its file."""
    left = tmp_path / "left"
    left.touch()
    with pytest.raises(NotFound, match="left does not exist any more"):
        netns.run_in(str(left), lambda: None)
    assert not netns.exists(str(left))
    netns.delete(str(left))
    assert not left.exists()
