"""What trials and measurements leave: nothing in the machine's own /sys/fs/cgroup, and the look for leaks sees it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.runtime import cgroups
from scripts.benches import census
from scripts.benches.place import Place

pytestmark = pytest.mark.root

LEAKS = Path(__file__).parents[2] / "scripts" / "leaks.py"
HIDDEN = """
mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup
mkdir -p seen/netpy-one hidden/netpy-two && mount -t tmpfs none hidden
exec "$@"
"""


def test_the_look_for_leaks_sees_plain_directories_among_the_control_groups_below_mounts_too() -> None:
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", HIDDEN, "sh", sys.executable, str(LEAKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["plain directories in /sys/fs/cgroup"]
    assert sorted(found) == ["hidden", "hidden/netpy-two", "seen", "seen/netpy-one"]


def test_a_place_of_a_benchmark_has_a_directory_of_control_groups_of_its_own(tmp_path: Path) -> None:
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("one tree of control groups, with nothing to take away from it")
    place = Place(tmp_path)
    try:
        place.host.run("mkdir", "/sys/fs/cgroup/netpy-own")
        assert not Path("/sys/fs/cgroup/netpy-own").exists()
        trees = place.host.run("sh", "-c", "grep ' - cgroup2 ' /proc/self/mountinfo; echo /sys/fs/cgroup/*/tasks")
        assert "cgroup2" not in trees and "/sys/fs/cgroup/memory/tasks" in trees
    finally:
        place.close()


def test_what_is_ended_with_a_place_leaves_no_control_group(tmp_path: Path) -> None:
    tree = cgroups.detect().trees[0]
    group = tree / f"netpy-{secrets.token_hex(8)}"
    place = Place(tmp_path)
    try:
        script = f"mkdir {group}; echo $$ >{group}/cgroup.procs; echo in; exec sleep 600"
        process = place.host.spawn(["sh", "-c", script], stdout=subprocess.PIPE)
        assert process.stdout
        with process.stdout as said:
            assert said.readline() == b"in\n" and group.is_dir()
        threading.Thread(target=process.wait, daemon=True).start()
        assert census.end(place) == []
        assert not group.exists()
    finally:
        place.close()
